"""Tsitouras' method of order 5(4)."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.protocol import AbstractExplicit
from sciml.solvers.tableaus import TSIT5, Tableau


@dataclass(frozen=True)
class Tsit5(AbstractExplicit):
    r"""Tsitouras, order 5 with an error estimate of order 4; six evaluations per step. The default.

    Its error constants are smaller than those of `Dopri5` at the same cost. The dense output has order 4
    and costs nothing.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Tsit5().adaptive, Tsit5(step=0.1).adaptive
        (True, False)

    Reference:
        Tsitouras (2011), Computers and Mathematics with Applications 62, 770-775.
    """

    tableau: ClassVar[Tableau] = TSIT5
