"""Find the texts nearest to a query."""
