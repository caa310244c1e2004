"""LSDC tables to typed labels, the volume store, samples and their augmentation."""
