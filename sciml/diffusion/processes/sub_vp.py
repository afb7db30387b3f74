"""The sub-variance-preserving process."""

from dataclasses import dataclass

import sympy as sp

from sciml.diffusion.processes.protocol import LEVEL, AbstractProcess, Formulas, X
from sciml.diffusion.processes.vp import expm1, rates, time_of
from sciml.errors import ModelError


@dataclass(frozen=True)
class SubVP(AbstractProcess):
    r"""Sub-variance preserving: :math:`dx = -\tfrac12 \beta x\,dt + \sqrt{\beta (1 - e^{-2B})}\,dw`.

    The mean of `VP` with :math:`s = 1 - e^{-B}`, a smaller variance at every time; likelihoods tend to be better.

    Args:
        beta_min, beta_max: Rates of noise at times 0 and 1.
        start, end: Times of the data and of pure noise.

    Raises:
        ModelError: A rate that is not positive, or an empty span.

    Example:
        >>> import torch
        >>> from sciml.diffusion import VP
        >>> t = torch.tensor(0.01, dtype=torch.float64)
        >>> bool(SubVP().std(t) < VP().std(t))
        True

    Reference:
        Song and others (2021), arXiv:2011.13456, section 3.4.
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
            diffusion=sp.sqrt(-beta * expm1(-2 * total)),
            mean=sp.exp(-total / 2),
            std=-expm1(-total),
            time=time_of(2 * sp.asinh(LEVEL / 2), self.beta_min, self.beta_max),
        )
