"""Guidance by a classifier of noisy samples, and by a score that was learned with and without its condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.denoiser import Denoiser
from sciml.errors import DataError, ModelError

Score = Callable[[Tensor, Tensor], Tensor]


class Guided:
    r"""The conditional score :math:`\nabla \log p_t(x) + \gamma\,\nabla \log p_t(y \mid x)`, by Bayes' rule.

    With γ = 1 and the likelihood of the *noisy* sample at every time it is exact. A classifier of clean samples, or γ ≠ 1,
    gives samples of no stated distribution: modes are sharper and their weights wrong.

    Args:
        score: Of all data.
        log_likelihood: `log p(y | x_t)` as a function of `(x, t)`, one number a sample, differentiable by torch.
        scale: γ.

    Raises:
        ModelError: `log_likelihood` cannot be called: there is no condition.
        DataError: A scale below zero.

    Example:
        >>> prior = lambda x, t: -x / (1 + t**2)  # standard normal data under EDM
        >>> seen = lambda x, t: -((1.0 - x / (1 + t**2)) ** 2 / (1 + t**2 / (1 + t**2)) / 2)[:, 0]  # y = x + noise is 1
        >>> Guided(prior, seen)(torch.zeros(1, 1), torch.zeros(1, 1))
        tensor([[1.]])

    Reference:
        Dhariwal, Nichol (2021), arXiv:2105.05233, section 4.
    """

    def __init__(self, score: Score, log_likelihood: Callable[[Tensor, Tensor], Tensor], scale: float = 1.0):
        if not callable(log_likelihood):
            raise ModelError(
                f"guidance needs a condition: `log_likelihood={log_likelihood!r}` must be a function `(x, t)` that gives "
                "log p(y | x), with y inside."
            )
        self.score, self.log_likelihood, self.scale = score, log_likelihood, _checked_scale(scale)

    def parameters(self):
        """Those of the score, if it has any."""
        return getattr(self.score, "parameters", lambda: iter(()))()

    def __call__(
        self, x: Float[Tensor, " batch *shape"], t: Float[Tensor, " batch *ones"]
    ) -> Float[Tensor, " batch *shape"]:
        with torch.enable_grad():
            # Where the caller differentiates, the graph is kept.
            watched = x if x.requires_grad else x.detach().requires_grad_()
            value = self.log_likelihood(watched, t)
            if value.shape != x.shape[:1]:
                raise ModelError(
                    f"`log_likelihood` returns {tuple(value.shape)} for {len(x)} samples: one number each."
                )
            (slope,) = torch.autograd.grad(value.sum(), watched, create_graph=x.requires_grad)
        return self.score(x, t) + self.scale * slope


class ClassifierFree:
    r"""Guidance without a classifier: :math:`(1 + \gamma)\,s(x, t, y) - \gamma\,s(x, t)`.

    γ = 0 is the conditional score, which is exact as far as it was learned. γ > 0 draws samples that are more typical of
    their condition and less diverse; it is not the score of a tilted density.

    Args:
        score: A score learned by `train(..., condition=...)`, with some conditions left out (`drop`).
        condition: Labels or features; of one for all samples, or of one for each.
        scale: γ.

    Raises:
        ModelError: The score was learned without conditions, or none is given.
        DataError: A label out of range, features of a wrong shape, or a scale below zero.

    Reference:
        Ho, Salimans (2022), arXiv:2207.12598, eq. 6.
    """

    def __init__(self, score: Denoiser, condition: Any, scale: float = 1.0):
        if not isinstance(score, Denoiser):
            raise ModelError(
                f"classifier-free guidance needs a score of `train(..., condition=...)`, not a `{type(score).__name__}`."
            )
        self.all, self.conditional, self.scale = score, score.given(condition), _checked_scale(scale)
        self.process = score.process

    def parameters(self):
        """The network's parameters."""
        return self.all.parameters()

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """The guided mean of the data given a noisy sample."""
        found = self.conditional.denoise(x, level)
        return found + self.scale * (found - self.all.denoise(x, level)) if self.scale else found

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        found = self.conditional(x, t)
        return found + self.scale * (found - self.all(x, t)) if self.scale else found


def _checked_scale(scale: float) -> float:
    if not 0 <= scale < float("inf"):
        raise DataError(f"`scale={scale}` of the guidance must not be negative.")
    return float(scale)
