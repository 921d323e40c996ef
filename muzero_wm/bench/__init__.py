"""Micro-benchmarks behind ``muzero-wm bench``: each returns a report of plain numbers."""
