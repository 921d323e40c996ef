"""The command line: `main.py` runs it; each command has a file of its own, which imports late what takes long."""
