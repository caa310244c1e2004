"""The notebook of a Kaggle kit, run as Kaggle runs it: `python -m benchmarks.kaggle_offline`."""
