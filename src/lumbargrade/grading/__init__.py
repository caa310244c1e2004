"""A study through models: stages, averages, blends, calibration, 25 findings."""
