"""The `nnvalue` command: one file a verb. It parses and prints; what it does are functions of the package."""
