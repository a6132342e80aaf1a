"""Score models on the rows of tasks and compare models with each other."""
