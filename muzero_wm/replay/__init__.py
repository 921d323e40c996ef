"""Stored trajectories, sampling, targets and reanalyze."""
