"""From a source to batches: reading, checking, splitting, tokenising, balancing."""
