"""Encoder, poolings, freeze schemes, adapters and task heads."""
