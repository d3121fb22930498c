"""What runs in a worker process: it reads bodies, asks the models, writes answers; the front imports none of it."""
