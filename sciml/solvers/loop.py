"""The stepping loop: from an initial state to the last time, each trajectory with its own steps."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.solvers.control import smallest_step
from sciml.solvers.diagnosis import diagnosed
from sciml.solvers.field import Field, FlatField
from sciml.solvers.first_step import first_step
from sciml.solvers.host import HostBatch, HostSingle, computes_on_host
from sciml.solvers.implicit import ImplicitStepper
from sciml.solvers.march_adaptive import march_batch, march_single
from sciml.solvers.march_fixed import march_fixed
from sciml.solvers.methods.protocol import AbstractExplicit, AbstractSolver, AbstractSymplectic
from sciml.solvers.record import Ahead, March, Record, Trace
from sciml.solvers.solution import Failure, Stats, Status
from sciml.solvers.splitting import SplittingStepper, checked_momenta
from sciml.solvers.steppers import BatchStepper, SingleStepper
from sciml.solvers.stops import Stops
from sciml.solvers.tolerance import Tolerance, host
from sciml.solvers.watch import Watch

STATUSES = tuple(Status)


@dataclass(frozen=True)
class Settings:
    """What steers the loop; see `solve` for the meaning of each."""

    solver: AbstractSolver
    tolerance: Tolerance
    first_step: float | np.ndarray | None
    max_steps: int
    min_step: float | None


def march(
    field: Field,
    y0: Float[Tensor, "*shape"],
    ts: Float[np.ndarray, "batch time"],
    settings: Settings,
    dense: bool,
    trace: Trace | None = None,
    watch: Watch | None = None,
) -> March:
    """Step from the first to the last time of every trajectory.

    Args:
        field: The field on states of the shape of `y0`.
        y0: Initial states; one dimension means one trajectory.
        ts: Output times on the host, padded with NaN at the end.
        settings: Solver, tolerances and limits.
        dense: Keep all steps, not only those that hold an output.
        trace: Receives what a replay needs to know of every step.
        watch: Looks for events; a trajectory that meets one that stops its flow goes no further.

    Returns:
        The accepted steps, and how the march went.
    """
    solver, start = settings.solver, ts[:, 0]
    stepper = stepper_for(field, y0, start, solver, settings.tolerance)
    single = isinstance(stepper, SingleStepper)
    end = ts[np.arange(len(ts)), np.sum(~np.isnan(ts), axis=1) - 1]
    stops = Stops(field, start, end)
    y, f, lost = _start(stepper, stops.begin, y0 if single else y0.reshape(len(ts), -1))
    keep = dense or f.requires_grad
    record = Record(solver.tableau, start, None if keep else Ahead(ts, end), stepper.masks, trace)
    # What leaves the finite numbers is told by status, not by warnings of NumPy.
    with np.errstate(all="ignore"):
        status, counts, reached, h, y = _stepped(stepper, record, y, f, ts, settings, watch, stops, lost)
    record.close(y)
    failures: tuple[Failure, ...] = ()
    if status.any():
        rows = torch.where(torch.as_tensor(lost, device=y.device)[:, None], y0.reshape(len(ts), -1), y).detach()
        failures = diagnosed(field, y0.shape, solver, settings.tolerance, status, reached, h, rows)
    stats = Stats(tuple(counts[0].tolist()), tuple(counts[1].tolist()), stepper.field.calls)
    return March(record, tuple(STATUSES[s] for s in status.tolist()), stats, failures)


def stepper_for(
    field: Field,
    y0: Float[Tensor, "*shape"],
    start: Float[np.ndarray, " batch"],
    solver: AbstractSolver,
    tolerance: Tolerance,
) -> SingleStepper | BatchStepper:
    """What takes the steps of a method: an explicit one has a short way for a single trajectory.

    Args:
        field: The field on states of the shape of `y0`.
        y0: Initial states; one dimension means one trajectory.
        start: Initial times.
        solver: The method.
        tolerance: Measures errors and, for an implicit method, what Newton's iteration leaves.

    Raises:
        ModelError: The system is not one for a symplectic method.
    """
    single, explicit = y0.ndim == 1, isinstance(solver, AbstractExplicit)
    flat = FlatField(field, y0.shape, lifted=single and not explicit)
    if explicit:
        kinds = (HostSingle, HostBatch) if computes_on_host(y0) else (SingleStepper, BatchStepper)
        return kinds[0 if single else 1](flat, solver.tableau, y0, tolerance)
    rows = y0.detach().reshape(len(start), -1)
    if isinstance(solver, AbstractSymplectic):
        momenta = getattr(field, "momenta", None) if solver.momenta is None else solver.momenta
        clock = BatchStepper(flat, solver.tableau, rows, tolerance).clock(start)
        momenta = checked_momenta(flat, clock, rows, momenta, type(solver).__name__)
        return SplittingStepper(flat, solver.tableau, rows, tolerance, momenta)
    return ImplicitStepper(flat, solver.tableau, rows, tolerance)


def _stepped(
    stepper: SingleStepper | BatchStepper,
    record: Record,
    y: Tensor,
    f: Tensor,
    ts: Float[np.ndarray, "batch time"],
    settings: Settings,
    watch: Watch | None,
    stops: Stops,
    lost: Bool[np.ndarray, " batch"],
):
    """Status, counts of accepted and rejected steps, times reached, last trial steps, states there."""
    start, end, solver = ts[:, 0], stops.end, settings.solver
    if lost.all():
        return np.full(len(ts), Status.NON_FINITE), np.zeros((2, len(ts)), int), start, 0 * start, y
    if not solver.adaptive:
        return march_fixed(stepper, record, y, f, ts, solver.step, lost, settings.max_steps, watch, stops)
    if settings.first_step is None:
        h = first_step(stepper, stops.begin, end, y, f)
    else:
        h = np.copysign(settings.first_step, end - start)
    limit = smallest_step(start, end, settings.min_step, np.abs(end - start))
    step_all = march_single if isinstance(stepper, SingleStepper) else march_batch
    return step_all(stepper, record, y, f, stops, h, lost, limit, settings.max_steps, watch)


def _start(
    stepper: SingleStepper | BatchStepper, t: np.ndarray, y: Tensor
) -> tuple[Tensor, Tensor, Bool[np.ndarray, " batch"]]:
    """The field at the initial state, and which trajectories have none."""
    clock = stepper.clock(t[0] if isinstance(stepper, SingleStepper) else t)
    f = stepper.field(clock, y)
    lost = np.atleast_1d(~host(torch.isfinite(f.detach()).all(dim=-1)))
    if lost.any() and not lost.all():
        # A lost trajectory borrows the state of a sound one: a NaN in the graph would poison the
        # gradient of shared parameters, even behind a mask.
        mask = torch.as_tensor(lost, device=y.device)[:, None]
        y = torch.where(mask, y[int(np.flatnonzero(~lost)[0])].detach(), y)
        f = stepper.field(clock, y)
    return y, f, lost
