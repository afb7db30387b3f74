"""Kværnø's L-stable method of order 5(4), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.protocol import AbstractImplicit
from sciml.solvers.tableaus import KVAERNO5, Tableau


@dataclass(frozen=True)
class Kvaerno5(AbstractImplicit):
    r"""Kværnø, order 5 with an error estimate of order 4; six implicit stages per step. For stiff systems.

    The step and the solution that it is compared with are both stiffly accurate, the step is L-stable, and its
    gradient is exact. The dense output has order 4; where a stiff equation forces the state along a path, steps may grow
    longer than a polynomial can follow in between.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Kvaerno5().adaptive, Kvaerno5(step=0.1).adaptive
        (True, False)

    Reference:
        Kværnø (2004), BIT Numerical Mathematics 44, 489-502.
    """

    tableau: ClassVar[Tableau] = KVAERNO5
