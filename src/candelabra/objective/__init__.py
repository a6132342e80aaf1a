"""From logits to one loss."""
