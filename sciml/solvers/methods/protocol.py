"""What every solver is: a frozen dataclass that names a method and, if the step is fixed, its length."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.errors import ModelError
from sciml.solvers.methods.tableau import Tableau


@dataclass(frozen=True)
class AbstractSolver:
    """A method for initial value problems, all of it in its tableau.

    Args:
        step: Length of the longest step, in the unit of time: equal steps lead from each output to the next. None
            lets the error decide.
    """

    step: float | None = None

    tableau: ClassVar[Tableau]

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.step is not None and not 0 < self.step < float("inf"):
            raise ModelError(f"`step` of `{name}` is {self.step}. It must be positive and finite.")
        if self.step is None and self.tableau.error is None:
            raise ModelError(f"`{name}` has no error estimate. Give it a step, as in `{name}(step=0.01)`.")

    @property
    def adaptive(self) -> bool:
        """Whether the error estimate chooses the steps."""
        return self.step is None


@dataclass(frozen=True)
class AbstractExplicit(AbstractSolver):
    """An explicit Runge-Kutta method."""


@dataclass(frozen=True)
class AbstractImplicit(AbstractSolver):
    """A diagonally implicit Runge-Kutta method with an explicit first stage, for stiff systems.

    Its last stage is the new state. The stages are found by Newton's iteration with the Jacobian at the beginning of
    the step: the field's own `jacobian(t, y)` of shape `(*y.shape, state)` if it has one, else that of `torch.func`.
    Derivatives, the first and the second, are those of the solved stages, by the implicit function theorem.
    """


@dataclass(frozen=True)
class AbstractSymplectic(AbstractSolver):
    r"""A splitting method for :math:`\dot q = V(p)`, :math:`\dot p = F(q)`.

    Args:
        momenta: Which states are momenta, as indices along the last dimension of the state; the others are positions.
            None asks the field for `field.momenta`, which compiled Systems have.
    """

    momenta: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momenta is not None:
            object.__setattr__(self, "momenta", tuple(self.momenta))
