"""`odeint`, with torchdiffeq's signature."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sciml.dropin.adjoint import odeint_adjoint
from sciml.dropin.integrate import integrate, integrate_to_event
from sciml.dropin.options import chosen
from sciml.dropin.problem import normalized
from sciml.solvers.captured import differentiable


def odeint(
    func: Callable,
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable | None = None,
) -> Any:
    r"""Solve :math:`\dot y = f(t, y)`, called and answering as torchdiffeq 0.2.5 does.

    One time and one step for all of the state; for a batch of trajectories with steps of their own use `sciml.solve`.
    The gradient is that of the numbers computed, by the initial state, the times, and all that `func` depends on.

    Args:
        func: Right-hand side `(t, y)`; `t` has no dimensions. Attributes `callback_step(t, y, dt)`,
            `callback_accept_step` and `callback_reject_step` are called as the steps are taken.
        y0: Initial state, real or complex, a tensor of any shape or a tuple of such.
        t: Output times, strictly monotone, the initial time first.
        rtol: Relative tolerance: a number, one per entry, or one per tensor of a tuple.
        atol: Absolute tolerance, likewise.
        method: `dopri5` (the default), `dopri8`, `tsit5`, `bosh3`, `fehlberg2`, `adaptive_heun`; on a grid `euler`,
            `midpoint`, `heun2`, `heun3`, `rk4` (the 3/8 rule), `explicit_adams`, `implicit_adams` (`fixed_adams`);
            `scipy_solver`, differentiated by the adjoint.
        options: By name, see `sciml.dropin.options`.
        event_fn: `(t, y)` to one or several numbers; the solve ends where the first of them changes its sign, and
            only `t[0]` and the direction to `t[1]` count.

    Returns:
        The states, time first (a tuple of them for a tuple); with `event_fn` the time of the event and the states at
        `t[0]` and there. The event time carries no gradient: see `odeint_event`.

    Raises:
        ModelError: An unknown method or option, or a function that returns the wrong thing.
        DataError: `y0`, `t` or a tolerance cannot be used.
        SolveError: A solution could not be computed; time and entry are named.

    Example:
        >>> y = odeint(lambda t, y: -y, torch.ones(1), torch.tensor([0.0, 1.0]))
        >>> y[-1]
        tensor([0.3679])
    """
    found, settings = chosen(method, options)
    problem = normalized(func, y0, t, rtol, atol, (options or {}).get("norm"), event_fn)
    if event_fn is not None:
        event_t, ys = integrate_to_event(problem, found, settings)
        return event_t.to(t), ys if problem.shapes is None else problem.shapes.split(ys)
    outside = found.tableau is None and torch.is_grad_enabled()
    if outside and (t.requires_grad or differentiable(problem.field, problem.ts[None, :1], problem.flat)):
        # SciPy's steps leave no graph; the adjoint needs none.
        return odeint_adjoint(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)
    ys = integrate(problem, found, settings)
    return ys if problem.shapes is None else problem.shapes.split(ys)
