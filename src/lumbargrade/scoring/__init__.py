"""The official score, the local scores, and point errors."""
