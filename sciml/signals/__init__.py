"""Inputs of a model: measured series as piecewise polynomials that every engine evaluates alike."""

from sciml.signals.piecewise import Samples, Signals, joined
from sciml.signals.tensors import SignalRows

__all__ = ["Samples", "SignalRows", "Signals", "joined"]
