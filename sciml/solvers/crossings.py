"""Event times and states with their derivatives, by the implicit function theorem."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.errors import ModelError, SolveError
from sciml.event import Event
from sciml.solvers.control import ZERO
from sciml.solvers.field import Field
from sciml.solvers.watch import clock, condition_values


@dataclass(frozen=True, eq=False)
class Crossing:
    """One event of some trajectories, each at its own time; the other trajectories are masked.

    Args:
        time: Event times, shaped as the field sees times.
        state: States there, before any reset.
        slope: The field there, without a graph.
        delay: Zero, with the gradient of the event time, `(batch,)`.
    """

    time: Tensor
    state: Tensor
    slope: Tensor
    delay: Float[Tensor, " batch"]


class _FirstOrder(torch.autograd.Function):
    """Zero, with the gradient of a number once, and no gradient of that."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise SolveError(
                "times of events have no second derivatives. Differentiate once, or by finite differences."
            )
        return g


def spread(x: Float[Tensor, " batch"], like: Tensor) -> Tensor:
    """One number per trajectory in a shape that broadcasts over the state."""
    return x.reshape(()) if like.ndim == 1 else x.view(-1, *(1 for _ in like.shape[1:]))


def rates(field: Field, event: Event, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The condition, its rate along the flow :math:`\dot g = g_t + g_y f`, and the field, all without a graph."""
    t, y = t.detach(), y.detach()
    with torch.no_grad():
        slope = field(t, y)
    with torch.enable_grad():
        s, x = t.clone().requires_grad_(), y.clone().requires_grad_()
        value = condition_values(event.condition, s, x)
        if not value.requires_grad:
            return value, torch.zeros_like(value), slope
        by_time, by_state = torch.autograd.grad(value.sum(), (s, x), materialize_grads=True)
    along = (by_state.conj() * slope).real.reshape(len(value), -1).sum(dim=1)
    return value.detach(), by_time.reshape(-1) + along, slope


def crossing(
    field: Field,
    event: Event,
    times: Float[np.ndarray, " batch"],
    states: Tensor,
    here: Bool[np.ndarray, " batch"],
) -> Crossing:
    r"""Time and state of an event, differentiable.

    With the rate :math:`\dot g = g_t + g_y f` of the condition, which no event time crosses standing still,

    .. math:: dt^* = -\frac{dg}{\dot g}, \qquad dy^* = dy + f \, dt^*

    where :math:`dg` and :math:`dy` are taken at the fixed time of the event. Second derivatives are refused.

    Args:
        field: The field.
        event: The event.
        times: Where the trajectories have met it.
        states: The states there, with their gradient at fixed time.
        here: Which trajectories have met it; the others borrow the state of one that has.

    Returns:
        The event, its values unchanged.

    Raises:
        SolveError: A derivative is wanted where the condition does not move along the flow.
    """
    first = int(np.flatnonzero(here)[0])
    if not here.all():
        mask = torch.as_tensor(here, device=states.device)
        states = torch.where(spread(mask, states), states, states[first].detach())
        times = np.where(here, times, times[first])
    t = clock(times, states)
    delay = torch.zeros(len(times), dtype=states.dtype.to_real(), device=states.device)
    live = condition_values(event.condition, t, states) if torch.is_grad_enabled() else delay
    if not (live.requires_grad or (torch.is_grad_enabled() and states.requires_grad)):
        # Nothing to differentiate by: the slope is not needed either.
        return Crossing(t, states, torch.zeros_like(states), delay)
    _, rate, slope = rates(field, event, t, states)
    still = ((rate == 0) | ~torch.isfinite(rate)).cpu().numpy() & here
    if still.any():
        i = int(np.flatnonzero(still)[0])
        raise SolveError(
            f"the condition of an event of trajectory {i} has no rate of change at t = {times[i]:.6g}: the time of the "
            "event has no derivative there. Give a differentiable condition that crosses zero, or use `torch.no_grad()`."
        )
    delay = -_FirstOrder.apply(live) / rate
    shift = spread(delay, states)
    return Crossing(t + shift, states + slope * shift, slope, delay)


def after(field: Field, event: Event, met: Crossing) -> Tensor:
    """The state from which the flow goes on behind a reset, referred to the fixed time of the event.

    The time at which the new flow starts moves with the event; its state is carried back along the new flow.

    Args:
        field: The field.
        event: An event with a reset.
        met: Where it was met.

    Returns:
        States like those before.

    Raises:
        ModelError: The reset returns something else than a state.
    """
    reset: Any = event.reset
    new = reset(met.time, met.state)
    if not isinstance(new, Tensor) or new.shape != met.state.shape or new.dtype != met.state.dtype:
        kind = f"shape {tuple(new.shape)} and {new.dtype}" if isinstance(new, Tensor) else f"a `{type(new).__name__}`"
        raise ModelError(
            f"the reset of an `Event` returns {kind}. Expected a state like `y`: shape {tuple(met.state.shape)} and "
            f"{met.state.dtype}."
        )
    if not met.delay.requires_grad:
        return new
    with torch.no_grad():
        slope = field(met.time, new)
    return new - slope * spread(met.delay, new)


def sides(
    field: Field,
    events: Sequence[Event],
    t: Float[np.ndarray, " batch"],
    y: Tensor,
    direction: Float[np.ndarray, " batch"],
    fired: Float[np.ndarray, "event batch"],
    close: Float[np.ndarray, " batch"],
) -> Int[np.ndarray, "event batch"]:
    """The sign of each condition just behind the start of a stretch.

    Args:
        field: The field.
        events: The events.
        t: Start times.
        y: States there.
        direction: Signs of the steps.
        fired: Size of each condition around its last event of the stretch before; NaN where there was none.
        close: Times that cannot be told apart.

    Returns:
        The signs. A condition that is zero has the sign of its rate of change. Behind its own event it is zero, unless it
        is further away than its size there, or the inaccuracy of the time, explain.
    """
    found, times, y = [], clock(t, y), y.detach()
    for event, size in zip(events, fired):
        with torch.no_grad():
            g = condition_values(event.condition, times, y).cpu().numpy().astype(float)
        with np.errstate(invalid="ignore"):
            if (g == 0).any() or not np.isnan(size).all():
                _, rate, _ = rates(field, event, times, y)
                rate = rate.cpu().numpy()
                zero = (g == 0) | (np.abs(g) <= np.maximum(ZERO * size, np.abs(rate) * close))
                g = np.where(zero, rate * direction, g)
        found.append(np.nan_to_num(np.sign(g)).astype(int))
    return np.stack(found)
