"""Validate models on studies they have not seen, and fit blends to the results."""
