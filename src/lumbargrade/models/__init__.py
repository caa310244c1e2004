"""Tasks, and trained models as files: everything between a network and a finding."""
