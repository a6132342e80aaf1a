"""Commands of the command line; each module has `HELP` and `main(overrides) -> exit status`."""
