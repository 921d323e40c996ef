"""Environments of other libraries and of users as what a run plays: one file for each kind."""
