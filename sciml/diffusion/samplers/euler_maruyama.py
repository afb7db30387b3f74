"""Euler-Maruyama steps of the reverse SDE, with or without Langevin corrections between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractStepper, Reverse
from sciml.errors import ModelError


@dataclass(frozen=True)
class EulerMaruyama(AbstractStepper):
    """Euler-Maruyama steps of the reverse SDE, as it is derived from the process's equation.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.

    Reference:
        Song and others (2021), arXiv:2011.13456, appendix D.
    """

    corrections = 0

    def run(self, reverse: Reverse, x: Tensor) -> Tensor:
        process, times = reverse.process, self.times(reverse.process)
        of_state, of_score = (c.tolist() for c in process.reverse_coefficients(times))
        diffusion, ts = process.diffusion(times).tolist(), times.tolist()
        for i, (now, after) in enumerate(pairwise(ts)):
            h = after - now
            drift = of_state[i] * x + of_score[i] * reverse.slope(x, now)
            x = x + h * drift + diffusion[i] * math.sqrt(-h) * reverse.noise(x)
            x = self.corrected(reverse, x, after)
        if not self.to_zero:
            return x
        return reverse.denoise(x / float(process.mean(times[-1])), reverse.levels(times)[-1])

    def corrected(self, reverse: Reverse, x: Tensor, t: float) -> Tensor:
        """The samples after a step, brought nearer to the density there; here, as they are."""
        return x


@dataclass(frozen=True)
class PredictorCorrector(EulerMaruyama):
    r"""Euler-Maruyama steps, each followed by Langevin steps at the new time.

    A Langevin step is :math:`x + \epsilon s + \sqrt{2 \epsilon}\,z` with :math:`\epsilon = 2 (r\,\|z\| / \|s\|)^2`.

    Args:
        steps, grid, to_zero: See `AbstractStepper`.
        corrections: Langevin steps after each step.
        signal_to_noise: r; larger corrects faster, and with a larger error of its own.

    Raises:
        ModelError: Numbers below zero.

    Reference:
        Song and others (2021), arXiv:2011.13456, algorithms 2 to 5.
    """

    corrections: int = 1
    signal_to_noise: float = 0.16

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.corrections, int) or self.corrections < 1:
            raise ModelError(f"`corrections={self.corrections!r}` must be a whole number from 1.")
        if not self.signal_to_noise > 0:
            raise ModelError(f"`signal_to_noise={self.signal_to_noise}` must be positive.")

    def corrected(self, reverse: Reverse, x: Tensor, t: float) -> Tensor:
        for _ in range(self.corrections):
            slope, z = reverse.slope(x, t), reverse.noise(x)
            # Norms over the batch, so that one sample with a small score takes no large step.
            epsilon = 2 * (self.signal_to_noise * z.norm() / slope.norm()) ** 2
            x = x + epsilon * slope + (2 * epsilon).sqrt() * z
        return x
