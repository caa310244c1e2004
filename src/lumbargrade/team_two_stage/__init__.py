"""The released two-stage system of the competition's 7th team."""
