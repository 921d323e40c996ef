"""Trying an environment out before training, and saying what is wrong with it."""
