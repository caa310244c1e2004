"""The official score, the local scores, agreement, calibration, and point errors."""
