r"""Looks for events in the steps that were accepted: what `solvers.watch` does, natively.

Conditions are looked at in four places of the dense output of a step; where one has changed its sign, its root is found by
interpolation, truncation and projection, as in `solvers.roots`. The functions that integration calls here have addresses of
their own, so that kernels of models without events hold none of this.

Reference:
    Oliveira, Takahashi (2021), ACM Transactions on Mathematical Software 47, 5.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types

from sciml.native.compilation import POINTER, at, call, compiled_address, device, pointer
from sciml.native.method import dense_weights, unpack
from sciml.native.networks import aligned
from sciml.native.records import task_at
from sciml.native.vectors import combine
from sciml.solvers.control import CLOCK, LOCATED, LOOKS, ZERO

RECORD, TERMINAL, RESET = range(3)
"""What an event does to the trajectory; the r-th event with a reset has `RESET` + r."""
HEAD = 5
"""Numbers of a row of the table of events before the state: event, trajectory, time, and the step and output behind it."""
MET = 6
"""Where a watch has the number of filled rows."""
TINY = np.finfo(np.float64).tiny
SAMPLES = len(LOOKS)


class Watch(NamedTuple):
    """What is known of one trajectory's events, as pointers.

    Attributes:
        stopped: 1 where the last look met an event that stops the flow, 2 where the table is full, else 0.
        time: When the flow stopped, then the status behind the event (`GOES_ON` or how the trajectory ends).
        trajectory: Its number.
        start: Where the stretch started.
        end: The last time of the trajectory.
        resets: Number of resets.
        met: Number of rows of the table that are filled.
        sides: Sign of each condition before the next look.
        instant: 1 for each event that has reset the state since time passed last: none of them can do so twice.
        fired: Size of each condition around its last event in this stretch; NaN where there was none.
        found: Events of a step: times, then which, then sizes.
        samples: Conditions at the looks of a step.
        values: Conditions, or their rates.
        state: A state.
        resets_out: States behind all resets.
        tape: What routines keep for their reverse pass.
        weights: Of the stages in the dense output.
        table: Rows of events.
    """

    stopped: Any
    time: Any
    trajectory: Any
    start: Any
    end: Any
    resets: Any
    met: Any
    sides: Any
    instant: Any
    fired: Any
    found: Any
    samples: Any
    values: Any
    state: Any
    resets_out: Any
    tape: Any
    weights: Any
    table: Any


def watch_size(events: int, rates: int, resets: int, states: int, tape: int, stages: int, hits: int) -> tuple[int, int]:
    """How many floats a watch needs, and where its table begins."""
    stride = -(-states // 4) * 4
    parts = (
        8,
        events,
        events,
        events,
        3 * SAMPLES * events,
        SAMPLES * events,
        max(events, rates),
        stride,
        resets,
        tape,
        stages,
    )
    table = sum(map(aligned, parts))
    return table + aligned(hits * (HEAD + states)), table


@device
def _behind(part, count):
    return at(part, (count + 7) // 8 * 8)


@device
def carve_watch(task, method, memory):
    """The watch in its memory."""
    e, stride = task.event_count, (task.states + 3) // 4 * 4
    sides = at(memory, 8)
    instant = _behind(sides, e)
    fired = _behind(instant, e)
    found = _behind(fired, e)
    samples = _behind(found, 3 * SAMPLES * e)
    values = _behind(samples, SAMPLES * e)
    state = _behind(values, max(e, task.rates_outputs))
    resets = _behind(state, stride)
    tape = _behind(resets, task.resets_outputs)
    weights = _behind(tape, max(task.conditions_tape, max(task.rates_tape, task.resets_tape)))
    table = _behind(weights, method.stages)
    head = memory, at(memory, 1), at(memory, 2), at(memory, 3), at(memory, 4), at(memory, 5), at(memory, 6)
    return Watch(*head, sides, instant, fired, found, samples, values, state, resets, tape, weights, table)


class _Step(NamedTuple):
    """An accepted step that is looked into: its times, length, first state and stages; parameters and inputs."""

    t: float
    end: float
    h: float
    y: Any
    rates: Any
    stride: int
    p: Any
    u: Any


@device
def _state_at(method, step, theta, watch):
    dense_weights(method, theta, watch.weights)
    combine(step.y, step.h, watch.weights, step.rates, method.stages, step.stride, watch.state)


@device
def _time_at(step, theta):
    return step.end if theta == 1.0 else step.t + theta * step.h


@device
def _conditions_at(task, method, step, theta, watch, out):
    """All conditions at a fraction of a step."""
    _state_at(method, step, theta, watch)
    call(task.conditions_value, (_time_at(step, theta), watch.state, step.p, step.u, watch.tape, out))


@device
def _sign(x):
    return x if x == 0.0 else math.copysign(1.0, x)


@device
def _locate(task, method, step, watch, event, left, right, at_left, at_right, tolerance):
    """The left end of the bracket in which a condition changes its sign: see `solvers.roots.bracketed_roots`."""
    a, b, fa, fb, half, width = left, right, at_left, at_right, tolerance / 2.0, right - left
    before = _sign(fa)
    most = math.ceil(math.log2(max(width / (2.0 * half), 1.0))) + 1.0
    for j in range(int(most) + 1):
        if b - a <= 2.0 * half:
            break
        middle = (a + b) / 2.0
        secant = middle if fa == fb else (fb * a - fa * b) / (fb - fa)
        side = _sign(middle - secant)
        shift = 0.2 * (b - a) ** 2 / width
        near = secant + side * shift if shift <= abs(middle - secant) else middle
        room = max(half * 2.0 ** (most - j) - (b - a) / 2.0, 0.0)
        x = near if abs(near - middle) <= room else middle - side * room
        _conditions_at(task, method, step, x, watch, watch.values)
        if watch.values[event] * before > 0.0:
            a, fa = x, watch.values[event]
        else:
            b, fb = x, watch.values[event]
    return a


@device
def _crossings(task, method, step, watch, event, direction, tolerance, count):
    """Enter the changes of sign of one condition behind the `count` events found so far; their number then."""
    many = SAMPLES * task.event_count
    left, at_left = 0.0, 0.0
    for k in range(SAMPLES):
        side, right, at_right = watch.sides[event], LOOKS[k], watch.samples[k * task.event_count + event]
        if side * at_right < 0.0 and (direction == 0.0 or direction == -side):
            # A value that is zero, or has the other sign by rounding, still stands on the side it came from.
            begin = at_left if at_left * side > 0.0 else side * TINY
            root = _locate(task, method, step, watch, event, left, right, begin, at_right, tolerance)
            watch.found[count] = _time_at(step, root)
            watch.found[many + count] = event
            watch.found[2 * many + count] = max(abs(at_left), abs(at_right))
            count += 1
        if at_right != 0.0 and not math.isnan(at_right):
            watch.sides[event] = _sign(at_right)
        left, at_left = right, at_right
    return count


@device
def _earliest(task, watch, count, sign):
    """The next of the events found in a step, by time and then by its number; -1 when all are taken."""
    best = -1
    for k in range(count):
        later = best >= 0 and sign * (watch.found[k] - watch.found[best]) >= 0.0
        if not math.isnan(watch.found[k]) and not later:
            best = k
    return best


@device
def close_to(watch, time):
    """Times this close cannot be told apart."""
    return 2.0 * LOCATED * abs(watch.end[0] - watch.start[0]) + CLOCK * abs(time)


@device
def _snapped(time, times, count, written, watch):
    """A time, or that of an output that it cannot be told apart from."""
    close = close_to(watch, time)
    sign = 1.0 if watch.end[0] >= watch.start[0] else -1.0
    row = max(written - 1, 0)
    while row < count and sign * (times[row] - time) <= close:
        if abs(times[row] - time) <= close:
            return times[row]
        row += 1
    return time


def look(address, t, end, h, y, rates, p, u, times, count, written, memory):
    """Look into one accepted step; what is met up to the first event that stops the flow is entered into the table.

    Args:
        address: Of the task.
        t: Time at the start of the step.
        end: Time at its end.
        h: Its signed length.
        y: State at its start.
        rates: Its stages.
        p: Parameters.
        u: The present piece of the inputs.
        times: Output times of the stretch.
        count: Their number.
        written: How many are written.
        memory: Of the watch.
    """
    task = task_at(address)
    method = unpack(pointer(task.method))
    watch, e, n = carve_watch(task, method, memory), task.event_count, task.states
    step = _Step(t, end, h, y, rates, (n + 3) // 4 * 4, p, u)
    watch.stopped[0] = 0.0
    quiet = True
    for k in range(SAMPLES):
        row = at(watch.samples, k * e)
        _conditions_at(task, method, step, LOOKS[k], watch, row)
        for event in range(e):
            quiet = quiet and watch.sides[event] * row[event] > 0.0
    if quiet:
        return
    tolerance = max(LOCATED, CLOCK * max(abs(t), abs(end)) / abs(h))
    directions, kinds = pointer(task.events), at(pointer(task.events), e)
    found = 0
    for event in range(e):
        found = _crossings(task, method, step, watch, event, directions[event], tolerance, found)
    many = SAMPLES * e
    for _ in range(found):
        k = _earliest(task, watch, found, math.copysign(1.0, h))
        time, event = _snapped(watch.found[k], times, count, written, watch), int(watch.found[many + k])
        watch.found[k] = math.nan
        place = int(watch.met[0])
        if place >= task.hits:
            watch.stopped[0] = 2.0
            return
        row = at(watch.table, place * (HEAD + n))
        row[0], row[1], row[2] = event, watch.trajectory[0], time
        _state_at(method, step, 1.0 if time == end else (time - t) / h, watch)
        for m in range(n):
            row[HEAD + m] = watch.state[m]
        watch.met[0] = place + 1
        watch.fired[event] = watch.found[2 * many + k]
        if kinds[event] != RECORD:
            watch.stopped[0], watch.time[0] = 1.0, time
            return


def open_stretch(address, t, end, y, p, u, memory):
    """Before a stretch: the sign of each condition just behind its start, where one that is zero has that of its rate."""
    task = task_at(address)
    watch, e = carve_watch(task, unpack(pointer(task.method)), memory), task.event_count
    watch.start[0], watch.end[0] = t, end
    call(task.conditions_value, (t, y, p, u, watch.tape, watch.samples))
    moving = False
    for event in range(e):
        moving = moving or watch.samples[event] == 0.0 or not math.isnan(watch.fired[event])
    if moving:
        call(task.rates_value, (t, y, p, u, watch.tape, watch.values))
    for event in range(e):
        g, side = watch.samples[event], watch.samples[event]
        if g == 0.0 or not math.isnan(watch.fired[event]):
            rate = watch.values[event]
            if g == 0.0 or abs(g) <= max(ZERO * watch.fired[event], abs(rate) * close_to(watch, t)):
                side = rate if end >= t else -rate
        watch.sides[event] = 0.0 if math.isnan(side) else _sign(side)
    for event in range(e):
        watch.fired[event] = math.nan


_F, _I = types.float64, types.int64
_SIGNATURES = {
    look: (_I, _F, _F, _F, *[POINTER] * 5, _I, _I, POINTER),
    open_stretch: (_I, _F, _F, *[POINTER] * 4),
}


def watch_addresses() -> dict[str, int]:
    """Addresses of the two functions, by name: compiled once per machine, when a model with events is first met."""
    return {function.__name__: compiled_address(function, *kinds) for function, kinds in _SIGNATURES.items()}
