"""Gravitational waves as DataFrames: read from files, generated, checked, and cut to windows.

A waveform has the time in units of M as its index and the columns `h22_real` and `h22_imag`, r h₂₂/M, the same names as
the observables of `models.binary_black_hole`; h₂₂ turns as exp(-2iφ) with the orbital phase φ. Nothing is shipped:
`geodesic` is computed here, `lal` asks lalsuite, and the readers take files by path.

Example:
    >>> from sciml.datasets import waveforms
    >>> waveforms.geodesic([0.0, 10.0], p=20.0, e=0.0)["h22_real"].round(3).tolist()
    [-0.317, -0.309]

Reference:
    Boyle et al. (2019), Class. Quantum Grav. 36, 195006 (the SXS catalog and its conventions).
"""

from .checks import ordered_ratio
from .files import read, read_family
from .generated import geodesic, lal
from .windows import effective_orbit, periastra, polar, window

__all__ = ["effective_orbit", "geodesic", "lal", "ordered_ratio", "periastra", "polar", "read", "read_family", "window"]
