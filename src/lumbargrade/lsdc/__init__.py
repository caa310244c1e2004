"""The LSDC data set: tables to typed labels, corrections, and the volume store made of it."""
