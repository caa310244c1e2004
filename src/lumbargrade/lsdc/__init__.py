"""The LSDC data set: its tables as typed labels, corrections, and the volume store made from it."""
