"""Export of bundles to the formats of other tools, with a model card, and upload to the Hub."""
