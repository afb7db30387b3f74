"""Euler steps of the probability flow in noise level; DDIM's without noise."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractLevelStepper, Reverse


@dataclass(frozen=True)
class Euler(AbstractLevelStepper):
    """Euler's method for the probability flow, order 1; one evaluation a step.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.

    Reference:
        Song, Meng, Ermon (2021), arXiv:2010.02502, eq. 13.
    """

    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        for now, after in pairwise(levels):
            x = x + (after - now) / now * (x - reverse.denoise(x, now))
        return x
