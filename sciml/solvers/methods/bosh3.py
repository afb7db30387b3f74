"""Bogacki and Shampine's method of order 3(2)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

_A = stacked([1 / 2], [0.0, 3 / 4], [2 / 9, 1 / 3, 4 / 9])
BOSH3 = Tableau(
    order=3,
    a=_A,
    # The weights of order 3 minus those of order 2.
    error=_A[-1] - np.array([7 / 24, 1 / 4, 1 / 3, 1 / 8]),
    dense=hermite_dense(_A),
    dense_order=3,
    error_order=3,
)


@dataclass(frozen=True)
class Bosh3(AbstractExplicit):
    r"""Bogacki and Shampine, order 3 with an error estimate of order 2; three evaluations per step.

    For loose tolerances, above about 1e-4. The dense output is cubic.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Bosh3().adaptive, Bosh3(step=0.1).adaptive
        (True, False)

    Reference:
        Bogacki, Shampine (1989), Applied Mathematics Letters 2, 321-325.
    """

    tableau: ClassVar[Tableau] = BOSH3
