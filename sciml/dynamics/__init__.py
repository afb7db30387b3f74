"""Systems, fields, maps and torch callables as dynamical systems: what is at rest, stable, chaotic, conserved."""

from sciml.dynamics.backpropagation import BackwardPath, backpropagate
from sciml.dynamics.bifurcation import bifurcation_sweep
from sciml.dynamics.conservation import Balance, conserved_quantities, energy_balance
from sciml.dynamics.evolution import Map
from sciml.dynamics.fixed_points import FixedPoint, FixedPoints, fixed_points
from sciml.dynamics.games import Game
from sciml.dynamics.gradient_fields import GradientTest, is_gradient_field
from sciml.dynamics.losses import flat_loss
from sciml.dynamics.lyapunov import LyapunovSpectrum, kaplan_yorke_dimension, lyapunov_spectrum, variational_system
from sciml.dynamics.optimizers import (
    AdamDescent,
    GradientDescent,
    Momentum,
    Nesterov,
    minibatch_covariance,
    modified_loss,
)
from sciml.dynamics.sections import poincare_section
from sciml.dynamics.spectra import jacobian_spectrum

__all__ = [
    "AdamDescent",
    "BackwardPath",
    "Balance",
    "FixedPoint",
    "FixedPoints",
    "Game",
    "GradientDescent",
    "GradientTest",
    "LyapunovSpectrum",
    "Map",
    "Momentum",
    "Nesterov",
    "backpropagate",
    "bifurcation_sweep",
    "conserved_quantities",
    "energy_balance",
    "fixed_points",
    "flat_loss",
    "is_gradient_field",
    "jacobian_spectrum",
    "kaplan_yorke_dimension",
    "lyapunov_spectrum",
    "minibatch_covariance",
    "modified_loss",
    "poincare_section",
    "variational_system",
]
