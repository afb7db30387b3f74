"""Pictures of solutions, fits and discoveries."""

from sciml.plot.fits import fit
from sciml.plot.laws import discovery
from sciml.plot.simulations import solution

__all__ = ["discovery", "fit", "solution"]
