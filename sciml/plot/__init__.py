"""Pictures of solutions, fits, discoveries and dynamics."""

from sciml.plot.dynamics import bifurcation, lyapunov, phase_portrait, spectrum
from sciml.plot.fits import fit
from sciml.plot.laws import discovery
from sciml.plot.reports import report
from sciml.plot.residuals import residuals
from sciml.plot.simulations import solution

__all__ = [
    "bifurcation",
    "discovery",
    "fit",
    "lyapunov",
    "phase_portrait",
    "report",
    "residuals",
    "solution",
    "spectrum",
]
