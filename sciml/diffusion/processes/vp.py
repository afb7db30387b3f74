"""The variance-preserving process."""

from dataclasses import dataclass

import sympy as sp

from sciml.diffusion.processes.protocol import LEVEL, AbstractProcess, Formulas, T, X
from sciml.errors import ModelError


@dataclass(frozen=True)
class VP(AbstractProcess):
    r"""Variance preserving, the limit of DDPM's chain: :math:`dx = -\tfrac12 \beta(t) x\,dt + \sqrt{\beta(t)}\,dw`.

    :math:`\beta` grows linearly; with :math:`B(t) = \int_0^t \beta`, :math:`m = e^{-B/2}` and :math:`s^2 = 1 - e^{-B}`.
    Data of unit variance keep it.

    Args:
        beta_min: Rate of noise at time 0.
        beta_max: Rate of noise at time 1.
        start: Time of the data; the noise level there is about `sqrt(beta_min * start)`.
        end: Time of pure noise.

    Raises:
        ModelError: A rate that is not positive, or an empty span.

    Example:
        >>> import torch
        >>> process = VP()
        >>> t = torch.tensor([0.5, 1.0], dtype=torch.float64)
        >>> (process.mean(t) ** 2 + process.std(t) ** 2).round(decimals=9).tolist()
        [1.0, 1.0]

    Reference:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), arXiv:2011.13456, eq. 11.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self):
        self._check(beta_min=self.beta_min, beta_max=self.beta_max)
        if self.beta_max < self.beta_min:
            raise ModelError(f"`beta_max={self.beta_max}` must not be below `beta_min={self.beta_min}`.")

    @property
    def formulas(self) -> Formulas:
        beta, total = rates(self.beta_min, self.beta_max)
        return Formulas(
            drift=-beta * X / 2,
            diffusion=sp.sqrt(beta),
            mean=sp.exp(-total / 2),
            std=sp.sqrt(-expm1(-total)),
            time=time_of(sp.log(1 + LEVEL**2), self.beta_min, self.beta_max),
        )


def rates(beta_min: float, beta_max: float) -> tuple[sp.Expr, sp.Expr]:
    """The rate of noise, and its integral from 0 to t."""
    slope = sp.Float(beta_max) - sp.Float(beta_min)
    return beta_min + slope * T, beta_min * T + slope * T**2 / 2


def expm1(x: sp.Expr) -> sp.Expr:
    """exp(x) - 1 without cancellation, through tanh."""
    return 2 * sp.tanh(x / 2) / (1 - sp.tanh(x / 2))


def time_of(total: sp.Expr, beta_min: float, beta_max: float) -> sp.Expr:
    """The time at which the integral of the rate has a given value: a root of a quadratic, without cancellation."""
    slope = sp.Float(beta_max) - sp.Float(beta_min)
    return 2 * total / (beta_min + sp.sqrt(beta_min**2 + 2 * slope * total))
