"""An initial value problem as torchdiffeq states it: a tensor or tuple of any shape, one time for all of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError

CALLBACKS = ("callback_step", "callback_accept_step", "callback_reject_step")


def rms_norm(x: Tensor) -> Tensor:
    """Root mean square of all entries."""
    return x.abs().square().mean().sqrt()


def mixed_norm(parts: Sequence[Tensor]) -> Tensor | float:
    """The largest root mean square of several tensors; 0 of none."""
    return max((rms_norm(part) for part in parts), default=0.0)


@dataclass(frozen=True, eq=False)
class Shapes:
    """How a tuple of tensors lies in one flat tensor.

    Args:
        shapes: Those of the tensors, in order.
    """

    shapes: tuple[torch.Size, ...]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """One flat tensor of several."""
        return torch.cat([part.reshape(-1) for part in parts])

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The tensors of a flat one, whose leading dimensions stay."""
        bounds = np.cumsum([0, *(shape.numel() for shape in self.shapes)])
        lead = flat.shape[:-1]
        return tuple(flat[..., a:b].view((*lead, *s)) for a, b, s in zip(bounds, bounds[1:], self.shapes))


@dataclass(frozen=True, eq=False)
class Joined:
    """A function of a tuple state as one of a flat state.

    Args:
        func: The user's function `(t, y)`.
        shapes: Of the state.
        values: Whether what it returns is a tuple like the state.
    """

    func: Callable
    shapes: Shapes
    values: bool = True

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        found = self.func(t, self.shapes.split(y))
        if not self.values:
            return found
        if not isinstance(found, tuple | list) or [part.shape for part in found] != list(self.shapes.shapes):
            shapes = [tuple(part.shape) for part in found] if isinstance(found, tuple | list) else type(found).__name__
            expected = [tuple(shape) for shape in self.shapes.shapes]
            raise ModelError(f"`func(t, y)` returns {shapes}. Expected a tuple of shapes {expected}, like `y0`.")
        return self.shapes.join(found)


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem with a tensor for a state; a tuple has been joined to a flat one.

    Args:
        func: Right-hand side `(t, y)`.
        y0: Initial state.
        t: Times, strictly monotone; they may carry a gradient.
        rtol: Relative tolerance: a number, or one for each entry.
        atol: Absolute tolerance, likewise.
        norm: From errors shaped like the state to a number.
        event_fn: An event function, or None.
        shapes: The tuple that the state was, or None.
        callbacks: The user's, by name; states are given to them as the user knows them.
    """

    func: Callable
    y0: Tensor
    t: Float[Tensor, " time"]
    rtol: Any
    atol: Any
    norm: Callable
    event_fn: Callable | None = None
    shapes: Shapes | None = None
    callbacks: dict[str, Callable] = field(default_factory=dict)

    @property
    def ts(self) -> Float[np.ndarray, " time"]:
        """The times on the host."""
        return self.t.detach().cpu().numpy().astype(np.float64)

    @property
    def direction(self) -> float:
        """1 forwards in time, -1 backwards."""
        return 1.0 if len(self.t) < 2 or self.t[1] > self.t[0] else -1.0

    @property
    def flat(self) -> Tensor:
        """The initial state as a vector."""
        return self.y0.reshape(-1)

    def clock(self, t: float | Tensor, nudge: float = 0.0) -> Tensor:
        """A time as `func` sees it, or its neighbor among floating point numbers in the direction of `nudge`."""
        time = torch.as_tensor(t, dtype=self.y0.dtype.to_real(), device=self.y0.device)
        if nudge:
            with torch.no_grad():
                shift = torch.nextafter(time, time + nudge) - time
            time = time + shift
        return time

    def field(self, t: float | Tensor, y: Float[Tensor, " state"], nudge: float = 0.0) -> Float[Tensor, " state"]:
        """The right-hand side on flat states."""
        dy = self.func(self.clock(t, nudge), y.view(self.y0.shape))
        if not isinstance(dy, Tensor) or dy.shape != self.y0.shape:
            found = f"shape {tuple(dy.shape)}" if isinstance(dy, Tensor) else f"a `{type(dy).__name__}`"
            raise ModelError(f"`func(t, y)` returns {found}. Expected that of `y0`, {tuple(self.y0.shape)}.")
        if dy.dtype != self.y0.dtype:
            raise ModelError(f"`func(t, y)` returns {dy.dtype} for a state of {self.y0.dtype}. Convert one of the two.")
        return dy.reshape(-1)

    def callback(self, name: str, t: float, y: Tensor, h: float) -> None:
        """Call one of the user's callbacks with time, state and length of the step."""
        if name in self.callbacks:
            state = y.view(self.y0.shape)
            state = state if self.shapes is None else self.shapes.split(state)
            self.callbacks[name](self.clock(t), state, self.clock(abs(h)))


def normalized(
    func: Callable, y0: Any, t: Any, rtol: Any, atol: Any, norm: Callable | None, event_fn: Callable | None
) -> Problem:
    """The problem of torchdiffeq's arguments.

    Raises:
        DataError: `y0`, `t` or a tolerance cannot be used.
        ModelError: `func` is not callable.
    """
    if not callable(func):
        raise ModelError(f"`func` is of type `{type(func).__name__}`. Expected a callable `func(t, y)`.")
    shapes, callbacks = None, {name: getattr(func, name) for name in CALLBACKS if hasattr(func, name)}
    if isinstance(y0, tuple):
        for i, part in enumerate(y0):
            _check_state(part, f"y0[{i}]")
        if len({(part.dtype, part.device) for part in y0}) > 1:
            raise DataError(
                f"`y0` mixes {[str(p.dtype) for p in y0]} on {[str(p.device) for p in y0]}. Make them alike."
            )
        shapes = Shapes(tuple(part.shape for part in y0))
        func, event_fn = Joined(func, shapes), event_fn and Joined(event_fn, shapes, values=False)
        given = mixed_norm if norm is None else norm
        norm = lambda x, parts=shapes: given(parts.split(x))  # noqa: E731
        rtol, atol = _joined_tolerance("rtol", rtol, shapes), _joined_tolerance("atol", atol, shapes)
        y0 = shapes.join(y0)
    _check_state(y0, "y0")
    t = _checked_times(t, y0, event_fn is not None)
    for name, value in (("rtol", rtol), ("atol", atol)):
        _check_tolerance(name, value)
    return Problem(func, y0, t, rtol, atol, norm or rms_norm, event_fn, shapes, callbacks)


def _check_state(y0: Any, name: str) -> None:
    if not isinstance(y0, Tensor):
        raise DataError(f"`{name}` is of type `{type(y0).__name__}`. Expected a tensor or a tuple of tensors.")
    if not (y0.is_floating_point() or y0.is_complex()):
        raise DataError(f"`{name}` has dtype {y0.dtype}. Expected floating point or complex numbers: `y0.double()`.")
    if not torch.isfinite(y0.detach()).all():
        raise DataError(f"`{name}` holds numbers that are not finite.")


def _checked_times(t: Any, y0: Tensor, until_event: bool) -> Tensor:
    if not isinstance(t, Tensor) or not t.is_floating_point():
        kind = t.dtype if isinstance(t, Tensor) else f"type `{type(t).__name__}`"
        raise DataError(f"`t` is of {kind}. Expected a floating point tensor.")
    if t.ndim != 1 or len(t) == 0:
        raise DataError(f"`t` has shape {tuple(t.shape)}. Expected `(time,)`, the initial time first.")
    if until_event and len(t) != 2:
        raise DataError(f"`t` has {len(t)} entries. Expected two with `event_fn`: the initial time and a direction.")
    steps = t.detach().diff()
    if not torch.isfinite(t.detach()).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise DataError(f"`t` is {t.tolist()}. Expected finite times, strictly increasing or strictly decreasing.")
    return t.to(y0.device)


def _joined_tolerance(name: str, value: Any, shapes: Shapes) -> Any:
    """One tolerance per entry where there is one for each tensor of a tuple."""
    if not isinstance(value, tuple | list) and not (isinstance(value, Tensor) and value.ndim):
        return value
    if len(value) != len(shapes.shapes):
        raise DataError(
            f"`{name}` has {len(value)} entries. Expected one for each of the {len(shapes.shapes)} of `y0`."
        )
    return torch.cat([torch.as_tensor(x).expand(shape).reshape(-1) for x, shape in zip(value, shapes.shapes)])


def _check_tolerance(name: str, value: Any) -> None:
    tolerance = torch.as_tensor(value)
    if tolerance.requires_grad:
        raise DataError(f"`{name}` requires a gradient, which a tolerance has none of: `{name}.detach()`.")
    if not ((tolerance >= 0) & torch.isfinite(tolerance)).all():
        raise DataError(f"`{name}` is {value}. Expected numbers that are not negative.")
