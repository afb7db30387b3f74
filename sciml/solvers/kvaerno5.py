"""Kværnø's L-stable method of order 5(4), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.errors import ModelError
from sciml.solvers.protocol import AbstractSolver
from sciml.solvers.tableaus import KVAERNO5, Tableau


@dataclass(frozen=True)
class Kvaerno5(AbstractSolver):
    r"""Kværnø, order 5 with an error estimate of order 4; six implicit stages per step. For stiff systems.

    The step and the solution that it is compared with are both stiffly accurate, the step is L-stable, and its
    gradient is exact. The dense output has order 4. Only the native engine has it for now.

    Args:
        step: None: the error chooses the steps.

    Raises:
        ModelError: A `step` was given.

    Example:
        >>> Kvaerno5().adaptive
        True

    Reference:
        Kværnø (2004), BIT Numerical Mathematics 44, 489-502.
    """

    tableau: ClassVar[Tableau] = KVAERNO5

    def __post_init__(self) -> None:
        if self.step is not None:
            raise ModelError(f"`step` of `Kvaerno5` is {self.step}. Its steps are chosen by the error: `Kvaerno5()`.")
