"""Sentence embeddings: compute, compare and search them, and mine negatives with them."""
