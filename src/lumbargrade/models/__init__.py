"""Tasks, which turn network outputs into findings, and trained models as files."""
