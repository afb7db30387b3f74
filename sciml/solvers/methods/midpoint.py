"""The explicit midpoint rule."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

_A = stacked([1 / 2], [0.0, 1.0])
MIDPOINT = Tableau(order=2, a=_A, error=None, dense=hermite_dense(_A), dense_order=3)


@dataclass(frozen=True)
class Midpoint(AbstractExplicit):
    r"""The explicit midpoint rule, order 2, fixed step.

    .. math:: y_{n+1} = y_n + h f(t_n + \tfrac{h}{2}, \; y_n + \tfrac{h}{2} f(t_n, y_n))

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.

    Example:
        >>> Midpoint(step=0.01)
        Midpoint(step=0.01)

    Reference:
        Runge (1895); Hairer, Nørsett, Wanner I, eq. II.1.4.
    """

    tableau: ClassVar[Tableau] = MIDPOINT
