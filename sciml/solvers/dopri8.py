"""Prince and Dormand's method of order 8(7)."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.protocol import AbstractExplicit
from sciml.solvers.tableaus import DOPRI8, Tableau


@dataclass(frozen=True)
class Dopri8(AbstractExplicit):
    r"""Prince and Dormand, order 8 with an error estimate of order 7; thirteen evaluations per step.

    For smooth equations and tolerances below about 1e-8, where it takes far fewer evaluations than `Tsit5`. The dense
    output costs nothing, but has order 5: its values between the ends of long steps are less accurate than the steps.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Dopri8().adaptive, Dopri8(step=0.1).adaptive
        (True, False)

    Reference:
        Prince, Dormand (1981), Journal of Computational and Applied Mathematics 7, 67-75; for the dense output
        Bogacki, Shampine (1990), Computers and Mathematics with Applications 20, 15-24.
    """

    tableau: ClassVar[Tableau] = DOPRI8
