"""EDM's samplers: Heun's method for the probability flow, and the same with noise put in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractLevelStepper, Reverse
from sciml.errors import ModelError


@dataclass(frozen=True)
class Heun(AbstractLevelStepper):
    """Heun's method for the probability flow, order 2; two evaluations a step, one for the step to zero.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, algorithm 1.
    """

    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        for now, after in pairwise(levels):
            x = heun_step(reverse, x, now, after)
        return x


@dataclass(frozen=True)
class StochasticHeun(AbstractLevelStepper):
    r"""Heun's method with churn: before each step noise is added, to a noise level :math:`(1 + \gamma)\,\sigma`.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.
        churn: Amount of noise added over the whole way; each γ is at most churn/steps, and √2 - 1.
        lowest, highest: Noise levels between which noise is added.
        inflation: Factor of the added noise; slightly above 1 makes up for detail that a network loses.

    Raises:
        ModelError: A negative amount of noise.

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, algorithm 2.
    """

    churn: float = 40.0
    lowest: float = 0.05
    highest: float = 50.0
    inflation: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        for name in ("churn", "lowest", "highest", "inflation"):
            if not getattr(self, name) >= 0:
                raise ModelError(f"`{name}={getattr(self, name)}` of `StochasticHeun` must not be negative.")

    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        for now, after in pairwise(levels):
            if gamma > 0 and self.lowest <= now <= self.highest:
                raised = min((1 + gamma) * now, levels[0])
                x = x + math.sqrt(raised**2 - now**2) * self.inflation * reverse.noise(x)
                now = raised
            x = heun_step(reverse, x, now, after)
        return x


def heun_step(reverse: Reverse, x: Tensor, now: float, after: float) -> Tensor:
    """One step; Euler's where it ends without noise."""
    d = (x - reverse.denoise(x, now)) / now
    predicted = x + (after - now) * d
    if after == 0:
        return predicted
    d_after = (predicted - reverse.denoise(predicted, after)) / after
    return x + (after - now) / 2 * (d + d_after)
