"""Mine training pairs and negatives from texts."""
