"""Steinebach's linearly implicit method of order 5(4), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.errors import ModelError
from sciml.solvers.protocol import AbstractSolver
from sciml.solvers.tableaus import RODAS5P, Rosenbrock


@dataclass(frozen=True)
class Rodas5P(AbstractSolver):
    r"""Rodas5P, order 5 with an error estimate of order 4; eight linear systems with one matrix per step.

    For stiff systems at all but the tightest tolerances: no iteration that could fail, and stiffly accurate and L-stable
    like `Kvaerno5`, at about a third of its cost. It needs the exact Jacobian, so that it runs natively only; its gradient
    is exact, too. The dense output has order 4. Its steps are rational in the right-hand side: where a solution has a pole,
    as that of :math:`y' = y^2`, it may cross it and follow the continuation beyond; `Kvaerno5` stops there.

    Args:
        step: None: the error chooses the steps.

    Raises:
        ModelError: A `step` was given.

    Example:
        >>> Rodas5P().adaptive
        True

    Reference:
        Steinebach (2023), BIT Numerical Mathematics 63, 27.
    """

    tableau: ClassVar[Rosenbrock] = RODAS5P

    def __post_init__(self) -> None:
        if self.step is not None:
            raise ModelError(f"`step` of `Rodas5P` is {self.step}. Its steps are chosen by the error: `Rodas5P()`.")
