"""Scores: torchmetrics objects whose sums add up over batches and processes."""
