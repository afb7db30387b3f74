"""`odeint_event`: a solve up to an event, whose time carries its gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml.dropin.integrate import initially_positive
from sciml.dropin.odeint import odeint
from sciml.dropin.problem import normalized
from sciml.errors import DataError
from sciml.event import Event
from sciml.solvers.crossings import crossing


def odeint_event(
    func: Callable,
    y0: Any,
    t0: Tensor,
    *,
    event_fn: Callable,
    reverse_time: bool = False,
    odeint_interface: Callable = odeint,
    **kwargs: Any,
) -> Any:
    r"""Solve up to an event, with the gradient of its time by the implicit function theorem.

    At :math:`g(t^*, y(t^*)) = 0` the gradient is :math:`dt^* = -(g_y \, dy + g_\theta \, d\theta) / (g_t + g_y f)`, that
    by the parameters of `event_fn` included (torchdiffeq leaves it out).

    Args:
        func: Right-hand side `(t, y)`.
        y0: Initial state, a tensor or a tuple of tensors.
        t0: Initial time, one number; it may carry a gradient.
        event_fn: `(t, y)` to one or several numbers; the first to change its sign is the event.
        reverse_time: Whether to go backwards in time.
        odeint_interface: `odeint` or `odeint_adjoint`.
        kwargs: For the latter.

    Returns:
        Time of the event, and the states at `t0` and there.

    Raises:
        SolveError: No event came, or its time has no derivative.

    Example:
        >>> g = torch.tensor(9.81, requires_grad=True)
        >>> fall = lambda t, y: torch.stack([y[1], -g])
        >>> t, y = odeint_event(fall, torch.tensor([1.0, 0.0]), torch.tensor(0.0), event_fn=lambda t, y: y[0])
        >>> t, torch.autograd.grad(t, g)[0]  # sqrt(2 / g) and -sqrt(2 / g) / (2 g)
        (tensor(0.4515, grad_fn=<AddBackward0>), tensor(-0.0230))
    """
    if not isinstance(t0, Tensor) or t0.numel() != 1:
        raise DataError(f"`t0` is {t0!r}. Expected a tensor that holds one time.")
    begin = t0.reshape(-1)
    t = torch.cat([begin, begin.detach() + (-1.0 if reverse_time else 1.0)])
    event_t, solution = odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)
    problem = normalized(func, y0, t, 0.0, 0.0, None, event_fn)
    last = solution[-1] if problem.shapes is None else problem.shapes.join([part[-1] for part in solution])
    condition = initially_positive(problem)
    event = Event(condition, terminal=True)
    met = crossing(problem.field, event, np.array([float(event_t.detach())]), last.reshape(-1), np.array([True]))
    time, state = met.time.to(event_t.dtype), met.state.view(problem.y0.shape)
    if problem.shapes is None:
        return time, torch.cat([solution[:-1], state[None]])
    ends = problem.shapes.split(state)
    return time, tuple(torch.cat([part[:-1], end[None]]) for part, end in zip(solution, ends))
