"""Several task losses become one: a file for each family of schemes."""
