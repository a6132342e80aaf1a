"""Describe, check and explain a configuration; builds no model."""
