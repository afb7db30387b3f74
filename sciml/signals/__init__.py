"""Inputs of a model: measured series as piecewise polynomials that every engine evaluates alike."""

from sciml.signals.piecewise import Samples, Signals, joined
from sciml.signals.reading import check_times, numbers, read_signals
from sciml.signals.tensors import SignalRows

__all__ = ["Samples", "SignalRows", "Signals", "check_times", "joined", "numbers", "read_signals"]
