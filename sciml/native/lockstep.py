"""Eight trajectories side by side: the explicit steps of `explicit` on packs, each lane with its own clock and step size.

All lanes attempt a step at once; then each accepts or rejects its own. A lane whose trajectory has ended takes the
next one; when there is none it stands still, by steps of length zero.
"""

import math
from typing import Any, NamedTuple

from sciml.native.compilation import at, call, device, integer_pointer, pointer
from sciml.native.explicit import (
    MAX_STEPS,
    NON_FINITE,
    STEP_UNDERFLOW,
    SUCCESS,
    accepted_length,
    first_length,
    rejected_length,
)
from sciml.native.method import dense_weights
from sciml.native.networks import aligned
from sciml.native.packs import SIZE, load, maximum, splat, store
from sciml.native.records import shot_of
from sciml.solvers.control import PREVIOUS_ERROR_FLOOR, STRETCH

INTEGERS = 7 * SIZE
"""Integers that a pack path needs beside those of its steps."""


class PackPath(NamedTuple):
    """The step of eight trajectories that is tried now, and the state of their lanes, as pointers to packs.

    Attributes:
        shot: Which shot is in each lane.
        written: Number of outputs that each lane has written.
        steps: Accepted steps of each lane.
        attempts: Attempted steps of each lane.
        rejected: Whether each lane has just rejected a step.
        going: Whether each lane has a trajectory that goes on.
        final: Whether the step that is tried would be the last.
        states: Arguments of the field, by stage and state.
        rates: Values of the field.
        tape: Tape row of the field.
        moment: Time of a stage.
        clock: Time that each lane has reached.
        length: Signed length of the step that is tried; 0 in lanes without a trajectory.
        norms: Error norms.
        end: Final times.
        smallest: Shortest steps.
        previous: Logarithms of the errors before.
        q: Scalar parameters.
        u: Inputs.
        weights: Weights of the stages in the dense output; numbers, not packs.
    """

    shot: Any
    written: Any
    steps: Any
    attempts: Any
    rejected: Any
    going: Any
    final: Any
    states: Any
    rates: Any
    tape: Any
    moment: Any
    clock: Any
    length: Any
    norms: Any
    end: Any
    smallest: Any
    previous: Any
    q: Any
    u: Any
    weights: Any


INTEGERS = 7 * SIZE
"""Integers in a pack path."""


def pack_size(states: int, stages: int, tape: int, scalars: int, inputs: int) -> int:
    """How many floats a pack path needs."""
    return SIZE * (2 * stages * states + tape + 7 + scalars + inputs) + aligned(stages)


@device
def carve_packs(task, method, lane):
    """The pack path of a thread's lane."""
    integers = task.pack_integers + 8 * lane * task.pack_integers_size
    states = pointer(task.pack_floats + 8 * lane * task.pack_floats_size)
    rates = at(states, method.stages * task.states * SIZE)
    tape = at(rates, method.stages * task.states * SIZE)
    moment = at(tape, task.pack_tape * SIZE)
    clock, length, norms = at(moment, SIZE), at(moment, 2 * SIZE), at(moment, 3 * SIZE)
    end, smallest, previous = at(moment, 4 * SIZE), at(moment, 5 * SIZE), at(moment, 6 * SIZE)
    q = at(moment, 7 * SIZE)
    u = at(q, task.scalars * SIZE)
    weights = at(u, task.inputs * SIZE)
    shot, written = integer_pointer(integers), integer_pointer(integers + 8 * SIZE)
    steps, attempts = integer_pointer(integers + 16 * SIZE), integer_pointer(integers + 24 * SIZE)
    rejected, going = integer_pointer(integers + 32 * SIZE), integer_pointer(integers + 40 * SIZE)
    counts = shot, written, steps, attempts, rejected, going, integer_pointer(integers + 48 * SIZE)
    clocks = moment, clock, length, norms, end, smallest, previous
    return PackPath(*counts, states, rates, tape, *clocks, q, u, weights)


@device
def attempt_packs(task, method, path, p):
    """All stages of one step but the first, and the error norms; as in `explicit.attempt`."""
    n, s = task.states, method.stages
    y, rates, atol = path.states, path.rates, pointer(task.atol)
    t, h = load(path.clock, 0), load(path.length, 0)
    for i in range(1, s):
        a = at(method.a, i * s)
        for m in range(n):
            total = splat(0.0)
            for j in range(i):
                total = total + a[j] * load(rates, j * n + m)
            store(y, i * n + m, load(y, m) + h * total)
        store(path.moment, 0, t + method.c[i] * h)
        stage = i * n * SIZE
        call(task.field_packs, (path.moment, at(y, stage), path.q, p, path.u, path.tape, at(rates, stage)))
    norm = splat(0.0)
    for m in range(n):
        total = splat(0.0)
        for j in range(s):
            total = total + method.error[j] * load(rates, j * n + m)
        size = maximum(abs(load(y, m)), abs(load(y, (s - 1) * n + m)))
        ratio = h * total / (atol[m] + task.rtol * size)
        norm = norm + ratio * ratio
    store(path.norms, 0, math.sqrt(norm / float(n)))


@device
def write_lane(method, path, lane, n, t, h, reached, times, count, out, stride):
    """Dense output of one lane at all times up to the end of its step."""
    direction = 1.0 if h > 0.0 else -1.0
    rates, y, written = path.rates, path.states, path.written[lane]
    while written < count and direction * (times[written] - reached) <= 0.0:
        dense_weights(method, (times[written] - t) / h, path.weights)
        for m in range(n):
            total = 0.0
            for i in range(method.stages):
                total += path.weights[i] * rates[(i * n + m) * SIZE + lane]
            out[written * stride + m] = y[m * SIZE + lane] + h * total
        written += 1
    path.written[lane] = written


@device
def take_seat(task, method, number, lane, scratch, path, initial, step, out, stride):
    """Put a shot into a lane, at the beginning of a path; whether there is anything to integrate."""
    n, shot, own = task.states, shot_of(task, number), scratch.path
    times, p, u = pointer(task.times + 8 * shot.first), pointer(shot.numbers), pointer(shot.inputs)
    written = 0
    for m in range(n):
        own.states[m] = initial[number * step + m]
    while written < shot.rows and times[written] == shot.start:
        for m in range(n):
            out[written * stride + m] = own.states[m]
        written += 1
    h, smallest = 0.0, 0.0
    if written < shot.rows:
        h, smallest = first_length(task, method, shot.start, times[shot.rows - 1], p, u, own)
    for m in range(n):
        path.states[m * SIZE + lane] = own.states[m]
        path.rates[m * SIZE + lane] = own.rates[m]
    for i in range(task.scalars):
        path.q[i * SIZE + lane] = p[i]
    for i in range(task.inputs):
        path.u[i * SIZE + lane] = u[i]
    path.shot[lane], path.written[lane], path.steps[lane], path.attempts[lane], path.rejected[lane] = (
        number,
        written,
        0,
        0,
        0,
    )
    path.clock[lane], path.length[lane], path.smallest[lane] = shot.start, h, smallest
    path.end[lane], path.previous[lane] = times[shot.rows - 1], math.nan
    path.going[lane] = 1 if h != 0.0 else 0
    shot.status, shot.steps, shot.reached, shot.tried = SUCCESS, 0, shot.start, 0.0
    if written < shot.rows and h == 0.0:
        shot.status = NON_FINITE
    return h != 0.0


@device
def leave(task, status, lane, path, rows, out, ends, stride):
    """End the trajectory of a lane: its record, its last state, NaN for what it did not reach."""
    n, shot = task.states, shot_of(task, path.shot[lane])
    path.going[lane] = 0
    shot.status, shot.steps, shot.reached, shot.tried = status, path.steps[lane], path.clock[lane], path.length[lane]
    for m in range(n):
        ends[m] = out[(rows - 1) * stride + m] if status == SUCCESS else path.states[m * SIZE + lane]
    for row in range(path.written[lane], rows):
        for m in range(n):
            out[row * stride + m] = math.nan


@device
def judge(task, method, lane, path, error):
    """Accept or reject the step of one lane; the status of its trajectory if that ends now, else -1."""
    h = path.length[lane]
    path.attempts[lane] += 1
    if error <= 1.0:
        path.steps[lane] += 1
        path.clock[lane] = path.end[lane] if path.final[lane] else path.clock[lane] + h
        if path.final[lane]:
            return SUCCESS
        path.length[lane] = accepted_length(task, method, h, error, path.previous[lane], path.rejected[lane] != 0)
        path.previous[lane], path.rejected[lane] = math.log(max(error, PREVIOUS_ERROR_FLOOR)), 0
    else:
        path.length[lane], path.rejected[lane] = rejected_length(method, h, error), 1
        if abs(path.length[lane]) < path.smallest[lane]:
            return STEP_UNDERFLOW if math.isfinite(error) else NON_FINITE
    return MAX_STEPS if path.attempts[lane] == task.max_steps else -1


@device
def set_lengths(path):
    """The step that every lane tries now: a last one ends on the final time, a lane without trajectory stands still."""
    for lane in range(SIZE):
        h = path.length[lane] if path.going[lane] else 0.0
        direction = 1.0 if h > 0.0 else -1.0
        final = direction * (path.clock[lane] + STRETCH * h - path.end[lane]) >= 0.0
        path.final[lane] = 1 if final else 0
        path.length[lane] = path.end[lane] - path.clock[lane] if path.going[lane] and final else h


@device
def integrate_packs(task, method, first, last, scratch, path, initial, step, outputs, ends, stride):
    """Integrate the shots from `first` to before `last`; a lane that is free takes the next.

    Args:
        task: Record of the model and the solver's settings.
        method: Coefficients.
        first: Number of the first shot.
        last: Number behind the last shot.
        scratch: Memory of one trajectory, in which each begins.
        path: Memory of the lanes, for one step.
        initial: Initial states of all shots.
        step: How far these are apart.
        outputs: Receives the states at the output times, `task.rows` rows of `stride` for each shot.
        ends: Receives the states that were reached.
        stride: Length of a row of outputs.
    """
    n, s, p = task.states, method.stages, pointer(shot_of(task, first).numbers)
    row_of = (s - 1) * n
    for k in range(s * n * SIZE):
        path.states[k], path.rates[k] = 0.0, 0.0
    for lane in range(SIZE):
        path.going[lane], path.written[lane], path.length[lane], path.clock[lane], path.end[lane] = 0, 0, 0.0, 0.0, 0.0
    following, active = first, 0
    while True:
        for lane in range(SIZE):
            while path.going[lane] == 0 and following < last:
                out = at(outputs, following * task.rows * stride)
                active += take_seat(task, method, following, lane, scratch, path, initial, step, out, stride)
                if path.going[lane] == 0:
                    status = shot_of(task, following).status
                    leave(task, status, lane, path, task.rows, out, at(ends, following * n), stride)
                following += 1
        if active == 0:
            return
        set_lengths(path)
        attempt_packs(task, method, path, p)
        for lane in range(SIZE):
            if path.going[lane] == 0:
                continue
            number, t, h, error = path.shot[lane], path.clock[lane], path.length[lane], path.norms[lane]
            out, shot = at(outputs, number * task.rows * stride), shot_of(task, number)
            status = judge(task, method, lane, path, error)
            if error <= 1.0:
                times = pointer(task.times + 8 * shot.first)
                write_lane(method, path, lane, n, t, h, path.clock[lane], times, task.rows, out, stride)
                for m in range(n):
                    path.states[m * SIZE + lane] = path.states[(row_of + m) * SIZE + lane]
                    path.rates[m * SIZE + lane] = path.rates[(row_of + m) * SIZE + lane]
            if status >= 0:
                leave(task, status, lane, path, task.rows, out, at(ends, number * n), stride)
                active -= 1
