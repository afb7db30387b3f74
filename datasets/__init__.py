"""Measured and simulated series as DataFrames."""

from . import waveforms
from .digits import digits
from .hudson_bay import hudson_bay
from .influenza import influenza
from .synthetic import noisy, ude_lotka_volterra

__all__ = ["digits", "hudson_bay", "influenza", "noisy", "ude_lotka_volterra", "waveforms"]
