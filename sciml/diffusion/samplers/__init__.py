"""Samplers: ways from noise to data."""

from sciml.diffusion.samplers.ancestral import Ancestral
from sciml.diffusion.samplers.dpm_solver import DPMSolverPP
from sciml.diffusion.samplers.euler import Euler
from sciml.diffusion.samplers.euler_maruyama import EulerMaruyama, PredictorCorrector
from sciml.diffusion.samplers.heun import Heun, StochasticHeun
from sciml.diffusion.samplers.probability_flow import ProbabilityFlow
from sciml.diffusion.samplers.protocol import AbstractSampler
from sciml.diffusion.samplers.sample import sample

__all__ = [
    "AbstractSampler",
    "Ancestral",
    "DPMSolverPP",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "PredictorCorrector",
    "ProbabilityFlow",
    "StochasticHeun",
    "sample",
]
