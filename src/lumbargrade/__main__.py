"""`python -m lumbargrade`, and `torchrun ... -m lumbargrade`."""

from lumbargrade.cli.main import entry

if __name__ == "__main__":
    entry()
