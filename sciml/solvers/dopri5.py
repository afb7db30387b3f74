"""Dormand and Prince's method of order 5(4)."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.protocol import AbstractExplicit
from sciml.solvers.tableaus import DOPRI5, Tableau


@dataclass(frozen=True)
class Dopri5(AbstractExplicit):
    r"""Dormand and Prince, order 5 with an error estimate of order 4; six evaluations per step.

    The dense output has order 4 and costs nothing.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Dopri5().adaptive, Dopri5(step=0.1).adaptive
        (True, False)

    Reference:
        Dormand, Prince (1980); Hairer, Nørsett, Wanner I, table II.5.2 and section II.6.
    """

    tableau: ClassVar[Tableau] = DOPRI5
