"""A bundle in the formats of other tools: a file for each format, the model card, the Hub."""
