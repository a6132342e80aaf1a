"""Reports: pages of one file from runs and sweeps, and what every page needs."""
