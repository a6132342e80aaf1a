"""Build the parts of a run from its configuration; the only package that instantiates them."""
