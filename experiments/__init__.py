"""One file per published claim, each a command: `python -m experiments.NAME --help`."""
