"""Methods and likelihoods of stochastic Systems, for `simulate(..., solver=...)` and `Problem(..., transitions=...)`."""

from sciml.measurement.transitions import AbstractTransitions, Kalman, MomentMatching, TransitionDensity
from sciml.solvers.stochastic import SRK, AbstractStochasticSolver, EulerMaruyama, Milstein, ReversibleHeun, solve_sde

__all__ = [
    "SRK",
    "AbstractStochasticSolver",
    "AbstractTransitions",
    "EulerMaruyama",
    "Kalman",
    "Milstein",
    "MomentMatching",
    "ReversibleHeun",
    "TransitionDensity",
    "solve_sde",
]
