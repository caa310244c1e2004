"""Grade many studies by several workers: each study gets exactly one result, whatever dies."""
