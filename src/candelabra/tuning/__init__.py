"""Searches over settings by Optuna, in which each trial is a run of a sweep."""
