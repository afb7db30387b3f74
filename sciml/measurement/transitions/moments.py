"""Means and covariances of a stochastic System over time, by sigma points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.measurement.transitions.protocol import Coefficient

Moments = tuple[Tensor, Tensor]


def sigma_points(mean: Float[Tensor, " batch state"], covariance: Tensor) -> tuple[Tensor, Tensor]:
    r"""Points :math:`m \pm \sqrt{n} L_i`, and m itself, with weights that give polynomials of degree three exactly.

    Returns:
        Points (batch, point, state), and the weight of each.
    """
    n = mean.shape[-1]
    # Room for a covariance that is singular at the start.
    padded = covariance + 1e-14 * torch.eye(n, dtype=mean.dtype)
    factor, bad = torch.linalg.cholesky_ex(padded)
    factor = torch.where((bad > 0)[:, None, None], torch.nan, factor)
    kappa = max(0.0, 3.0 - n)
    spread = (n + kappa) ** 0.5 * factor.mT
    points = torch.cat([mean[:, None], mean[:, None] + spread, mean[:, None] - spread], dim=1)
    weights = torch.full((2 * n + 1,), 0.5 / (n + kappa), dtype=mean.dtype)
    weights[0] = kappa / (n + kappa)
    return points, weights


def moment_rates(drift: Coefficient, diffusion: Coefficient) -> Callable[[Tensor, Tensor, Tensor], Moments]:
    r"""Rates :math:`\dot m = E f` and :math:`\dot P = E[f (x-m)^T + (x-m) f^T + G G^T]`, E by sigma points."""

    def rates(t: Float[Tensor, " batch"], mean: Tensor, covariance: Tensor) -> Moments:
        points, weights = sigma_points(mean, covariance)
        time = t[:, None, None].expand(*points.shape[:2], 1)
        f, g = drift(time, points), diffusion(time, points)
        dm = torch.einsum("k,bkn->bn", weights, f)
        cross = torch.einsum("k,bkn,bkm->bnm", weights, f, points - mean[:, None])
        spread = torch.einsum("k,bknj,bkmj->bnm", weights, g, g)
        return dm, cross + cross.mT + spread

    return rates


def advance(rates, t: Float[Tensor, " batch"], h: Float[Tensor, " batch"], moments: Moments, steps: int) -> Moments:
    """Moments after a time h, by steps of the classical Runge-Kutta method."""
    (m, p), dt = moments, h / steps

    def plus(base: Moments, slope: Moments, factor: float) -> Moments:
        c = factor * dt
        return base[0] + c[:, None] * slope[0], base[1] + c[:, None, None] * slope[1]

    for k in range(steps):
        now = t + k * dt
        k1 = rates(now, m, p)
        k2 = rates(now + dt / 2, *plus((m, p), k1, 0.5))
        k3 = rates(now + dt / 2, *plus((m, p), k2, 0.5))
        k4 = rates(now + dt, *plus((m, p), k3, 1.0))
        slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4))
        m, p = plus((m, p), slope, 1.0)
    return m, p
