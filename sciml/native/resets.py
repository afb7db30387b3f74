r"""What happens at an event that stops the flow, and the exact reverse of it; as `solvers.crossings`, natively.

With the condition g, its rate along the flow, and the reset R, a change of the state before the event moves the event by
:math:`dt^* = -dg / \dot g` and the state behind it, referred to the fixed time of the event, by

.. math:: dy^+ = dR + (\dot R - f^+) \, dt^*, \qquad
          \bar y = R_y^T \lambda + \mu \, g_y, \qquad \mu = -\lambda^T (\dot R - f^+) / \dot g

with :math:`\lambda` the cotangent of that state, :math:`f^+` the field there, and likewise for parameters.
"""

import math

from numba import types

from sciml.native.compilation import POINTER, at, call, compiled_address, pointer
from sciml.native.explicit import NON_FINITE
from sciml.native.method import unpack
from sciml.native.records import task_at
from sciml.native.watch import HEAD, RESET, TERMINAL, carve_watch, close_to
from sciml.solvers.control import CLOCK, SMALLEST_FRACTION

EVENT, CHATTERING, MAX_RESETS = 5, 6, 7
"""How a trajectory ends at an event; numbers as in `solvers.Status`."""
GOES_ON = -1


def meet(address, y, p, u, memory):
    """Behind an event that stopped the flow: the state from which it goes on, and whether it does.

    Args:
        address: Of the task.
        y: Receives the state.
        p: Parameters.
        u: The piece of the inputs at the time of the event.
        memory: Of the watch; the last row of its table is the event, and `time` receives the status.
    """
    task = task_at(address)
    watch, e, n = carve_watch(task, unpack(pointer(task.method)), memory), task.event_count, task.states
    row = at(watch.table, (int(watch.met[0]) - 1) * (HEAD + n))
    event, time = int(row[0]), row[2]
    kind, start, end = int(pointer(task.events)[e + event]), watch.start[0], watch.end[0]
    for m in range(n):
        watch.state[m] = row[HEAD + m]
        y[m] = row[HEAD + m]
    if kind == TERMINAL:
        watch.time[0] = EVENT
        return
    call(task.resets_value, (time, watch.state, p, u, watch.tape, watch.resets_out))
    total = 0.0
    for m in range(n):
        y[m] = watch.resets_out[(kind - RESET) * n + m]
        total += 0.0 * y[m]
    limit = max(SMALLEST_FRACTION * abs(end - start), CLOCK * max(abs(start), abs(end)))
    limit = max(limit, close_to(watch, start))
    for k in range(e):
        watch.instant[k] *= 1.0 if abs(time - start) <= limit else 0.0
    chatters = watch.instant[event] != 0.0
    watch.instant[event] = 1.0
    watch.resets[0] += 1.0
    status = GOES_ON
    if total != 0.0:
        status = NON_FINITE
    elif chatters:
        status = CHATTERING
    elif watch.resets[0] >= task.max_resets:
        status = MAX_RESETS
    watch.time[0] = status


def meet_back(address, row, new, cotangent, tape, result, p, u, gp, memory):
    """Pull the cotangent of the state behind a reset back to the state before it.

    Args:
        address: Of the task.
        row: Of the event in the table of the watch.
        new: State behind the reset.
        cotangent: Of that state.
        tape: A tape row of the field to work in.
        result: Receives the cotangent of the state before; not finite where the condition stands still.
        p: Parameters.
        u: The piece of the inputs at the time of the event.
        gp: Gradient by the parameters, which is added to.
        memory: Of the watch.
    """
    task = task_at(address)
    watch, e, n = carve_watch(task, unpack(pointer(task.method)), memory), task.event_count, task.states
    event, time, y = int(row[0]), row[2], at(row, HEAD)
    first = (int(pointer(task.events)[e + event]) - RESET) * n
    call(task.rates_value, (time, y, p, u, watch.tape, watch.values))
    call(task.field_value, (time, new, p, u, tape, watch.state))
    along = 0.0
    for m in range(n):
        along += cotangent[m] * (watch.values[e + first + m] - watch.state[m])
    moved = -along / watch.values[event]
    call(task.resets_value, (time, y, p, u, watch.tape, watch.resets_out))
    for m in range(task.resets_outputs):
        watch.resets_out[m] = 0.0
    for m in range(n):
        watch.resets_out[first + m] = cotangent[m]
    call(task.resets_vjp, (time, y, p, u, watch.tape, watch.resets_out, watch.state, gp))
    if task.resets_weights != 0:
        call(task.resets_weights, (watch.tape, 1, gp))
    for m in range(n):
        result[m] = watch.state[m]
    call(task.conditions_value, (time, y, p, u, watch.tape, watch.samples))
    for k in range(e):
        watch.samples[k] = moved if k == event else 0.0
    call(task.conditions_vjp, (time, y, p, u, watch.tape, watch.samples, watch.state, gp))
    if task.conditions_weights != 0:
        call(task.conditions_weights, (watch.tape, 1, gp))
    for m in range(n):
        result[m] += watch.state[m]
    if not math.isfinite(moved):
        result[0] = math.nan


_SIGNATURES = {meet: [POINTER] * 4, meet_back: [POINTER] * 9}


def reset_addresses(reverse: bool) -> dict[str, int]:
    """Addresses of the functions, by name; of the reverse only where a gradient will be wanted."""
    wanted = _SIGNATURES if reverse else [meet]
    return {function.__name__: compiled_address(function, types.int64, *_SIGNATURES[function]) for function in wanted}
