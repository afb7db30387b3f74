"""Mixtures of Gaussians, whose scores and densities are known at every time of a process."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sciml.diffusion.processes import AbstractProcess


@dataclass
class Mixture:
    """A mixture under a process: `mixture(x, t)` is its score.

    Args:
        process: The process.
        means: (mode, dimension).
        weights: Of the modes.
        std: Standard deviation of each mode.
    """

    process: AbstractProcess
    means: Tensor
    weights: Tensor
    std: float

    def _parts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t = torch.as_tensor(t, dtype=x.dtype).expand(len(x), 1)
        m = self.process.mean(t)
        variance = (m * self.std) ** 2 + self.process.std(t) ** 2
        return x[:, None, :] - m[:, None] * self.means, variance, (self.weights / self.weights.sum()).log()

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """Logarithm of the density at a time."""
        away, variance, weights = self._parts(x, t)
        return torch.logsumexp(
            weights - away.square().sum(-1) / variance / 2 - x.shape[1] / 2 * torch.log(2 * math.pi * variance),
            dim=1,
        )

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        away, variance, weights = self._parts(x, t)
        shares = torch.softmax(weights - away.square().sum(-1) / variance / 2, dim=1)
        return -(shares[..., None] * away).sum(1) / variance

    def sample(self, count: int, seed: int) -> Tensor:
        """Samples at time zero."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[chosen] + self.std * noise


def ring(process: AbstractProcess) -> Mixture:
    """Eight modes on the unit circle with weights 1 to 4, of standard deviation 0.1."""
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    weights = torch.tensor([1, 2, 3, 4, 1, 2, 3, 4], dtype=torch.float64)
    return Mixture(process, torch.stack([angles.cos(), angles.sin()], dim=1), weights, 0.1)


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 200, seed: int = 0) -> float:
    """Sliced Wasserstein-2 distance of two sets of as many points."""
    generator = torch.Generator().manual_seed(seed)
    d = torch.randn(a.shape[1], directions, generator=generator, dtype=a.dtype)
    d = d / d.norm(dim=0)
    return float(((a @ d).sort(dim=0).values - (b @ d).sort(dim=0).values).square().mean().sqrt())
