"""What can be wrong with an initial value problem, said before any computation."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.event import Event
from sciml.solvers.field import Field
from sciml.solvers.tolerance import host

# What other libraries call the arguments of `solve`, and what they are called here.
ELSEWHERE = {
    "method": "`solver=Dopri5()`, a method as an object; `sciml.odeint` takes names",
    "options": "arguments of their own, such as `first_step=`, or the method's, such as `Dopri5(step=0.1)`",
    "adjoint": "`gradients=Backsolve()`",
    "adjoint_params": "`gradients=Backsolve(parameters=(...))`",
    "dense_output": "`dense=True`",
    "max_num_steps": "`max_steps=`",
    "step_size": "`solver=RK4(step=...)`",
    "dt": "`solver=RK4(step=...)`",
    "t_span": "`ts`, a tensor of output times, the initial time first",
    "t_eval": "`ts`, a tensor of output times, the initial time first",
    "event_fn": "`events=[Event(condition)]`",
}


def refuse(unknown: Iterable[str], known: Iterable[str]) -> None:
    """Refuse arguments that `solve` does not have, and say what they are called.

    Raises:
        ModelError: There is one.
    """
    known = list(known)
    for name in unknown:
        here = f" Here it is {ELSEWHERE[name]}." if name in ELSEWHERE else suggestion(name, known)
        raise ModelError(f"`solve` has no argument `{name}`.{here or f' There are {quoted(known)}.'}")


def checked_state(y0: object) -> Tensor:
    """The initial state, if it can be used.

    Raises:
        DataError: It is not a finite floating point tensor of one or more dimensions.
    """
    if not isinstance(y0, Tensor):
        raise DataError(f"`y0` is of type `{type(y0).__name__}`. Expected a tensor: `torch.as_tensor(y0)`.")
    if y0.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        raise DataError(f"`y0` has dtype {y0.dtype}. Expected floating point or complex numbers: `y0.double()`.")
    if y0.ndim == 0 or y0.numel() == 0:
        raise DataError(f"`y0` has shape {tuple(y0.shape)}. Expected `(state,)` or `(batch, *state)`, not empty.")
    finite = torch.isfinite(y0.detach())
    if not finite.all():
        where = tuple((~finite).nonzero()[0].tolist())
        raise DataError(f"`y0` is {y0.detach()[where].item()} at index {where}. Expected finite numbers.")
    return y0


def checked_times(ts: object, y0: Tensor) -> Float[np.ndarray, "batch time"]:
    """The output times on the host, one row per trajectory (one row if there is no batch).

    Raises:
        DataError: The times are empty, not finite, not strictly monotone, or of the wrong shape.
    """
    if not isinstance(ts, Tensor):
        raise DataError(f"`ts` is of type `{type(ts).__name__}`. Expected a tensor: `torch.as_tensor(ts)`.")
    if ts.is_complex() or ts.dtype == torch.bool:
        raise DataError(f"`ts` has dtype {ts.dtype}. Expected real numbers.")
    if ts.requires_grad:
        raise DataError(
            "`ts` requires a gradient, which `solve` does not give. Use `sciml.odeint`, which does, or `ts.detach()`."
        )
    batch = 1 if y0.ndim == 1 else len(y0)
    allowed = ts.ndim == 1 or (ts.ndim == 2 and y0.ndim > 1 and len(ts) == batch)
    if not allowed:
        expected = "`(time,)`" if y0.ndim == 1 else f"`(time,)` or `({batch}, time)`"
        raise DataError(f"`ts` has shape {tuple(ts.shape)}. Expected {expected} for `y0` of shape {tuple(y0.shape)}.")
    if ts.shape[-1] == 0:
        raise DataError("`ts` is empty. Its first entry is the initial time.")
    times = host(ts).astype(np.float64)
    for row, grid in enumerate(np.atleast_2d(times)):
        _check_grid(grid, f"row {row} of `ts`" if ts.ndim == 2 else "`ts`", padded=ts.ndim == 2)
    return np.broadcast_to(np.atleast_2d(times), (batch, ts.shape[-1])).copy()


def _check_grid(grid: Float[np.ndarray, " time"], name: str, padded: bool) -> None:
    valid = grid[~np.isnan(grid)] if padded else grid
    if len(valid) == 0 or not np.isfinite(valid).all() or not np.isfinite(grid[: len(valid)]).all():
        bad = int(np.flatnonzero(~np.isfinite(grid))[0])
        allowed = "Expected finite times; NaN may only pad the end of a row." if padded else "Expected finite times."
        raise DataError(f"{name} is {grid[bad]} at index {bad}. {allowed}")
    steps = np.diff(valid)
    wrong = np.flatnonzero(np.sign(steps) != np.sign(steps[0])) if len(steps) else []
    if len(steps) and steps[0] == 0:
        wrong = [0]
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"{name} goes from {valid[i]} to {valid[i + 1]} at index {i + 1}. "
            "Expected strictly increasing or strictly decreasing times: sort them and drop repeated ones."
        )


def checked_positive(**values: float | None) -> None:
    """Tolerances, steps and limits, None where there is a default.

    Raises:
        DataError: One of them is not positive and finite.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise DataError(f"`{name}` is {value}. Expected a positive number.")


def checked_events(events: object) -> tuple[Event, ...]:
    """The events of a solve.

    Raises:
        ModelError: One of them is no `Event`, or one whose condition or reset cannot be called.
    """
    listed = (events,) if isinstance(events, Event) else tuple(events) if isinstance(events, Iterable) else (events,)
    for i, event in enumerate(listed):
        if not isinstance(event, Event):
            raise ModelError(f"`events[{i}]` is of type `{type(event).__name__}`. Expected an `Event(condition)`.")
        for name in ("condition", "reset"):
            value = getattr(event, name)
            if (value is not None and not callable(value)) or (name == "condition" and value is None):
                raise ModelError(
                    f"the {name} of `events[{i}]` is of type `{type(value).__name__}`. `solve` expects a callable "
                    "`(t, y)`; for SymPy expressions use `System(events=...)` and `simulate`."
                )
    return listed


class CheckedField:
    """The field, with a check of what its first call returns; what else the field carries is found through it.

    Args:
        field: The user's field.
        y0: The initial state, which the field's values must resemble.

    Raises:
        ModelError: It is not callable, or returns something else than a tensor like the state.
    """

    def __init__(self, field: Field, y0: Tensor) -> None:
        if not callable(field):
            raise ModelError(f"`field` is of type `{type(field).__name__}`. Expected a callable `field(t, y)`.")
        if getattr(field, "discrete", False):
            raise ModelError(
                "`field` is a map, from one step to the next, not a rate. Use `sciml.simulate(system, range(n))`."
            )
        self.field, self.shape, self.dtype, self.device = field, y0.shape, y0.dtype, y0.device
        self.jacobian, self.momenta = getattr(field, "jacobian", None), getattr(field, "momenta", None)
        self.names, self.explain = getattr(field, "names", None), getattr(field, "explain", None)
        self.jumps = getattr(field, "jumps", None)
        self.unchecked = True

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        dy = self.field(t, y)
        if self.unchecked:
            self._check(dy)
            self.unchecked = False
        return dy

    def _check(self, dy: object) -> None:
        if not isinstance(dy, Tensor):
            raise ModelError(f"`field(t, y)` returns a `{type(dy).__name__}`. Expected a tensor.")
        shape, dtype = self.shape, self.dtype
        if dy.shape != shape:
            raise ModelError(f"`field(t, y)` returns shape {tuple(dy.shape)}. Expected that of `y`, {tuple(shape)}.")
        if dy.dtype != dtype:
            raise ModelError(f"`field(t, y)` returns {dy.dtype} for a state of {dtype}. Convert one of the two.")
        if dy.device != self.device:
            raise ModelError(f"`field(t, y)` returns a tensor on {dy.device}; the state is on {self.device}.")
