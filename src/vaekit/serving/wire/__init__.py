"""What the front and its workers both know: asks, answers, facts of models, and the frames that carry them."""
