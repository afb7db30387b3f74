"""Hybrid models of dynamical systems: SymPy equations, learned terms, closed-form laws."""

from sciml import datasets, diffusion, dynamics, export, models, plot, stochastic
from sciml.diffusion.posterior import posterior
from sciml.discovery import (
    SR3,
    STLSQ,
    BestSubset,
    IntegralForm,
    Polynomials,
    Powers,
    SmoothedDerivative,
    SparseRegression,
    SymbolicRegression,
    Trigonometric,
    WeakForm,
    discover,
)
from sciml.dropin import odeint, odeint_adjoint, odeint_event
from sciml.errors import DataError, ModelError, SolveError
from sciml.event import Event
from sciml.fitting.automatic import Automatic
from sciml.fitting.checkpoint import Checkpoint
from sciml.fitting.collocation import Collocation
from sciml.fitting.fit import fit
from sciml.fitting.forecasts import rolling, scores
from sciml.fitting.holdout import Holdout
from sciml.fitting.least_squares import LevenbergMarquardt
from sciml.fitting.loading import load
from sciml.fitting.objectives import GrowingWindow, MultipleShooting, SingleShooting
from sciml.fitting.optimizers import LBFGS, Adam
from sciml.fitting.result import Fit
from sciml.lowering.vector_field import VectorField, compile
from sciml.measurement import waves
from sciml.measurement.episodes import Box
from sciml.measurement.problem import Problem
from sciml.reading.json import import_json
from sciml.reading.sbml import import_sbml
from sciml.simulation import Simulation, simulate
from sciml.solvers import (
    RK4,
    Backsolve,
    Bosh3,
    Checkpointed,
    Direct,
    Dopri5,
    Dopri8,
    Euler,
    Heun,
    Kvaerno3,
    Kvaerno5,
    Leapfrog,
    Midpoint,
    Rodas5P,
    Solution,
    Tsit5,
    Yoshida4,
    Yoshida6,
    solve,
)
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.distributions import LogNormal, NegativeBinomial, Normal, Poisson, StudentT
from sciml.symbolic.orthogonal import Orthogonal
from sciml.symbolic.penalty import Penalty
from sciml.symbolic.system import System
from sciml.symbolic.wiener import correlated
from sciml.uncertainty.chains import Chains
from sciml.uncertainty.curvature import ExactHessian, GaussNewton
from sciml.uncertainty.ensemble import Ensemble
from sciml.uncertainty.laplace import Laplace
from sciml.uncertainty.posterior import Bands
from sciml.uncertainty.profile import Profile

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "MLP",
    "RK4",
    "SR3",
    "STLSQ",
    "Adam",
    "Automatic",
    "Backsolve",
    "Bands",
    "BestSubset",
    "Bosh3",
    "Box",
    "Chains",
    "Checkpoint",
    "Checkpointed",
    "Collocation",
    "DataError",
    "Direct",
    "Dopri5",
    "Dopri8",
    "Ensemble",
    "Euler",
    "Event",
    "ExactHessian",
    "Fit",
    "GaussNewton",
    "GrowingWindow",
    "Heun",
    "Holdout",
    "IntegralForm",
    "Kvaerno3",
    "Kvaerno5",
    "Laplace",
    "Leapfrog",
    "LevenbergMarquardt",
    "LogNormal",
    "Midpoint",
    "ModelError",
    "MultipleShooting",
    "NegativeBinomial",
    "Normal",
    "Orthogonal",
    "Parameter",
    "Penalty",
    "Poisson",
    "Polynomials",
    "Powers",
    "Problem",
    "Profile",
    "Rodas5P",
    "Simulation",
    "SingleShooting",
    "SmoothedDerivative",
    "Solution",
    "SolveError",
    "SparseRegression",
    "StudentT",
    "SymbolicRegression",
    "System",
    "Trigonometric",
    "Tsit5",
    "VectorField",
    "WeakForm",
    "Yoshida4",
    "Yoshida6",
    "compile",
    "correlated",
    "datasets",
    "diffusion",
    "discover",
    "dynamics",
    "export",
    "fit",
    "import_json",
    "import_sbml",
    "load",
    "models",
    "odeint",
    "odeint_adjoint",
    "odeint_event",
    "plot",
    "posterior",
    "rolling",
    "scores",
    "simulate",
    "solve",
    "stochastic",
    "waves",
]
