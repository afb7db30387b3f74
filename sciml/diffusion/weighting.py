"""Weightings of denoising score matching: which times are drawn, and what an error counts there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.processes import AbstractProcess
from sciml.errors import ModelError


class AbstractWeighting(ABC):
    r"""The loss :math:`E_t\, w(t)\, \|s_\theta(x_t, t) + \epsilon / s(t)\|^2`, as draws of t and a weight.

    An error is told as one of the denoiser: :math:`\|D - \hat x_0\|^2`, which is :math:`m^2 \sigma^4` times that of the
    score; `weight` is for it.
    """

    @abstractmethod
    def draw(self, process: AbstractProcess, count: int, like: Tensor) -> Float[Tensor, " count"]:
        """Noise levels, at random."""

    @abstractmethod
    def weight(self, process: AbstractProcess, level: Float[Tensor, ...], spread: float) -> Float[Tensor, ...]:
        """What a squared error of the denoiser counts at a noise level."""


def _uniform_in_time(process: AbstractProcess, count: int, like: Tensor) -> Tensor:
    # Stratified: one draw in each of `count` equal parts, which makes the loss less noisy.
    parts = (torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64)) / count
    t = process.start + (process.end - process.start) * parts
    return process.noise_level(t).to(like)


@dataclass(frozen=True)
class VarianceWeighting(AbstractWeighting):
    r"""Weight :math:`s(t)^2` at uniform times: every time counts the same, by the error of the noise.

    Reference:
        Song and others (2021), arXiv:2011.13456, eq. 7.
    """

    def draw(self, process: AbstractProcess, count: int, like: Tensor) -> Tensor:
        return _uniform_in_time(process, count, like)

    def weight(self, process: AbstractProcess, level: Tensor, spread: float) -> Tensor:
        return level**-2


@dataclass(frozen=True)
class LikelihoodWeighting(AbstractWeighting):
    r"""Weight :math:`g(t)^2` at uniform times: the loss bounds the Kullback-Leibler divergence from the data.

    Times are drawn so that the weight is taken care of: with density proportional to :math:`g^2/s^2`, which is uniform in
    the logarithm of the noise level for VE and EDM. What remains is the weight of `VarianceWeighting`.

    Reference:
        Song, Durkan, Murray, Ermon (2021), arXiv:2101.09258, section 4.
    """

    def draw(self, process: AbstractProcess, count: int, like: Tensor) -> Tensor:
        grid = torch.exp(
            torch.linspace(
                float(process.noise_level(torch.tensor(process.start, dtype=torch.float64)).log()),
                float(process.noise_level(torch.tensor(process.end, dtype=torch.float64)).log()),
                2001,
                dtype=torch.float64,
            )
        )
        t = process.time(grid)
        density = (process.diffusion(t) / process.std(t)) ** 2
        total = torch.cat([grid.new_zeros(1), torch.cumsum((density[1:] + density[:-1]) / 2 * t.diff(), dim=0)])
        parts = (torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64)) / count
        right = torch.searchsorted(total, parts * total[-1]).clamp(1, len(total) - 1)
        share = (parts * total[-1] - total[right - 1]) / (total[right] - total[right - 1])
        return (grid[right - 1].log() + share * (grid[right].log() - grid[right - 1].log())).exp().to(like)

    def weight(self, process: AbstractProcess, level: Tensor, spread: float) -> Tensor:
        return level**-2


@dataclass(frozen=True)
class EDMWeighting(AbstractWeighting):
    r"""EDM's: logarithms of the noise level are normal, and the network's own error counts the same at every level.

    Args:
        center: Mean of the logarithm of the noise level in units of the data's unit.
        width: Its standard deviation.

    Raises:
        ModelError: A width that is not positive.

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, section 5.
    """

    center: float = -1.2
    width: float = 1.2

    def __post_init__(self):
        if not self.width > 0:
            raise ModelError(f"`width={self.width}` of the noise levels' distribution must be positive.")

    def draw(self, process: AbstractProcess, count: int, like: Tensor) -> Tensor:
        parts = (torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64)) / count
        levels = torch.exp(self.center + self.width * torch.special.ndtri(parts.clamp(1e-12, 1 - 1e-12)))
        ends = process.noise_level(torch.tensor([process.start, process.end], dtype=torch.float64))
        return levels.clamp(*ends.tolist()).to(like)

    def weight(self, process: AbstractProcess, level: Tensor, spread: float) -> Tensor:
        return (level**2 + spread**2) / (level * spread) ** 2
