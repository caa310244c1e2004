"""A kit for a Kaggle competition: wheels, models and a notebook that needs no network."""
