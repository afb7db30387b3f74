"""Steps whose lengths follow the error estimate."""

import math

import numpy as np
import torch
from torch import Tensor

from sciml.solvers.control import PREVIOUS_ERROR_FLOOR, STRETCH, accepted_factor, rejected_factor
from sciml.solvers.record import Record
from sciml.solvers.solution import Status
from sciml.solvers.steppers import BatchStepper, SingleStepper
from sciml.solvers.stops import Stops
from sciml.solvers.watch import Watch


def march_single(
    stepper: SingleStepper,
    record: Record,
    y: Tensor,
    f: Tensor,
    stops: Stops,
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
        stops: Where steps must end, and the final time.
        h: First step, as an array of one.
        lost: Not used: a single lost trajectory never comes here.
        limit: Length below which a step is given up.
        max_steps: Trials allowed.
        watch: Looks for events, and says when to stop.

    Returns:
        Status, counts of accepted and rejected steps, time reached, last trial step, state there.
    """
    order = stepper.tableau.error_order
    t, end, h, limit = float(stops.begin[0]), float(stops.end[0]), float(h[0]), float(limit[0])
    landing = float(stops.landing[0])
    accepted = rejected = 0
    previous, after_rejection, finite = math.nan, False, True
    status, tried, wanted = Status.SUCCESS, h, h
    while t != end:
        last = abs(h) * STRETCH >= abs(landing - t)
        if last:
            wanted, h = h, landing - t
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
            final = last and float(stops.resume[0]) == end
            t_new = end if final else landing if last else t + h
            record.append(t, t_new, h, y, k)
            accepted += 1
            stopped = watch is not None and watch.look(stepper.tableau, t, t_new, h, y, k).any()
            t, y, f = t_new, new, k[-1]
            if stopped:
                break
            h *= accepted_factor(error, previous, order, after_rejection)
            previous, after_rejection = max(error, PREVIOUS_ERROR_FLOOR), False
            if last and not final:
                # Behind a jump the field is another; the step that was cut short says nothing of the next.
                t, h = float(stops.resume[0]), max(h, wanted, key=abs)
                stops.advance(np.ones(1, dtype=bool))
                landing, f = float(stops.landing[0]), stepper.field(stepper.clock(t), y)
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
    stops: Stops,
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
        stops: Where steps must end, and the final times.
        h: First steps.
        lost: Trajectories that have no finite field at the start; they stay where they are.
        limit: Lengths below which a step is given up.
        max_steps: Trials allowed for each trajectory.
        watch: Looks for events, and says which trajectories stop.

    Returns:
        Status, counts of accepted and rejected steps, times reached, last trial steps, states there.
    """
    order = stepper.tableau.error_order
    t, end = stops.begin.copy(), stops.end
    counts, trials = np.zeros((2, len(t)), dtype=int), 0
    status = np.where(lost, Status.NON_FINITE, Status.SUCCESS)
    previous, after_rejection = np.full(len(t), np.nan), np.zeros(len(t), dtype=bool)
    finite = np.ones(len(t), dtype=bool)
    active, tried = ~lost & (record.start != end), h
    while True:
        gap, resume, size = stops.landing - t, stops.resume, np.abs(h)
        last = size * STRETCH >= np.abs(gap)
        short = active & ~last & (size < limit)
        if trials >= max_steps or np.count_nonzero(short):
            full = active & ~short & (counts.sum(axis=0) >= max_steps)
            status = np.where(short, np.where(finite, Status.STEP_UNDERFLOW, Status.NON_FINITE), status)
            status = np.where(full, Status.MAX_STEPS, status)
            active &= ~(short | full)
        if not np.count_nonzero(active):
            return status, counts, t, np.where(status == Status.SUCCESS, 0.0, tried), y
        trial, trials = np.where(active, np.where(last, gap, h), 0.0), trials + 1
        tried = np.where(active, trial, tried)
        new, k = stepper.stages(t, trial, y, f)
        error = stepper.error(trial, y, new, k)
        finite = np.isfinite(error)
        accept = active & finite & (error <= 1.0)
        number = np.count_nonzero(accept)
        # Most often every trajectory moves, and no mask is needed.
        whole = number == len(t)
        if number:
            step, again = trial if whole else np.where(accept, trial, 0.0), not (whole or finite.all())
            if again:
                # Again with step 0 for the others: NaN * 0 in the backward pass of a mask is NaN.
                new, k = stepper.stages(t, step, y, f)
            arrived, jumped = accept & last, accept & last & (resume != end)
            t_new = np.where(arrived, np.where(jumped, stops.landing, end), t + step)
            record.append(t, t_new, step, y, k)
            if watch is not None:
                active &= ~watch.look(stepper.tableau, t, t_new, step, y, k)
            if again or whole:
                y, f = new, k[-1]
            else:
                mask = torch.as_tensor(accept, device=y.device)[:, None]
                y, f = torch.where(mask, new, y), torch.where(mask, k[-1], f)
            t = t_new
            if np.count_nonzero(jumped):
                t = np.where(jumped, resume, t)
                stops.advance(jumped)
                fresh = stepper.field(stepper.clock(t), y)
                f = torch.where(torch.as_tensor(jumped, device=y.device)[:, None], fresh, f)
        reject = active & ~accept
        factor = accepted_factor(error if whole else np.where(accept, error, 1.0), previous, order, after_rejection)
        if np.count_nonzero(reject):
            factor = np.where(accept, factor, rejected_factor(error, order))
        counts[0] += accept
        counts[1] += reject
        next_h = trial * factor
        if stops.any:
            # A step that was cut short at a jump says nothing of the next.
            next_h = np.where(accept & last & (size > np.abs(next_h)), h, next_h)
        h = np.where(active, next_h, h)
        previous = np.where(accept, np.maximum(error, PREVIOUS_ERROR_FLOOR), previous)
        after_rejection = np.where(active, reject, after_rejection)
        active &= t != end
