"""Uniform steps from each output time to the next."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.record import Record
from sciml.solvers.solution import Status
from sciml.solvers.steppers import BatchStepper, SingleStepper
from sciml.solvers.stops import Stops
from sciml.solvers.watch import Watch


def schedule(ts: Float[np.ndarray, " time"], step: float) -> Float[np.ndarray, " step"]:
    """Times at which steps begin and end: from each output to the next in equal steps, `step` long at most.

    Equal steps matter to symplectic methods, whose energy drifts when the length changes; evenly spaced outputs
    make all steps of a solve equal.

    Args:
        ts: Output times; NaN at the end is padding.
        step: Longest step.

    Returns:
        The times; every output time is among them.

    Example:
        >>> schedule(np.array([0.0, 0.5, 1.0]), 0.3).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    ts = ts[~np.isnan(ts)]
    pieces = [ts[:1]]
    for t, end in pairwise(ts):
        # A gap of 10.0000001 steps is ten steps: rounding must not add a tiny one.
        count = max(1, int(np.ceil(abs(end - t) / step - 1e-6)))
        pieces += [t + (end - t) * np.arange(1, count) / count, [end]]
    return np.concatenate(pieces)


def march_fixed(
    stepper: SingleStepper | BatchStepper,
    record: Record,
    y: Tensor,
    f: Tensor,
    ts,
    step: float,
    lost,
    max_steps: int,
    watch: Watch | None,
    stops: Stops,
):
    """Step all trajectories through their schedules.

    Args:
        stepper: Takes the steps.
        record: Receives them.
        y: Initial states.
        f: The field there.
        ts: Output times, `(batch, time)`.
        step: Length of a step.
        lost: Trajectories that have no finite field at the start; they stay where they are.
        max_steps: Steps allowed.
        watch: Looks for events, and says which trajectories stop.
        stops: Where steps must end beside the outputs.

    Returns:
        Status, counts of accepted and rejected steps, times reached, the steps that failed, states there.
    """
    rows = [schedule(row, step) for row in stops.merged(ts)]
    longest = max(len(row) for row in rows)
    grid = np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows], axis=1)
    status = np.where(lost, Status.NON_FINITE, Status.SUCCESS)
    counts = np.zeros((2, len(rows)), dtype=int)
    reached, failed = grid[0].copy(), np.zeros(len(rows))
    stopped = np.zeros(len(rows), dtype=bool)
    single = isinstance(stepper, SingleStepper)
    for t, end in pairwise(grid):
        moving = (status == Status.SUCCESS) & (end != t) & ~stopped
        status = np.where(moving & (counts[0] >= max_steps), Status.MAX_STEPS, status)
        moving &= status == Status.SUCCESS
        if not moving.any():
            break
        begin, landing = stops.resumed(t), stops.landed(end)
        if (jumped := moving & stops.jumping(t) & (counts[0] > 0)).any():
            again = stepper.field(stepper.clock(float(begin[0]) if single else begin), y)
            f = again if single else torch.where(torch.as_tensor(jumped, device=y.device)[:, None], again, f)
        h = np.where(moving, landing - begin, 0.0)
        reached = np.where(moving, begin, reached)
        new, k = stepper.stages(float(reached[0]), float(h[0]), y, f) if single else stepper.stages(reached, h, y, f)
        bad = moving & ~stepper.sound(new, k)
        if bad.any():
            reason = np.where(stepper.unsolved, Status.UNSOLVED, Status.NON_FINITE)
            status, failed = np.where(bad, reason, status), np.where(bad, h, failed)
            moving &= ~bad
            if not moving.any():
                break
            # Again with step 0 for the bad ones, so that the graph holds finite numbers only.
            h = np.where(moving, h, 0.0)
            new, k = stepper.stages(reached, h, y, f)
        after = np.where(moving, np.where(end == stops.end, end, landing), reached)
        record.append(reached, after, h, y, k) if not single else record.append(
            float(reached[0]), float(after[0]), float(h[0]), y, k
        )
        if watch is not None:
            stopped |= watch.look(stepper.tableau, reached, after, h, y, k)
        counts[0] += moving
        reached, y, f = after, new, k[-1]
    return status, counts, reached, failed, y
