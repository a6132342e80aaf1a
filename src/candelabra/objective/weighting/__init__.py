"""Weightings that combine the task losses into one, with one file per family of schemes."""
