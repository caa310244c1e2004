"""Studies as NIfTI files in BIDS names, and results as BIDS derivatives."""
