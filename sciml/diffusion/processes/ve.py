"""The variance-exploding process."""

from dataclasses import dataclass

import sympy as sp

from sciml.diffusion.processes.protocol import LEVEL, AbstractProcess, Formulas, T
from sciml.errors import ModelError


@dataclass(frozen=True)
class VE(AbstractProcess):
    r"""Variance exploding: :math:`dx = \sigma(t) \sqrt{2 \ln r}\,dw` with :math:`\sigma = \sigma_{min} r^t`, r = σmax/σmin.

    The data are taken to carry noise of σmin, so that :math:`s = \sigma(t)` from time 0 on.

    Args:
        sigma_min: Standard deviation of the noise at time 0, in the unit of the data; much below their detail.
        sigma_max: That at time 1; much above their spread.
        start, end: Times of the data and of pure noise.

    Raises:
        ModelError: A standard deviation that is not positive, or an empty span.

    Example:
        >>> import torch
        >>> VE().std(torch.tensor([0.0, 1.0], dtype=torch.float64)).round(decimals=9).tolist()
        [0.01, 50.0]

    Reference:
        Song and others (2021), arXiv:2011.13456, eq. 9 and appendix C.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        self._check(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        if self.sigma_max <= self.sigma_min:
            raise ModelError(f"`sigma_max={self.sigma_max}` must be above `sigma_min={self.sigma_min}`.")

    @property
    def formulas(self) -> Formulas:
        lowest, ratio = sp.Float(self.sigma_min), sp.Float(self.sigma_max) / sp.Float(self.sigma_min)
        std = lowest * sp.exp(sp.log(ratio) * T)
        return Formulas(
            drift=sp.S.Zero,
            diffusion=std * sp.sqrt(2 * sp.log(ratio)),
            mean=sp.S.One,
            std=std,
            time=sp.log(LEVEL / lowest) / sp.log(ratio),
        )
