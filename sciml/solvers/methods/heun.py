"""Heun's method of second order."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

_A = stacked([1.0], [0.5, 0.5])
HEUN = Tableau(
    order=2,
    a=_A,
    # The difference from an Euler step.
    error=np.array([-1 / 2, 1 / 2, 0.0]),
    dense=hermite_dense(_A),
    dense_order=3,
    error_order=2,
)


@dataclass(frozen=True)
class Heun(AbstractExplicit):
    r"""Heun's method (the explicit trapezoidal rule), order 2 with an error estimate of order 1.

    .. math:: y_{n+1} = y_n + \tfrac{h}{2} (k_1 + k_2), \quad k_2 = f(t_n + h, y_n + h k_1)

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Heun().adaptive, Heun(step=0.1).adaptive
        (True, False)

    Reference:
        Hairer, Nørsett, Wanner I, section II.1.
    """

    tableau: ClassVar[Tableau] = HEUN
