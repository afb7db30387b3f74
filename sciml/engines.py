"""The two engines that simulate a System: generated code, and torch."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from sciml.errors import ModelError
from sciml.lowering.networks import weights_of
from sciml.lowering.vector_field import VectorField
from sciml.native.solve import Integrator, Trajectories
from sciml.native.watch import HEAD
from sciml.signals import SignalRows, Signals
from sciml.solvers import AbstractExplicit, AbstractImplicit, AbstractSolver, Failure, Rodas5P, Status, solve
from sciml.solvers.checks import checked_positive, checked_state
from sciml.solvers.diagnosis import diagnosed
from sciml.solvers.loop import Settings
from sciml.solvers.occurrences import Occurrences

NATIVE = (AbstractExplicit, AbstractImplicit, Rodas5P)
"""Families of methods that the native engine has, with steps chosen by the error."""

MAX_RESETS = 1000
"""Resets by events that one trajectory may have."""

_integrators: WeakKeyDictionary[VectorField, dict[tuple, Integrator]] = WeakKeyDictionary()


def reason_against(field: VectorField, solver: AbstractSolver) -> str | None:
    """Why this cannot run natively, or None."""
    if not isinstance(solver, NATIVE) or solver.step is not None:
        return f"the solver {solver!r} is not native; adaptive `Tsit5()` and `Rodas5P()`, for example, are"
    try:
        field.native(stiff=solver.tableau.gamma > 0.0)
    except ModelError as error:
        return str(error)
    return None


def natively(
    field: VectorField,
    p: np.ndarray,
    y0: np.ndarray,
    times: np.ndarray,
    settings: Settings,
    signals: tuple[Signals, ...],
):
    """Solve all trajectories by generated code that is kept for the next call.

    Args:
        field: The compiled System.
        p: Values of the parameters, a row per trajectory where they differ.
        y0: Initial states, a row per trajectory.
        times: Output times.
        settings: Solver, tolerances and limits.
        signals: The inputs, of all trajectories or of each.

    Returns:
        States, status, failures, and the events of a System that has any.
    """
    own = _integrators.setdefault(field, {})
    solver, rtol, atol, limit = settings.solver, settings.tolerance.rtol, settings.tolerance.atol, settings.max_steps
    key = (solver, rtol, atol, limit)
    if key not in own:
        checked_positive(rtol=rtol, atol=atol, max_steps=limit)
        model, tableau = field.native(solver.tableau.gamma > 0.0), solver.tableau
        own[key] = Integrator(model, tableau, rtol, atol, limit, max_resets=MAX_RESETS)
    numbers = p
    if field.system.learned:
        weights = np.concatenate([weights_of(network) for network in field.networks])
        numbers = np.concatenate([p, np.broadcast_to(weights, (*p.shape[:-1], len(weights)))], axis=-1)
    found = own[key](numbers, y0, times, inputs=[s.table() for s in signals])
    failures: tuple[Failure, ...] = ()
    if found.failed:
        failures = _failures(field, p, y0, settings, signals, found)
        status = tuple(map(Status, found.status.tolist()))
    else:
        status = (Status.SUCCESS,) * len(found.states)
    occurrences = _occurrences(found) if field.system.events else None
    return found.states if y0.ndim > 1 else found.states[0], status, failures, occurrences


def _failures(
    field: VectorField, p: np.ndarray, y0: np.ndarray, settings: Settings, signals: Any, found: Trajectories
) -> tuple[Failure, ...]:
    """What failed in a step is looked into; of what failed behind a reset, time and state tell all."""
    lost = (found.status == Status.NON_FINITE) & ~np.isfinite(found.ends).all(axis=1)
    plain = (found.status > Status.EVENT) | lost
    failures = [
        Failure(int(i), Status(found.status[i]), float(found.reached[i]), torch.as_tensor(found.ends[i]))
        for i in np.flatnonzero(plain)
    ]
    status = np.where(plain | (found.status == Status.EVENT), Status.SUCCESS, found.status)
    if status.any():
        there = field.at(torch.as_tensor(p), SignalRows(signals) if signals else None)
        shape, ends = torch.Size(y0.shape), torch.as_tensor(found.ends)
        failures += diagnosed(
            there, shape, settings.solver, settings.tolerance, status, found.reached, found.tried, ends
        )
    return tuple(sorted(failures, key=lambda failure: failure.trajectory))


def _occurrences(found: Trajectories) -> Occurrences:
    rows = found.occurrences
    event, trajectory = rows[:, 0].astype(int), rows[:, 1].astype(int)
    return Occurrences(event, trajectory, torch.from_numpy(rows[:, 2].copy()), torch.from_numpy(rows[:, HEAD:].copy()))


def by_torch(
    field: VectorField,
    p: np.ndarray,
    y0: np.ndarray,
    times: np.ndarray,
    settings: Settings,
    signals: tuple[Signals, ...],
):
    """As `natively`, by torch: any network, any method."""
    there = field.at(torch.as_tensor(p), SignalRows(signals) if signals else None)
    with torch.no_grad():
        solution = solve(
            there,
            checked_state(torch.as_tensor(y0)),
            torch.as_tensor(times),
            solver=settings.solver,
            rtol=settings.tolerance.rtol,
            atol=settings.tolerance.atol,
            max_steps=settings.max_steps,
            throw=False,
            events=there.events,
            max_resets=MAX_RESETS,
        )
    return solution.ys.numpy(), solution.status, solution.failures, solution.events
