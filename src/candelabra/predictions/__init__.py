"""Predictions of a run for its test rows, as stored in `predictions/<task>.jsonl`."""
