"""Encoders, decoders, heatmaps, networks and losses."""
