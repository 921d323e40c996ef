"""The command line: `main.py` runs it, with one file for each command."""
