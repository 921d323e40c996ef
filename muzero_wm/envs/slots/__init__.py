"""Environments that are objects, stepped together: in this process or in several."""
