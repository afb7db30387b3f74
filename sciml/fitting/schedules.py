"""Schedules of learning rates: done share of the steps, from 0 to 1, to what multiplies the rate."""

import numpy as np


def cosine(done: float) -> float:
    """From 1 to a hundredth along half a cosine."""
    return 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * done))


def linear(done: float) -> float:
    """From 1 to a hundredth along a line."""
    return 1 - 0.99 * done


def constant(done: float) -> float:
    """Always 1."""
    return 1.0
