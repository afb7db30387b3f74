"""The explicit Euler method."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

_A = stacked([1.0])
EULER = Tableau(order=1, a=_A, error=None, dense=hermite_dense(_A), dense_order=3)


@dataclass(frozen=True)
class Euler(AbstractExplicit):
    r"""Explicit Euler, order 1, fixed step.

    .. math:: y_{n+1} = y_n + h f(t_n, y_n)

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.

    Example:
        >>> Euler(step=0.01)
        Euler(step=0.01)

    Reference:
        Hairer, Nørsett, Wanner I, eq. I.7.3.
    """

    tableau: ClassVar[Tableau] = EULER
