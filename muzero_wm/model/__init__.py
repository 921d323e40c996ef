"""Latent world model: supports, networks, EMA teacher and the fast path for the search."""
