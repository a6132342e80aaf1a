"""Task losses, and the weightings that combine them into one loss."""
