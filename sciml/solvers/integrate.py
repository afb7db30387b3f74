"""The one verb of this package: solve an initial value problem."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sciml.errors import ModelError, SolveError
from sciml.event import Event
from sciml.solvers.checks import CheckedField, checked_events, checked_positive, checked_state, checked_times, refuse
from sciml.solvers.diagnosis import message
from sciml.solvers.field import Field
from sciml.solvers.gradients import Direct, Gradients
from sciml.solvers.loop import Settings
from sciml.solvers.methods.protocol import AbstractSolver
from sciml.solvers.methods.tsit5 import Tsit5
from sciml.solvers.pairs import PairField, complex_march, from_pairs, to_pairs
from sciml.solvers.segments import solve_segments
from sciml.solvers.solution import Failure, Solution, Status
from sciml.solvers.tolerance import Tolerance


def solve(
    field: Field,
    y0: Float[Tensor, "*shape"],
    ts: Float[Tensor, "*batch time"],
    *,
    solver: AbstractSolver = Tsit5(),  # noqa: B008 (frozen)
    rtol: float = 1e-6,
    atol: float = 1e-6,
    gradients: Gradients = Direct(),  # noqa: B008 (frozen)
    first_step: float | None = None,
    max_steps: int = 100_000,
    min_step: float | None = None,
    throw: bool = True,
    dense: bool = False,
    events: Sequence[Event] = (),
    max_resets: int = 1000,
    **unknown: Any,
) -> Solution:
    r"""Solve :math:`\dot y = f(t, y)`, :math:`y(t_0) = y_0`, forwards or backwards in time.

    Each trajectory of a batch has its own time, step size, error norm and status: none waits for another
    and none is harmed by one that fails. A field must therefore treat the rows of a batch on their own.
    Outputs of an adaptive solver come from its dense output, so that they do not depend on which other
    times are asked for; only the last step is cut to end at the last time.

    Args:
        field: Right-hand side `field(t, y)`, a callable or `nn.Module`. Without a batch, `t` has no
            dimensions; with one, it has shape `(batch, 1, ..., 1)` and broadcasts against `y`. Where it jumps in time, it
            may say so by an attribute `jumps`, the times as an array `(jump,)` or `(batch, jump)`: steps end there.
        y0: Initial state, real or complex. One dimension is one trajectory; with more, the first is
            the batch.
        ts: Output times, strictly monotone, the initial time first. A second dimension gives each
            trajectory its own grid; a ragged grid is padded with NaN at the end.
        solver: Method; one with a `step` goes in equal steps from each output to the next, of that length at most, and
            so lands on the outputs.
        rtol: Relative tolerance of one step.
        atol: Absolute tolerance of one step, in the unit of the state.
        gradients: How derivatives are found: `Direct()`, `Checkpointed()` or `Backsolve()`. With `Direct()`,
            `torch.func.jvp` and `jacfwd` over `solve` give forward-mode sensitivities, for few parameters.
        first_step: Length of the first step; found from the field when None.
        max_steps: Steps allowed per trajectory, the rejected ones included; anew behind each reset.
        min_step: Length below which a trajectory is given up; a 1e-14th of its span when None.
        throw: Raise when a trajectory fails. Otherwise its status tells, and its outputs are NaN from there.
        dense: Keep every step, so that `Solution.evaluate` works.
        events: What to look for along each trajectory, and what happens there. Conditions are looked at four times a
            step: of two passages through zero between two looks neither is seen. A trajectory that a terminal event
            ends has the status `EVENT`, and NaN behind; an output at the very time of a reset is the state before it.
        max_resets: Resets allowed per trajectory.
        unknown: None; what another library calls an argument is told here by its name.

    Returns:
        The states at the output times, a status for each trajectory, and counts of the work.

    Raises:
        DataError: `y0`, `ts` or a tolerance cannot be used.
        ModelError: The field returns something else than a tensor like the state, or an argument is not known.
        SolveError: A trajectory failed, and `throw` is true.

    Example:
        >>> import torch
        >>> y0 = torch.ones(1, dtype=torch.float64)
        >>> ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> solution = solve(lambda t, y: -y, y0, ts)
        >>> round(float(solution.ys[-1, 0]), 5)
        0.36788

    Reference:
        Hairer, Nørsett, Wanner I, sections II.4 to II.6.
    """
    if unknown:
        refuse(unknown, (solve.__kwdefaults__ or {}).keys())
    if not isinstance(solver, AbstractSolver):
        raise ModelError(f"`solver` is {solver!r}. Expected a method, such as `Tsit5()` or `Kvaerno5()`.")
    y0 = checked_state(y0)
    times = checked_times(ts, y0)
    checked_positive(rtol=rtol, atol=atol, first_step=first_step, max_steps=max_steps, min_step=min_step)
    checked_positive(max_resets=max_resets)
    field, paired, watched, occurrences = CheckedField(field, y0), y0.is_complex(), checked_events(events), None
    settings = Settings(solver, Tolerance(rtol, atol, paired), first_step, max_steps, min_step)
    if paired and watched:
        raise ModelError("`events` are for real states; split a complex one: `torch.view_as_real(y0).flatten(-2)`.")
    if paired:
        field, y0 = PairField(field, y0, solver), to_pairs(y0)
    if watched:
        ys, result, occurrences = solve_segments(field, y0, times, watched, gradients, settings, dense, max_resets)
    else:
        ys, result = gradients.solve(field, y0, times, settings, dense)
    if paired:
        result = complex_march(result)
    if throw and result.failures:
        raise SolveError(failure_message(result.failures, len(times), y0.ndim > 1, settings, max_resets))

    def shaped(states: Float[Tensor, "batch time flat"]) -> Tensor:
        states = states[0] if y0.ndim == 1 else states.reshape(len(y0), -1, *y0.shape[1:])
        return from_pairs(states) if paired else states

    def interpolate(t: np.ndarray) -> Tensor:
        return shaped(result.record.interpolate(np.broadcast_to(np.atleast_2d(t), (len(times), t.shape[-1]))))

    return Solution(
        ts=ts,
        ys=shaped(ys),
        status=result.status,
        stats=result.stats,
        failures=result.failures,
        interpolate=interpolate if dense else None,
        events=occurrences,
    )


def failure_message(
    failures: tuple[Failure, ...], count: int, batched: bool, settings: Settings, max_resets: int | None = None
) -> str:
    """What happened to the first trajectory that failed, and what to try."""
    limits = "the smallest useful step" if settings.min_step is None else f"{settings.min_step:g}"
    if failures[0].status == Status.MAX_STEPS:
        limits = f"`max_steps={settings.max_steps}`"
    elif failures[0].status == Status.MAX_RESETS:
        limits = f"`max_resets={max_resets}`"
    return message(failures, count, batched, settings.solver, limits)
