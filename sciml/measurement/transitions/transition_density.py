"""The likelihood of states that were measured without noise, by the density of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml.errors import DataError, ModelError, quoted
from sciml.measurement.transitions.protocol import AbstractTransitions, Series, normal_cost
from sciml.symbolic import wiener


@dataclass(frozen=True)
class TransitionDensity(AbstractTransitions):
    r"""All states are measured exactly; each step from one measurement to the next is one step of a method.

    .. math:: x_{k+1} \sim N(x_k + f h,\; G G^T h)

    by Euler, or for diagonal noise with Milstein's correction :math:`\tfrac12 g g' h (z^2 - 1)`, whose density is known,
    too. Steps are taken as short as measurements are dense: rates are biased by about half the product of rate and step
    (Ornstein-Uhlenbeck with θh = 0.1: 5 %), less by Milstein for noise that depends on the state. Where measurements have
    noise, or states are missing, use `Kalman()`.

    Args:
        milstein: Whether to correct for noise that depends on the state.

    Reference:
        Kloeden, Platen (1992), section 13.2; Elerian (1998), Economics Working Paper 1998-W9, Nuffield College.
    """

    milstein: bool = False
    exact = True

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
        if self.milstein and not wiener.is_diagonal(system.noise):
            raise ModelError("`TransitionDensity(milstein=True)` needs a Wiener process of its own for each state.")

    def negative_log(self, series: Series) -> Tensor:
        order = [series.states.index(i) for i in range(series.initial.shape[1])]
        y = series.values[..., order]
        t = series.times
        inside = torch.isfinite(t[:, 1:])
        begin, end = y[:, :-1][inside], y[:, 1:][inside]
        time, h = t[:, :-1][inside][:, None], (t[:, 1:] - t[:, :-1])[inside][:, None]
        drift, matrix = series.drift(time, begin), series.diffusion(time, begin)
        moved = end - begin - drift * h
        if not self.milstein:
            return normal_cost(moved, matrix @ matrix.mT * h[..., None]).sum()
        g = matrix.sum(-1).abs()
        # moved = a z^2 + b z - a with z standard normal: a density with up to two branches.
        a, b = 0.5 * matrix.sum(-1) * series.slope(time, begin) * h, g * h.sqrt()
        root = b**2 + 4 * a * (moved + a)
        safe = root.clamp(min=1e-300).sqrt()
        near = 2 * (moved + a) / (b + safe)
        tiny = a.abs() < 1e-12 * b
        far = torch.where(tiny, torch.inf, -(b + safe) / (2 * torch.where(tiny, 1.0, a)))
        # exp(-far^2/2) + exp(-near^2/2) without underflow: `near` is the smaller one.
        both = -0.5 * near**2 + torch.log1p(torch.exp(-0.5 * (torch.where(tiny, 1e8, far) ** 2 - near**2)))
        cost = -both + safe.log() + 0.9189385332046727
        # Beyond the fold of the parabola the density is zero.
        return torch.where(root > 0, cost, torch.inf).sum()
