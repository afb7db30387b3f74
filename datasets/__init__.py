"""Measured and simulated series as DataFrames."""

from . import waveforms
from .hudson_bay import hudson_bay
from .influenza import influenza
from .synthetic import noisy, ude_lotka_volterra

__all__ = ["hudson_bay", "influenza", "noisy", "ude_lotka_volterra", "waveforms"]
