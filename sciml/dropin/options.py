"""torchdiffeq's methods by name, and the options that each of them takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from sciml.dropin.tableaus import FEHLBERG2, HEUN3, RK38
from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.solvers.checks import checked_positive
from sciml.solvers.methods.bosh3 import BOSH3
from sciml.solvers.methods.dopri5 import DOPRI5
from sciml.solvers.methods.dopri8 import DOPRI8
from sciml.solvers.methods.euler import EULER
from sciml.solvers.methods.heun import HEUN
from sciml.solvers.methods.midpoint import MIDPOINT
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.methods.tsit5 import TSIT5

Norm = Callable[[Any], Any]
SCIPY_SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True, eq=False)
class AdaptiveOptions:
    """Options of the methods that choose their steps.

    Args:
        norm: From the errors in units of the tolerance, shaped like the state, to one number; at most 1 is accepted.
        first_step: Length of the first step; found from the field when None.
        step_t: Times at which a step must end.
        jump_t: Times at which the field jumps: a step ends there, and the field is evaluated anew behind it.
        safety: Factor by which a step is kept shorter than the error allows.
        ifactor: Most by which a step grows.
        dfactor: Least to which a step shrinks.
        max_num_steps: Steps allowed from one output to the next; None for no limit, and for 10 000 up to an event.
        dtype: Of times in torchdiffeq. Here times are float64 whatever it is.
        min_step: A step is not made shorter, and one of this length is accepted whatever its error.
        max_step: A step is not made longer.
    """

    norm: Norm | None = None
    first_step: float | Tensor | None = None
    step_t: Tensor | None = None
    jump_t: Tensor | None = None
    safety: float = 0.9
    ifactor: float = 10.0
    dfactor: float = 0.2
    max_num_steps: int | None = None
    dtype: torch.dtype = torch.float64
    min_step: float = 0.0
    max_step: float = float("inf")

    def __post_init__(self) -> None:
        checked_positive(first_step=self.first_step, safety=self.safety, ifactor=self.ifactor, dfactor=self.dfactor)
        checked_positive(max_num_steps=self.max_num_steps)
        if not 0 <= self.min_step <= self.max_step or self.max_step == 0:
            raise DataError(f"`min_step` is {self.min_step} and `max_step` {self.max_step}. Expected 0 <= min <= max.")
        times = [
            x for value in (self.step_t, self.jump_t) if value is not None for x in torch.as_tensor(value).tolist()
        ]
        twice = [x for x in times if times.count(x) > 1]
        if twice:
            raise DataError(f"`step_t` and `jump_t` hold {twice[0]} more than once. Name each time once.")


@dataclass(frozen=True, eq=False)
class FixedOptions:
    """Options of the methods on a given grid.

    Args:
        step_size: Length of a step; the outputs themselves are the grid when None.
        grid_constructor: From `(func, y0, t)` to a grid that begins with `t[0]` and ends with `t[-1]`.
        interp: "linear" or "cubic", for outputs inside a step.
        perturb: Whether the field is evaluated next to the ends of a step, not at them, because it jumps there.
        norm: Not used; accepted because all methods accept it.
    """

    step_size: float | Tensor | None = None
    grid_constructor: Callable | None = None
    interp: str = "linear"
    perturb: bool = False
    norm: Norm | None = None

    def __post_init__(self) -> None:
        checked_positive(step_size=self.step_size)
        if self.step_size is not None and self.grid_constructor is not None:
            raise ModelError("`step_size` and `grid_constructor` both say where steps end. Give one of them.")
        if self.interp not in ("linear", "cubic"):
            raise ModelError(f"`interp` is {self.interp!r}. Expected `linear` or `cubic`.")


@dataclass(frozen=True, eq=False)
class AdamsOptions(FixedOptions):
    """Options of the multistep methods, besides those of other methods on a grid.

    Args:
        max_order: Largest order, at most 12; below 4 the method is `rk4`.
        max_iters: Iterations of the corrector.
        implicit: Whether there is a corrector.
    """

    max_order: int = 12
    max_iters: int = 4
    implicit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_order <= 12:
            raise ModelError(f"`max_order` is {self.max_order}. Expected 1 to 12.")
        checked_positive(max_iters=self.max_iters)


@dataclass(frozen=True, eq=False)
class ScipyOptions:
    """Options of `scipy.integrate.solve_ivp`.

    Args:
        solver: One of RK45, RK23, DOP853, Radau, BDF, LSODA.
        min_step: Shortest step, of LSODA alone.
        max_step: Longest step.
        norm, grid_points, eps: Not used; accepted as torchdiffeq accepts them.
    """

    solver: str = "LSODA"
    min_step: float = 0.0
    max_step: float = float("inf")
    norm: Norm | None = None
    grid_points: Any = None
    eps: Any = None

    def __post_init__(self) -> None:
        if self.solver not in SCIPY_SOLVERS:
            raise ModelError(
                f"`solver` is {self.solver!r}. SciPy has {quoted(SCIPY_SOLVERS)}.{suggestion(self.solver, SCIPY_SOLVERS)}"
            )


@dataclass(frozen=True, eq=False)
class Method:
    """A method by name.

    Args:
        name: torchdiffeq's name.
        options: The class of its options.
        tableau: Coefficients; those of the first steps for a multistep method.
        implicit: Whether a multistep method has a corrector.
    """

    name: str
    options: type
    tableau: Tableau | None = None
    implicit: bool = False


METHODS = {
    method.name: method
    for method in (
        Method("dopri8", AdaptiveOptions, DOPRI8),
        Method("dopri5", AdaptiveOptions, DOPRI5),
        Method("tsit5", AdaptiveOptions, TSIT5),
        Method("bosh3", AdaptiveOptions, BOSH3),
        Method("fehlberg2", AdaptiveOptions, FEHLBERG2),
        Method("adaptive_heun", AdaptiveOptions, HEUN),
        Method("euler", FixedOptions, EULER),
        Method("midpoint", FixedOptions, MIDPOINT),
        Method("heun2", FixedOptions, HEUN),
        Method("heun3", FixedOptions, HEUN3),
        Method("rk4", FixedOptions, RK38),
        Method("explicit_adams", AdamsOptions, RK38),
        Method("implicit_adams", AdamsOptions, RK38, implicit=True),
        Method("fixed_adams", AdamsOptions, RK38, implicit=True),
        Method("scipy_solver", ScipyOptions),
    )
}


def chosen(method: str | None, options: Mapping[str, Any] | None) -> tuple[Method, Any]:
    """The method of that name and its options.

    Raises:
        ModelError: An unknown method or option.
        DataError: An option's value cannot be used.
    """
    name = "dopri5" if method is None else method
    if name not in METHODS:
        raise ModelError(f"`method={name!r}` is not known. There are {quoted(METHODS)}.{suggestion(name, METHODS)}")
    found = METHODS[name]
    known = [field.name for field in fields(found.options)]
    for option in options or {}:
        if option not in known:
            raise ModelError(
                f"`{option}` is not an option of `{name}`, which takes {quoted(known)}.{suggestion(option, known)}"
            )
    given = dict(options or {})
    if found.options is AdamsOptions:
        given.setdefault("implicit", found.implicit)
    return found, found.options(**given)
