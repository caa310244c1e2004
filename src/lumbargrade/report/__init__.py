"""What people look at: pages, pictures, plots, tables. Nothing here runs a model."""
