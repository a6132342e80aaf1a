"""Freeze schemes, which decide what is trained and when, and the `Freezer` that applies them."""
