"""Latent world model: supports, networks and the EMA teacher."""
