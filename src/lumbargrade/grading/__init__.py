"""Grade studies with trained models: stages, averages, blends and calibration."""
