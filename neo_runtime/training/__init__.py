"""Training: samples of the tasks, and the loop that fits a model to them."""
