"""Heun's method of second order."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.protocol import AbstractExplicit
from sciml.solvers.tableaus import HEUN, Tableau


@dataclass(frozen=True)
class Heun(AbstractExplicit):
    r"""Heun's method (the explicit trapezoidal rule), order 2, fixed step.

    .. math:: y_{n+1} = y_n + \tfrac{h}{2} (k_1 + k_2), \quad k_2 = f(t_n + h, y_n + h k_1)

    Args:
        step: Length of a step; it is shortened to land on each output time.

    Example:
        >>> Heun(step=0.01)
        Heun(step=0.01)

    Reference:
        Hairer, Nørsett, Wanner I, section II.1.
    """

    tableau: ClassVar[Tableau] = HEUN
