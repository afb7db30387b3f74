"""The classical Runge-Kutta method."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

_A = stacked([0.5], [0.0, 0.5], [0.0, 0.0, 1.0], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
RK4_TABLEAU = Tableau(order=4, a=_A, error=None, dense=hermite_dense(_A), dense_order=3)


@dataclass(frozen=True)
class RK4(AbstractExplicit):
    r"""The Runge-Kutta method, order 4, fixed step.

    .. math:: y_{n+1} = y_n + \tfrac{h}{6} (k_1 + 2 k_2 + 2 k_3 + k_4)

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.

    Example:
        >>> RK4(step=0.1)
        RK4(step=0.1)

    Reference:
        Kutta (1901); Hairer, Nørsett, Wanner I, table II.1.2.
    """

    tableau: ClassVar[Tableau] = RK4_TABLEAU
