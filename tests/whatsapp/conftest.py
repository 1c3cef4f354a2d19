"""Hypothesis without a deadline: on a busy machine a slow example says nothing about the code."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
