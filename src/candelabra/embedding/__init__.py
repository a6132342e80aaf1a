"""Texts as vectors: embed, compare, search, mine."""
