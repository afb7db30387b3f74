"""Eight trajectories side by side: the explicit steps of `explicit` on packs, each lane with its own clock and step size.

All lanes attempt a step at once; then each accepts or rejects its own. A lane whose trajectory has ended takes the
next one; when there is none it stands still, by steps of length zero.
"""

import math

from sciml.native.compilation import at, call, device, pointer
from sciml.native.explicit import (
    MAX_STEPS,
    NON_FINITE,
    STEP_UNDERFLOW,
    SUCCESS,
    accepted_length,
    first_length,
    rejected_length,
)
from sciml.native.lanes import carve_lane
from sciml.native.method import unpack
from sciml.native.pack_path import carve_packs
from sciml.native.packs import SIZE, load, maximum, splat, store
from sciml.native.records import shot_of, task_at
from sciml.solvers.control import PREVIOUS_ERROR_FLOOR, STRETCH


@device
def evaluate_packs(task, path, stage, row, p):
    """The field at the states of a stage, counted from the first of all steps, with the given tape row."""
    place, tape = stage * task.states * SIZE, at(path.tapes, row * task.pack_tape * SIZE)
    y, rate = at(path.states, place), at(path.rates, place)
    call(task.pack_value, (path.moment, y, path.q, p, path.u, tape, rate))


@device
def attempt_packs(task, method, path, place, p, keep):
    """All stages of one step but the first, and the error norms; as in `explicit.attempt`.

    Args:
        task: Record of the model and the solver's settings.
        method: Coefficients.
        path: Memory of the lanes, in which clock, length, and the first stage are set.
        place: Where the step goes.
        p: Pointer to the weights.
        keep: 1 if every evaluation has a tape row of its own, 0 if they share one.
    """
    n, s = task.states, method.stages
    block, atol = place * s * n * SIZE, pointer(task.atol)
    y, rates = at(path.states, block), at(path.rates, block)
    t, h = load(path.clock, 0), load(path.length, 0)
    for i in range(1, s):
        a = at(method.a, i * s)
        for m in range(n):
            total = splat(0.0)
            for j in range(i):
                total = total + a[j] * load(rates, j * n + m)
            store(y, i * n + m, load(y, m) + h * total)
        store(path.moment, 0, t + method.c[i] * h)
        evaluate_packs(task, path, place * s + i, (place * (s - 1) + i) * keep, p)
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
def dense_packs(task, method, path, place):
    """The dense output of a step as a polynomial in the fraction of the step, without constant and length."""
    n, d = task.states, method.degree
    rates = at(path.rates, place * method.stages * n * SIZE)
    for power in range(d):
        for m in range(n):
            total = splat(0.0)
            for i in range(method.stages):
                total = total + method.dense[i * d + power] * load(rates, i * n + m)
            store(path.powers, power * n + m, total)


@device
def write_lane(method, path, place, lane, n, t, h, reached, times, count, out, stride):
    """Dense output of one lane at all times up to the end of its step."""
    direction = 1.0 if h > 0.0 else -1.0
    block, written = place * method.stages * n * SIZE, path.written[lane]
    y, powers, highest = at(path.states, block), at(path.powers, 0), method.degree - 1
    while written < count and direction * (times[written] - reached) <= 0.0:
        theta = (times[written] - t) / h
        for m in range(n):
            total = powers[(highest * n + m) * SIZE + lane]
            for power in range(highest - 1, -1, -1):
                total = total * theta + powers[(power * n + m) * SIZE + lane]
            out[written * stride + m] = y[m * SIZE + lane] + h * theta * total
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
    path.shot[lane], path.written[lane], path.steps[lane], path.attempts[lane] = number, written, 0, 0
    path.rejected[lane] = 0
    path.clock[lane], path.length[lane], path.smallest[lane] = shot.start, h, smallest
    path.end[lane], path.previous[lane] = times[shot.rows - 1], math.nan
    path.going[lane] = 1 if h != 0.0 else 0
    shot.status, shot.steps, shot.reached, shot.tried = SUCCESS, 0, shot.start, 0.0
    if written < shot.rows and h == 0.0:
        shot.status = NON_FINITE
    return h != 0.0


@device
def leave(task, status, lane, path):
    """End the trajectory of a lane, and write its record."""
    shot = shot_of(task, path.shot[lane])
    path.going[lane] = 0
    shot.status, shot.steps, shot.reached, shot.tried = status, path.steps[lane], path.clock[lane], path.length[lane]


@device
def write_end(task, status, lane, path, rows, out, ends, stride):
    """The last state of a lane's trajectory, and NaN for what it did not reach."""
    n = task.states
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


def integrate_packs(address, first, last, slot, states, ends):
    """Integrate the shots from `first` to before `last`; a lane that is free takes the next.

    Args:
        address: Of the task.
        first: Number of the first shot.
        last: Number behind the last shot.
        slot: The memory to work in.
        states: `task.rows` states for each shot, the first of them known; receives the others.
        ends: Receives the states that were reached.
    """
    task = task_at(address)
    method = unpack(pointer(task.method))
    scratch, path = carve_lane(task, method, slot), carve_packs(task, method, slot)
    n, s, p = task.states, method.stages, pointer(shot_of(task, first).numbers)
    size = task.rows * n
    last_stage = (s - 1) * n
    for k in range(s * n * SIZE):
        path.states[k], path.rates[k] = 0.0, 0.0
    for lane in range(SIZE):
        path.going[lane], path.written[lane], path.length[lane], path.clock[lane], path.end[lane] = 0, 0, 0.0, 0.0, 0.0
    following, active = first, 0
    while True:
        for lane in range(SIZE):
            while path.going[lane] == 0 and following < last:
                out = at(states, following * size)
                active += take_seat(task, method, following, lane, scratch, path, states, size, out, n)
                if path.going[lane] == 0:
                    status = shot_of(task, following).status
                    leave(task, status, lane, path)
                    write_end(task, status, lane, path, task.rows, out, at(ends, following * n), n)
                following += 1
        if active == 0:
            return
        set_lengths(path)
        attempt_packs(task, method, path, 0, p, 0)
        dense_packs(task, method, path, 0)
        for lane in range(SIZE):
            if path.going[lane] == 0:
                continue
            number, t, h, error = path.shot[lane], path.clock[lane], path.length[lane], path.norms[lane]
            out, shot = at(states, number * size), shot_of(task, number)
            status = judge(task, method, lane, path, error)
            if error <= 1.0:
                times = pointer(task.times + 8 * shot.first)
                write_lane(method, path, 0, lane, n, t, h, path.clock[lane], times, task.rows, out, n)
                for m in range(n):
                    path.states[m * SIZE + lane] = path.states[(last_stage + m) * SIZE + lane]
                    path.rates[m * SIZE + lane] = path.rates[(last_stage + m) * SIZE + lane]
            if status >= 0:
                leave(task, status, lane, path)
                write_end(task, status, lane, path, task.rows, out, at(ends, number * n), n)
                active -= 1
