"""Ancestral sampling: DDPM's chain for any grid of noise levels."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractLevelStepper, Reverse


@dataclass(frozen=True)
class Ancestral(AbstractLevelStepper):
    r"""Steps by :math:`q(x_{i+1} \mid x_i, x_0)` with the denoiser's mean in place of the data.

    Exact where the data are one point; noise of variance :math:`\sigma_{i+1}^2 (1 - \sigma_{i+1}^2/\sigma_i^2)` is added.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.

    Reference:
        Ho, Jain, Abbeel (2020), arXiv:2006.11239, eq. 7.
    """

    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        for now, after in pairwise(levels):
            denoised = reverse.denoise(x, now)
            share = (after / now) ** 2
            x = denoised + share * (x - denoised)
            if after > 0:
                x = x + after * math.sqrt(1 - share) * reverse.noise(x)
        return x
