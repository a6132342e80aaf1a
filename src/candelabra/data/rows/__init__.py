"""Turn rows into checked examples of a task."""
