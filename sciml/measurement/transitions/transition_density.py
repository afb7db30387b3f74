"""The likelihood of states that were measured without noise, by the density of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError, quoted
from sciml.measurement.transitions.moments import advance, moment_rates
from sciml.measurement.transitions.protocol import AbstractTransitions, Coefficient, Series
from sciml.symbolic import wiener

HALF_LOG_2PI = 0.9189385332046727
LARGEST = 0.7  # shape of a step: noise that changes more within one is not described by a log-normal, either
EDGE = 0.3  # of a log-normal's range, below which its logarithm goes on nearly as a line


@dataclass(frozen=True)
class TransitionDensity(AbstractTransitions):
    r"""All states are measured exactly; what follows a measurement is drawn around its mean, with its covariance.

    .. math:: x_{k+1} = m + L e, \qquad m, L L^T \text{ from } \dot m = E f, \; \dot P = E[f (x-m)^T + (x-m) f^T + G G^T]

    Mean and covariance of a step follow their own equations from a point, so that rates are not biased by the interval
    between two measurements, as they are by Euler's or Milstein's density. e is standard normal; with a Wiener process
    of its own for each state, and nothing learned in its coefficient g, it is as skewed as Milstein's step, by a shifted
    log-normal of shape :math:`g' \sqrt h`.
    Up to the error of the moments' steps it is exact for linear drift with additive noise (Ornstein-Uhlenbeck), and for
    geometric Brownian motion as long as the shape is well below 0.7, at which it is bent to stay; elsewhere it is an
    approximation for intervals over which equations and noise change little. Where measurements have noise, or states are
    missing, use `Kalman()`.

    Args:
        steps: Runge-Kutta steps of the moments between two measurements.

    Raises:
        ModelError: `steps` is not a whole number from 1.

    Reference:
        Särkkä, Solin (2019), Applied Stochastic Differential Equations, section 9.1; Kloeden, Platen (1992), section 13.2.
    """

    steps: int = 1
    exact = True

    def __post_init__(self):
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ModelError(f"`steps={self.steps!r}` of `TransitionDensity` must be a whole number from 1.")

    def check(self, problem: Any) -> None:
        system = problem.system
        missing = [x for x in system.states if str(x) not in problem.columns]
        if missing:
            raise DataError(
                f"`TransitionDensity` needs every state measured; {quoted(missing)} is not. Use `Kalman()`."
            )
        for experiment in problem.experiments:
            for x in system.states:
                if not np.isfinite(experiment.column(str(x))).all():
                    raise DataError(f"`TransitionDensity` needs series without gaps; `{x}` has one. Use `Kalman()`.")
        moved = {state for state, _, _ in wiener.terms(system.noise)}
        still = [x for x in system.states if x not in moved]
        if still or len(system.processes) < len(system.states):
            raise ModelError(
                f"the noise is singular ({len(system.processes)} Wiener processes, {quoted(still)} without its own): "
                "steps have no density. Use `Kalman()`."
            )

    def negative_log(self, series: Series) -> Tensor:
        order = [series.states.index(i) for i in range(series.initial.shape[1])]
        y, t = series.values[..., order], series.times
        inside = torch.isfinite(t[:, 1:])
        # Rows behind a shorter series' end repeat its first step, and are not counted.
        begin = torch.where(inside[..., None], y[:, :-1], y[:, :1])
        end = torch.where(inside[..., None], y[:, 1:], y[:, 1:2])
        time = torch.where(inside, t[:, :-1], t[:, :1])
        h = torch.where(inside, t[:, 1:] - t[:, :-1], t[:, 1:2] - t[:, :1])
        mean, factor = self._step(series, time, begin, h)
        away = torch.linalg.solve_triangular(factor, (end - mean)[..., None], upper=False)[..., 0]
        logarithm = factor.diagonal(dim1=-2, dim2=-1).clamp(min=1e-300).log()
        if series.slope is None:
            cost = 0.5 * away**2
        else:
            g = series.diffusion(time[..., None], begin).sum(-1)
            shape = g.sign() * series.slope(time[..., None], begin) * h[..., None].sqrt()
            cost = skewed_cost(away, shape / (1 + (shape / LARGEST) ** 4) ** 0.25)
        return torch.where(inside, (cost + HALF_LOG_2PI + logarithm).sum(-1), 0.0).sum()

    def _step(self, series: Series, time: Tensor, begin: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and factors of covariances, of all steps of all series side by side."""
        count, size = begin.shape[0], begin.shape[-1]

        def by_series(coefficient: Coefficient) -> Coefficient:
            def evaluated(t: Tensor, states: Tensor) -> Tensor:
                found = coefficient(t.reshape(count, -1, 1), states.reshape(count, -1, size))
                return found.reshape(*states.shape[:-1], *found.shape[2:])

            return evaluated

        rates = moment_rates(by_series(series.drift), by_series(series.diffusion))
        start = begin.reshape(-1, size)
        known = start, start.new_zeros(len(start), size, size)
        mean, covariance = advance(rates, time.reshape(-1), h.reshape(-1), known, self.steps)
        factor, bad = torch.linalg.cholesky_ex(covariance)
        factor = torch.where((bad > 0)[:, None, None], torch.nan, factor)
        return mean.reshape(begin.shape), factor.reshape(*begin.shape, size)


def skewed_cost(e: Float[Tensor, "*batch"], shape: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Minus the log-density of a shifted log-normal with mean 0 and variance 1, up to :math:`\tfrac12\log 2\pi`.

    .. math:: e = (\exp(\kappa z - \kappa^2/2) - 1) / r, \qquad r = \pm\sqrt{\exp(\kappa^2) - 1}

    Near the end of its range the logarithm goes on as a line: a density on all numbers, so no value is impossible.

    Args:
        e: Values.
        shape: :math:`\kappa`; the density is normal where it is zero, and mirrored where it is negative.
    """
    plain = shape.abs() < 1e-5
    kappa = torch.where(plain, 1.0, shape)
    r = kappa.sign() * torch.expm1(kappa**2).sqrt()
    u = 1 + e * r
    kept = u.clamp(min=EDGE)
    below = (u - kept) / EDGE
    slower = 2 * below - torch.log1p(torch.exp(2 * below)) + math.log(2)  # a parabola first, then a line
    z = (kept.log() + slower + kappa**2 / 2) / kappa
    first = 0.5 * e**2 + shape * (3 * e - e**3) / 2
    return torch.where(plain, first, 0.5 * z**2 - (r / kappa).log() + kept.log() - (1 - below.tanh()).log())
