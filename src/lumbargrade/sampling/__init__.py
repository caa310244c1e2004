"""From volumes and points to what a network sees, augmented in training."""
