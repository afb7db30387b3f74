"""The process of EDM, whose time is the noise level."""

from dataclasses import dataclass

import sympy as sp

from sciml.diffusion.processes.protocol import LEVEL, AbstractProcess, Formulas, T


@dataclass(frozen=True)
class EDM(AbstractProcess):
    r"""EDM's: :math:`dx = \sqrt{2 t}\,dw`, so that :math:`s(t) = t`; paths of its flow are nearly straight.

    Args:
        start: Smallest noise level, in the unit of the data.
        end: Largest noise level; much above the spread of the data.

    Raises:
        ModelError: A noise level that is not positive, or an empty span.

    Example:
        >>> import torch
        >>> EDM().std(torch.tensor(3.0, dtype=torch.float64)).item()
        3.0

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, table 1.
    """

    start: float = 0.002
    end: float = 80.0

    def __post_init__(self):
        self._check(start=self.start, end=self.end)

    @property
    def formulas(self) -> Formulas:
        return Formulas(drift=sp.S.Zero, diffusion=sp.sqrt(2 * T), mean=sp.S.One, std=T, time=LEVEL)
