"""Official and local scores, agreement, calibration, blend weights and point errors."""
