"""Steps whose lengths follow the error estimate."""

import math

import numpy as np
import torch
from torch import Tensor

from sciml.solvers.control import PREVIOUS_ERROR_FLOOR, STRETCH, accepted_factor, rejected_factor
from sciml.solvers.record import Record
from sciml.solvers.solution import Status
from sciml.solvers.steppers import BatchStepper, SingleStepper
from sciml.solvers.watch import Watch


def march_single(
    stepper: SingleStepper,
    record: Record,
    y: Tensor,
    f: Tensor,
    end,
    h,
    lost,
    limit,
    max_steps: int,
    watch: Watch | None,
):
    """Step one trajectory to its end, in plain Python floats.

    Args:
        stepper: Takes trial steps.
        record: Receives the accepted steps.
        y: Initial state.
        f: The field there.
        end: Final time, as an array of one.
        h: First step, as an array of one.
        lost: Not used: a single lost trajectory never comes here.
        limit: Length below which a step is given up.
        max_steps: Trials allowed.
        watch: Looks for events, and says when to stop.

    Returns:
        Status, counts of accepted and rejected steps, time reached, last trial step, state there.
    """
    order = stepper.tableau.error_order
    t, end, h, limit = float(record.start[0]), float(end[0]), float(h[0]), float(limit[0])
    accepted = rejected = 0
    previous, after_rejection, finite = math.nan, False, True
    status, tried = Status.SUCCESS, h
    while t != end:
        last = abs(h) * STRETCH >= abs(end - t)
        if last:
            h = end - t
        elif abs(h) < limit:
            status = Status.STEP_UNDERFLOW if finite else Status.NON_FINITE
            break
        if accepted + rejected >= max_steps:
            status = Status.MAX_STEPS
            break
        tried = h
        new, k = stepper.stages(t, h, y, f)
        error = stepper.error(h, y, new, k)
        finite = math.isfinite(error)
        if finite and error <= 1.0:
            t_new = end if last else t + h
            record.append(t, t_new, h, y, k)
            accepted += 1
            stopped = watch is not None and watch.look(stepper.tableau, t, t_new, h, y, k).any()
            t, y, f = t_new, new, k[-1]
            if stopped:
                break
            h *= accepted_factor(error, previous, order, after_rejection)
            previous, after_rejection = max(error, PREVIOUS_ERROR_FLOOR), False
        else:
            rejected += 1
            h *= rejected_factor(error, order)
            after_rejection = True
    return np.array([status]), np.array([[accepted], [rejected]]), np.array([t]), np.array([tried]), y


def march_batch(
    stepper: BatchStepper,
    record: Record,
    y: Tensor,
    f: Tensor,
    end,
    h,
    lost,
    limit,
    max_steps: int,
    watch: Watch | None,
):
    """Step every trajectory of a batch to its end, each with its own time and step.

    Args:
        stepper: Takes trial steps.
        record: Receives the accepted steps.
        y: Initial states.
        f: The field there.
        end: Final times.
        h: First steps.
        lost: Trajectories that have no finite field at the start; they stay where they are.
        limit: Lengths below which a step is given up.
        max_steps: Trials allowed for each trajectory.
        watch: Looks for events, and says which trajectories stop.

    Returns:
        Status, counts of accepted and rejected steps, times reached, last trial steps, states there.
    """
    order = stepper.tableau.error_order
    t = record.start.copy()
    counts = np.zeros((2, len(t)), dtype=int)
    status = np.where(lost, Status.NON_FINITE, Status.SUCCESS)
    previous, after_rejection = np.full(len(t), np.nan), np.zeros(len(t), dtype=bool)
    finite = np.ones(len(t), dtype=bool)
    active, tried = ~lost & (t != end), h
    while True:
        last = np.abs(h) * STRETCH >= np.abs(end - t)
        short = active & ~last & (np.abs(h) < limit)
        full = active & ~short & (counts.sum(axis=0) >= max_steps)
        if (short | full).any():
            status = np.where(short, np.where(finite, Status.STEP_UNDERFLOW, Status.NON_FINITE), status)
            status = np.where(full, Status.MAX_STEPS, status)
            active &= ~(short | full)
        if not active.any():
            return status, counts, t, np.where(status == Status.SUCCESS, 0.0, tried), y
        trial = np.where(active, np.where(last, end - t, h), 0.0)
        tried = np.where(active, trial, tried)
        new, k = stepper.stages(t, trial, y, f)
        error = stepper.error(trial, y, new, k)
        finite = np.isfinite(error)
        with np.errstate(invalid="ignore"):
            accept = active & finite & (error <= 1.0)
        reject = active & ~accept
        step = np.where(accept, trial, 0.0)
        if accept.any():
            again = not finite.all()
            if again:
                # Again with step 0 for the others: NaN * 0 in the backward pass of a mask is NaN.
                new, k = stepper.stages(t, step, y, f)
            t_new = np.where(accept, np.where(last, end, t + step), t)
            record.append(t, t_new, step, y, k)
            if watch is not None:
                active &= ~watch.look(stepper.tableau, t, t_new, step, y, k)
            if again or accept.all():
                y, f = new, k[-1]
            else:
                mask = torch.as_tensor(accept, device=y.device)[:, None]
                y, f = torch.where(mask, new, y), torch.where(mask, k[-1], f)
            t = t_new
        counts += np.stack([accept, reject])
        grow = accepted_factor(np.where(accept, error, 1.0), previous, order, after_rejection)
        h = np.where(active, trial * np.where(accept, grow, rejected_factor(error, order)), h)
        previous = np.where(accept, np.maximum(error, PREVIOUS_ERROR_FLOOR), previous)
        after_rejection = np.where(active, reject, after_rejection)
        active &= t != end
