"""The likelihood of noisy, partial measurements by an unscented Kalman filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciml.errors import ModelError
from sciml.measurement.transitions.moments import advance, moment_rates, sigma_points
from sciml.measurement.transitions.protocol import AbstractTransitions, Series, normal_cost
from sciml.symbolic.distributions import LogNormal, Normal


@dataclass(frozen=True)
class Kalman(AbstractTransitions):
    r"""Between measurements mean and covariance follow their own equations; each measurement updates them.

    Exact for linear drift, additive noise and normal measurements. Otherwise the state is taken to be Gaussian, with
    expectations by sigma points: right where the spread between two measurements is small beside the curvature of the
    equations, wrong where the state has several modes. Any column may be missing at any time.

    Args:
        steps: Runge-Kutta steps between two measurements.
        spread: Standard deviation of the initial state, in units of each state's typical size.

    Raises:
        ModelError: Numbers that are not positive.

    Reference:
        Särkkä (2007), IEEE Trans. Autom. Control 52, 1631-1641, eqs. 34 to 36.
    """

    steps: int = 4
    spread: float = 1e-3

    def __post_init__(self):
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ModelError(f"`steps={self.steps!r}` of `{type(self).__name__}` must be a whole number from 1.")
        if not 0 < self.spread < float("inf"):
            raise ModelError(f"`spread={self.spread}` of `{type(self).__name__}` must be positive.")

    def check(self, problem: Any) -> None:
        check_gaussian(problem, type(self).__name__)

    def negative_log(self, series: Series) -> Tensor:
        mean = series.initial
        size = mean.abs().clamp(min=1e-3)
        covariance = torch.diag_embed((self.spread * size) ** 2)
        rates = moment_rates(series.drift, series.diffusion)
        total = mean.new_zeros(())
        for k in range(series.times.shape[1]):
            here = torch.isfinite(series.times[:, k])
            if k:
                h = torch.where(here, series.times[:, k] - series.times[:, k - 1], 0.0)
                start = torch.nan_to_num(series.times[:, k - 1])
                mean, covariance = advance(rates, start, h, (mean, covariance), self.steps)
            known = series.known[:, k] & here[:, None]
            if known.any():
                time = torch.nan_to_num(series.times[:, k])
                cost, mean, covariance = _update(series, time, mean, covariance, series.values[:, k], known)
                total = total + cost
        return total


def predicted(series: Series, time: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of the measured columns, and the covariance of states and columns."""
    points, weights = sigma_points(mean, covariance)
    values, scales = series.measure(time[:, None, None].expand(*points.shape[:2], 1), points)
    center = torch.einsum("k,bkc->bc", weights, values)
    away = values - center[:, None]
    spread = torch.einsum("k,bkc,bkd->bcd", weights, away, away)
    noise = torch.einsum("k,bkc->bc", weights, scales**2)
    cross = torch.einsum("k,bkn,bkc->bnc", weights, points - mean[:, None], away)
    return center, spread + torch.diag_embed(noise), cross


def _update(series: Series, time: Tensor, mean: Tensor, covariance: Tensor, values: Tensor, known: Tensor):
    center, spread, cross = predicted(series, time, mean, covariance)
    # A column that is missing becomes one of unit variance that tells nothing.
    both = known[:, :, None] & known[:, None, :]
    spread = torch.where(both, spread, torch.eye(known.shape[1], dtype=mean.dtype))
    residual = torch.where(known, values - center, 0.0)
    cross = torch.where(known[:, None, :], cross, 0.0)
    cost = normal_cost(residual, spread).sum() - 0.9189385332046727 * (~known).sum()
    gain = torch.linalg.solve(spread, cross.mT).mT
    mean = mean + (gain @ residual[..., None])[..., 0]
    covariance = covariance - gain @ cross.mT
    return cost, mean, 0.5 * (covariance + covariance.mT)


def check_gaussian(problem: Any, name: str) -> None:
    """Refuse measurement noise that is not normal, of values or logarithms."""
    for column, model in problem.likelihoods.items():
        if not isinstance(model, Normal | LogNormal):
            raise ModelError(
                f"`{name}` needs normal or log-normal measurements; `{column}` has `{type(model).__name__}`."
            )
