"""The stepping loop: from an initial state to the last time, each trajectory with its own steps."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.solvers.control import smallest_step
from sciml.solvers.first_step import first_step
from sciml.solvers.march_adaptive import march_batch, march_single
from sciml.solvers.march_fixed import march_fixed
from sciml.solvers.protocol import AbstractExplicit
from sciml.solvers.record import Ahead, March, Record
from sciml.solvers.solution import Failure, Stats, Status
from sciml.solvers.steppers import BatchStepper, Counted, Field, SingleStepper
from sciml.solvers.watch import Watch


@dataclass(frozen=True)
class Settings:
    """What steers the loop; see `solve` for the meaning of each."""

    solver: AbstractExplicit
    rtol: float
    atol: float
    first_step: float | np.ndarray | None
    max_steps: int
    min_step: float | None


def march(
    field: Field,
    y0: Float[Tensor, "*shape"],
    ts: Float[np.ndarray, "batch time"],
    settings: Settings,
    dense: bool,
    watch: Watch | None = None,
) -> March:
    """Step from the first to the last time of every trajectory.

    Args:
        field: The field on states of the shape of `y0`.
        y0: Initial states; one dimension means one trajectory.
        ts: Output times on the host, padded with NaN at the end.
        settings: Solver, tolerances and limits.
        dense: Keep all steps, not only those that hold an output.
        watch: Looks for events; a trajectory that meets one that stops its flow goes no further.

    Returns:
        The accepted steps, and how the march went.
    """
    counted = Counted(field, y0.shape)
    single = y0.ndim == 1
    stepper = (SingleStepper if single else BatchStepper)(
        counted, settings.solver.tableau, y0, settings.rtol, settings.atol
    )
    start = ts[:, 0]
    end = np.array([row[~np.isnan(row)][-1] for row in ts])
    y, f, lost = _start(stepper, start, y0 if single else y0.reshape(len(y0), -1))
    keep = dense or f.requires_grad
    record = Record(settings.solver.tableau, start, ahead=None if keep else Ahead(ts, end))
    if lost.all():
        status, counts, reached = np.full(len(ts), Status.NON_FINITE), np.zeros((2, len(ts)), int), start
    elif settings.solver.adaptive:
        if settings.first_step is None:
            h = first_step(stepper, start, end, y, f)
        else:
            h = np.copysign(settings.first_step, end - start)
        limit = smallest_step(start, end, settings.min_step, np.abs(end - start))
        step_all = march_single if single else march_batch
        status, counts, reached, y = step_all(stepper, record, y, f, end, h, lost, limit, settings.max_steps, watch)
    else:
        status, counts, reached, y = march_fixed(
            stepper, record, y, f, ts, settings.solver.step, lost, settings.max_steps, watch
        )
    record.close(y)
    rows = torch.where(torch.as_tensor(lost, device=y.device)[:, None], y0.reshape(len(ts), -1), y).detach()
    failures = tuple(
        Failure(int(i), Status(status[i]), float(reached[i]), rows[i].view(y0.shape if single else y0.shape[1:]))
        for i in np.flatnonzero(status)
    )
    stats = Stats(tuple(counts[0].tolist()), tuple(counts[1].tolist()), counted.calls)
    return March(record, tuple(Status(s) for s in status), stats, failures)


def _start(
    stepper: SingleStepper | BatchStepper, t: np.ndarray, y: Tensor
) -> tuple[Tensor, Tensor, Bool[np.ndarray, " batch"]]:
    """The field at the initial state, and which trajectories have none."""
    clock = stepper.clock(t[0] if isinstance(stepper, SingleStepper) else t)
    f = stepper.field(clock, y)
    lost = np.atleast_1d((~torch.isfinite(f.detach()).all(dim=-1)).cpu().numpy())
    if lost.any() and not lost.all():
        # A lost trajectory borrows the state of a sound one: a NaN in the graph would poison the
        # gradient of shared parameters, even behind a mask.
        mask = torch.as_tensor(lost, device=y.device)[:, None]
        y = torch.where(mask, y[int(np.flatnonzero(~lost)[0])].detach(), y)
        f = stepper.field(clock, y)
    return y, f, lost
