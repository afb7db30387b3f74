"""Systems, fields, maps and torch callables as dynamical systems: what is at rest, stable, chaotic, conserved."""

from sciml.dynamics.conservation import Balance, conserved_quantities, energy_balance
from sciml.dynamics.evolution import Map
from sciml.dynamics.fixed_points import FixedPoint, FixedPoints, fixed_points
from sciml.dynamics.gradient_fields import GradientTest, is_gradient_field
from sciml.dynamics.lyapunov import LyapunovSpectrum, kaplan_yorke_dimension, lyapunov_spectrum, variational_system
from sciml.dynamics.sections import bifurcation_sweep, poincare_section
from sciml.dynamics.spectra import jacobian_spectrum

__all__ = [
    "Balance",
    "FixedPoint",
    "FixedPoints",
    "GradientTest",
    "LyapunovSpectrum",
    "Map",
    "bifurcation_sweep",
    "conserved_quantities",
    "energy_balance",
    "fixed_points",
    "is_gradient_field",
    "jacobian_spectrum",
    "kaplan_yorke_dimension",
    "lyapunov_spectrum",
    "poincare_section",
    "variational_system",
]
