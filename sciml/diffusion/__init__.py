"""Score-based diffusion models: a forward SDE, its reverse, its probability flow, and a learned score."""

from sciml.diffusion.denoiser import ConditionalScore, Denoiser
from sciml.diffusion.grids import AbstractGrid, Karras, Times, Uniform
from sciml.diffusion.guidance import ClassifierFree, Guided, LinearInverse, inpainting
from sciml.diffusion.likelihood import Exact, Hutchinson, bits_per_dimension, log_density
from sciml.diffusion.networks import ScoreMLP, UNet
from sciml.diffusion.posterior import Calibration, Posterior, Prior, posterior
from sciml.diffusion.processes import EDM, VE, VP, AbstractProcess, SubVP
from sciml.diffusion.reversal import probability_flow, reverse_sde
from sciml.diffusion.samplers import (
    AbstractSampler,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    PredictorCorrector,
    ProbabilityFlow,
    StochasticHeun,
    sample,
)
from sciml.diffusion.training import Training, train
from sciml.diffusion.weighting import AbstractWeighting, EDMWeighting, LikelihoodWeighting, VarianceWeighting

__all__ = [
    "EDM",
    "VE",
    "VP",
    "AbstractGrid",
    "AbstractProcess",
    "AbstractSampler",
    "AbstractWeighting",
    "Ancestral",
    "Calibration",
    "ClassifierFree",
    "ConditionalScore",
    "DPMSolverPP",
    "Denoiser",
    "EDMWeighting",
    "Euler",
    "EulerMaruyama",
    "Exact",
    "Guided",
    "Heun",
    "Hutchinson",
    "Karras",
    "LikelihoodWeighting",
    "LinearInverse",
    "Posterior",
    "PredictorCorrector",
    "Prior",
    "ProbabilityFlow",
    "ScoreMLP",
    "StochasticHeun",
    "SubVP",
    "Times",
    "Training",
    "UNet",
    "Uniform",
    "VarianceWeighting",
    "bits_per_dimension",
    "inpainting",
    "log_density",
    "posterior",
    "probability_flow",
    "reverse_sde",
    "sample",
    "train",
]
