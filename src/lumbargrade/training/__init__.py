"""The training loop for all tasks."""
