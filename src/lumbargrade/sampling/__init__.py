"""Make network inputs from volumes and points, with augmentation in training."""
