"""Losses, augmentation and the learner."""
