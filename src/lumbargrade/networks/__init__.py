"""Encoders, decoders, heatmaps, the one-stage networks and their losses."""
