"""What tests share: small models and data, the command line, processes that fail or are killed."""
