"""Metrics, as torchmetrics objects that accumulate over batches and processes."""
