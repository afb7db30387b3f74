"""One door to all methods: from a problem to states at its times, or at an event."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dropin.adaptive import AdaptiveSteps
from sciml.dropin.fixed import GridSteps
from sciml.dropin.options import AdaptiveOptions, Method
from sciml.dropin.problem import Problem
from sciml.dropin.scipy_solver import solve_scipy
from sciml.errors import ModelError
from sciml.event import Event
from sciml.solvers.captured import differentiable
from sciml.solvers.loop import Settings
from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.parallel import attach
from sciml.solvers.record import March
from sciml.solvers.solution import Stats, Status
from sciml.solvers.tolerance import Tolerance
from sciml.solvers.watch import Watch

# Up to this many entries all stages are differentiated in one call.
SMALL = 8


def integrate(problem: Problem, method: Method, options: Any) -> Float[Tensor, "time ..."]:
    """States at the problem's times, with the exact gradient of the numbers computed.

    Args:
        problem: What to solve.
        method: How.
        options: Options of the method.

    Returns:
        The states; their first dimension is time.
    """
    shape = (len(problem.t), *problem.y0.shape)
    if len(problem.t) == 1:
        return problem.y0[None].clone()
    if method.tableau is None:
        return solve_scipy(problem, options).view(shape)
    if not isinstance(options, AdaptiveOptions):
        return GridSteps(problem, method, options).solve(problem.flat).view(shape)
    return _adaptive(problem, method, options).view(shape)


def _adaptive(problem: Problem, method: Method, options: AdaptiveOptions) -> Float[Tensor, "time state"]:
    assert method.tableau is not None, "every adaptive method has a tableau"
    steps, y, ts = AdaptiveSteps(problem, method.tableau, options, method.name), problem.flat, problem.ts
    moving = torch.is_grad_enabled() and problem.t.requires_grad
    if moving:
        y = _begun(problem, y)
    ys = None
    small = y.numel() <= SMALL and not y.is_complex()
    if torch.is_grad_enabled() and small and differentiable(problem.field, ts[None], y):
        with torch.no_grad():
            record = steps.march(y, ts, keep=True)
        stats = Stats((len(record.t),), (0,), 0)
        found = March(record, (Status.SUCCESS,), stats, ())
        ys = attach(problem.field, y, ts[None], _replaying(method.tableau), found)
        # Where the field cannot be evaluated at many points at once the steps are taken again, with a graph.
        steps = replace(steps, problem=replace(problem, callbacks={}))
    if ys is None:
        record = steps.march(y, ts, keep=torch.is_grad_enabled())
        ys = torch.cat([y[None, None], record.interpolate(ts[None, 1:])], dim=1)
    rows = [problem.flat, *ys[0, 1:].unbind()]
    if moving:
        later = zip(problem.t[1:], rows[1:])
        rows[1:] = [_carried(problem, t.detach(), row, t - t.detach()) for t, row in later]
    return torch.stack(rows)


def _replaying(tableau: Tableau) -> Settings:
    """Settings to take recorded steps again: the method alone, as their lengths are known."""
    kind = type("Recorded", (AbstractExplicit,), {"tableau": tableau})
    return Settings(kind(), Tolerance(1.0, 1.0), None, 1, None)


def _begun(problem: Problem, y: Float[Tensor, " state"]) -> Float[Tensor, " state"]:
    """The state at the fixed initial time from which the flow goes through `y` at the one with a gradient."""
    t = problem.t[0]
    return _carried(problem, t, y, t.detach() - t)


def _carried(problem: Problem, t: Tensor, y: Float[Tensor, " state"], delay: Tensor) -> Float[Tensor, " state"]:
    """The state after a delay whose value is zero: its first and second derivatives are those of the flow."""
    half = delay / 2
    return y + delay * problem.field(t + half, y + half * problem.field(t, y))


def integrate_to_event(problem: Problem, method: Method, options: Any) -> tuple[Tensor, Float[Tensor, "2 ..."]]:
    """Time of the first event, and the states at the beginning and there, at a fixed time.

    Args:
        problem: What to solve, up to a change of sign of one of the numbers that `event_fn` gives.
        method: How.
        options: Options of the method.

    Raises:
        ModelError: The method cannot look for events.
        SolveError: No event came.
    """
    if method.tableau is None:
        raise ModelError("`scipy_solver` looks for no events. Use `dopri5`, or `sciml.solve(..., events=[...])`.")
    start = float(problem.ts[0])
    condition = initially_positive(problem)
    side = condition(problem.clock(start), problem.flat.detach()).detach()
    if side == 0:
        return problem.t[0], torch.stack([problem.y0, problem.y0])
    watch = Watch([Event(condition, terminal=True)], problem.flat.detach(), np.array([[1]]))
    if isinstance(options, AdaptiveOptions):
        with torch.no_grad():
            record = AdaptiveSteps(problem, method.tableau, options, method.name).march(
                problem.flat, problem.ts, keep=True, watch=watch
            )
        time = watch.hits[-1].time
    else:
        y = _begun(problem, problem.flat) if torch.is_grad_enabled() and problem.t.requires_grad else problem.flat
        time, record = GridSteps(problem, method, options).event(y, watch)
    event_t = torch.as_tensor(time, dtype=problem.t.dtype, device=problem.y0.device)
    if torch.is_grad_enabled() and isinstance(options, AdaptiveOptions):
        times = torch.stack(
            [problem.t[0].double(), torch.as_tensor(time, dtype=torch.float64, device=problem.t.device)]
        )
        return event_t, integrate(replace(problem, t=times, callbacks={}), method, options)
    state = record.interpolate(np.array([[time]]))[0, 0]
    return event_t, torch.stack([problem.y0, state.view(problem.y0.shape)])


def initially_positive(problem: Problem):
    """The event function as one number that is positive at the start: the first of several to change its sign."""
    event_fn = problem.event_fn
    assert event_fn is not None, "only asked for with an event function"
    with torch.no_grad():
        signs = torch.sign(event_fn(problem.clock(float(problem.ts[0])), problem.y0))

    def condition(t: Tensor, y: Tensor) -> Tensor:
        return (event_fn(t, y.view(problem.y0.shape)) * signs).min()

    return condition
