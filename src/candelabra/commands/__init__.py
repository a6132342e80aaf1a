"""One module a command: `HELP`, and `main(overrides) -> exit status`."""
