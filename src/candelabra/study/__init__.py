"""Studies: comparisons of arms over seeds, and the page that they end in."""
