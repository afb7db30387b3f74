"""Measured and simulated series as DataFrames."""

from . import waveforms
from .hudson_bay import hudson_bay
from .synthetic import noisy, ude_lotka_volterra

__all__ = ["hudson_bay", "noisy", "ude_lotka_volterra", "waveforms"]
