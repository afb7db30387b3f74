"""What every solver is: a frozen dataclass that names a method and, if the step is fixed, its length."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.errors import ModelError
from sciml.solvers.tableaus import Tableau


@dataclass(frozen=True)
class AbstractSolver:
    """A method for initial value problems.

    Args:
        step: Length of the uniform step, in the unit of time; None lets the error decide.
    """

    step: float | None = None

    def __post_init__(self) -> None:
        if self.step is not None and not 0 < self.step < float("inf"):
            raise ModelError(f"`step` of `{type(self).__name__}` is {self.step}. It must be positive and finite.")

    @property
    def adaptive(self) -> bool:
        """Whether the error estimate chooses the steps."""
        return self.step is None


@dataclass(frozen=True)
class AbstractExplicit(AbstractSolver):
    """An explicit Runge-Kutta method, all of it in its tableau."""

    tableau: ClassVar[Tableau]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step is None and self.tableau.error is None:
            name = type(self).__name__
            raise ModelError(f"`{name}` has no error estimate. Give it a step, as in `{name}(step=0.01)`.")
