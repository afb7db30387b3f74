"""What a likelihood of a stochastic System is given, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Coefficient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Series:
    """Measured series with the equations at the present values of everything unknown.

    Args:
        times: Of measurements; NaN pads shorter series.
        values: Measured columns, of logarithms where the noise is log-normal; zero where nothing was measured.
        known: Where something was measured.
        initial: The state of each series at its first time.
        drift: f(t, y) for states (..., state) and times that broadcast.
        diffusion: G(t, y), a row for each state and a column for each Wiener process.
        slope: The derivative of each state's own coefficient by that state; None where noise is not diagonal
            or learned.
        measure: Means of all columns and standard deviations of their noise, at times and states.
        states: For each column the number of the state that it is, or None where it is something else.
    """

    times: Float[Tensor, " series time"]
    values: Float[Tensor, " series time column"]
    known: Bool[Tensor, " series time column"]
    initial: Float[Tensor, " series state"]
    drift: Coefficient
    diffusion: Coefficient
    slope: Coefficient | None
    measure: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    states: tuple[int | None, ...]


class AbstractTransitions(ABC):
    """A way to compute or approximate the likelihood.

    Attributes:
        exact: Whether measurements are the states themselves, so that neither noise levels nor initial values are unknown.
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def check(self, problem: Any) -> None:
        """Raise where the System or the data are not what this way needs."""

    @abstractmethod
    def negative_log(self, series: Series) -> Float[Tensor, ""]:
        """Minus the logarithm of the likelihood of all series, differentiable."""


def normal_cost(residual: Float[Tensor, " ... n"], covariance: Float[Tensor, " ... n n"]) -> Float[Tensor, " ..."]:
    """Minus the logarithm of a normal density; NaN where the covariance is not positive definite."""
    factor, bad = torch.linalg.cholesky_ex(covariance)
    white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    logarithm = factor.diagonal(dim1=-2, dim2=-1).clamp(min=1e-300).log()
    cost = 0.5 * (white**2).sum(-1) + logarithm.sum(-1) + 0.9189385332046727 * residual.shape[-1]
    return torch.where(bad > 0, torch.nan, cost)
