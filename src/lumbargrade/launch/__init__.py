"""Run the same command many times: on this machine, on a Ray cluster or in a Slurm array."""
