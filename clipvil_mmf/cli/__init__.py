"""The `clipvil` command: one file a subcommand, registered by a line in `main.py`."""
