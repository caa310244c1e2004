"""Studies to predictions: batching, flip averaging, ensembles, out-of-fold files."""
