"""Likelihoods of stochastic Systems: how likely measured series are, given drift and noise."""

from sciml.measurement.transitions.kalman import Kalman
from sciml.measurement.transitions.moment_matching import MomentMatching
from sciml.measurement.transitions.protocol import AbstractTransitions
from sciml.measurement.transitions.transition_density import TransitionDensity

__all__ = ["AbstractTransitions", "Kalman", "MomentMatching", "TransitionDensity"]
