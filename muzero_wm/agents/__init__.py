"""Agents that come with the package: a folder each, with the two files of an agent and a card."""
