"""DPM-Solver++ of order 2 with one evaluation a step."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractLevelStepper, Reverse


@dataclass(frozen=True)
class DPMSolverPP(AbstractLevelStepper):
    r"""DPM-Solver++(2M): an exponential integrator in :math:`\lambda = -\ln \sigma`, with the denoiser extrapolated.

    Order 2 with one evaluation a step; what came before is used again. The first step and the one to zero are of order 1.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.

    Reference:
        Lu, Zhou, Bao, Chen, Li, Zhu (2022), arXiv:2211.01095, algorithm 2.
    """

    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        before, h_before = None, 0.0
        for now, after in pairwise(levels):
            denoised = reverse.denoise(x, now)
            if after == 0:
                return denoised
            h = math.log(now / after)
            target = denoised
            if before is not None:
                target = denoised + (h / h_before / 2) * (denoised - before)
            x = (after / now) * x - math.expm1(-h) * target
            before, h_before = denoised, h
        return x
