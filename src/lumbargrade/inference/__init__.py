"""What a trained network needs to predict: its inputs from volumes, its outputs to findings."""
