"""From requests to workers and back: queues, batches that the measured cost allows, and processes that take them."""
