"""Encoders, decoders, heatmaps, the networks and their losses."""
