"""How likely measurements are: one class per noise model, each in torch and as residuals in NumPy."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError
from sciml.measurement.experiment import Experiment
from sciml.symbolic.declarations import LogNormal, Normal

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def negative_log_likelihood(
    noise: Normal | LogNormal, values: Float[Tensor, " n"], means: Float[Tensor, " n"], scales: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    r"""Minus the log-density of measured values, all constants included.

    .. math:: \tfrac12 r^2 + \log s + \tfrac12 \log 2\pi \; (+ \log y \text{ for LogNormal}), \quad
              r = (y - m)/s \text{ or } (\log y - \log m)/s
    """
    if isinstance(noise, LogNormal):
        logs = torch.log(values)
        residuals = (logs - torch.log(means)) / scales
        return (0.5 * residuals**2 + torch.log(scales) + logs).sum() + len(values) * HALF_LOG_2PI
    residuals = (values - means) / scales
    return (0.5 * residuals**2 + torch.log(scales)).sum() + len(values) * HALF_LOG_2PI


def residuals(
    noise: Normal | LogNormal, values: Float[np.ndarray, ...], means: Float[np.ndarray, ...]
) -> Float[np.ndarray, ...]:
    """Measured minus modeled, in logarithms for LogNormal."""
    if isinstance(noise, LogNormal):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(values) - np.log(means)
    return values - means


def check_values(noise: Normal | LogNormal, experiment: Experiment, column: str) -> None:
    """Raise if a noise model cannot have produced the measured values."""
    if isinstance(noise, LogNormal):
        wrong = np.flatnonzero(experiment.column(column) <= 0)
        if len(wrong):
            value, time = experiment.column(column)[wrong[0]], experiment.times[wrong[0]]
            raise DataError(
                f"column `{column}` of `{experiment.name}` is {value:g} at time {time:g}; LogNormal noise needs "
                "positive values. Use `Normal(...)`, or NaN where nothing could be measured."
            )
