r"""Adaptive Runge-Kutta integration that remembers its steps for the reverse pass; `steps` has the steps themselves.

.. math:: Y_i = y + h \sum_{j<i} a_{ij} k_j, \qquad k_i = f(t + c_i h, Y_i), \qquad y_{+} = Y_s

The last stage is the first of the next step. Steps are accepted by the root mean square of the embedded error in
units of the tolerance, and chosen by PI control; the formulas and constants are those of `sciml.solvers.control`.
"""

import math
from typing import Any, NamedTuple

from sciml.native.compilation import at, call, device, pointer
from sciml.native.method import dense_weights
from sciml.native.networks import aligned
from sciml.native.vectors import combine
from sciml.solvers.control import (
    BETA,
    CLOCK,
    ERROR_FLOOR,
    LARGEST_FACTOR,
    PREVIOUS_ERROR_FLOOR,
    SAFETY,
    SMALLEST_FACTOR,
    SMALLEST_FRACTION,
    STRETCH,
)

SUCCESS, MAX_STEPS, STEP_UNDERFLOW, NON_FINITE, FULL, HALTED = range(6)


class Path(NamedTuple):
    """Steps of one trajectory, as pointers to memory for `capacity` of them.

    States and rates are blocks of (stages, stride) per step; the first stage is copied from the step before. Tape
    rows, which are long, are shared: stage i > 0 of step k has row k * (stages - 1) + i, and stage 0 is the last
    stage of step k - 1.

    Attributes:
        capacity: Number of steps.
        stride: Length of a row of states: their number, rounded up to a multiple of four.
        reached: Number of outputs that lie before the end of each step.
        t: Time at the start of each step.
        h: Signed length of each step.
        states: Arguments of the field.
        rates: Values of the field.
        tapes: Tape rows of the field.
        weights: Scratch for the weights of the stages in the dense output.
        error: The error estimate of a step, and behind that row its norm.
        work: Matrices and vectors of implicit stages; empty for an explicit method.
    """

    capacity: int
    stride: int
    reached: Any
    t: Any
    h: Any
    states: Any
    rates: Any
    tapes: Any
    weights: Any
    error: Any
    work: Any


def path_size(states: int, stages: int, tape: int, capacity: int, work: int) -> int:
    """How many floats hold a path of `capacity` steps, every part starting on a cache line."""
    stride = -(-states // 4) * 4
    parts = (capacity, capacity, capacity * stages * stride, capacity * stages * stride)
    return sum(map(aligned, (*parts, (1 + capacity * (stages - 1)) * tape, stages, stride + 1, work)))


@device
def after(part, count):
    """Where the next cache line begins behind `count` numbers."""
    return at(part, (count + 7) // 8 * 8)


@device
def carve_path(reached, memory, states, stages, tape, capacity, work):
    """A path in the given memory, and where that is free again."""
    stride = (states + 3) // 4 * 4
    block = capacity * stages * stride
    h = after(memory, capacity)
    arguments = after(h, capacity)
    rates = after(arguments, block)
    tapes = after(rates, block)
    weights = after(tapes, (1 + capacity * (stages - 1)) * tape)
    error = after(weights, stages)
    matrices = after(error, stride + 1)
    path = Path(capacity, stride, reached, memory, h, arguments, rates, tapes, weights, error, matrices)
    return path, after(matrices, work)


@device
def first_step(model, method, atol, t, span, direction, p, u, path):
    """Length of the first step from the sizes of state, slope and curvature (Hairer, Nørsett, Wanner I, II.4).

    The state and its rate are in the first stage of the path; the second stage and its tape row are overwritten.
    """
    n, stride = model.states, path.stride
    d0, d1 = 0.0, 0.0
    for m in range(n):
        scale = atol[m] + model.rtol * abs(path.states[m])
        d0 += (path.states[m] / scale) ** 2
        d1 += (path.rates[m] / scale) ** 2
    d0, d1 = math.sqrt(d0 / n), math.sqrt(d1 / n)
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    h0 = min(h0, span)
    for m in range(n):
        path.states[stride + m] = path.states[m] + direction * h0 * path.rates[m]
    evaluate(model, t + direction * h0, p, u, path, stride, model.field_tape)
    d2 = 0.0
    for m in range(n):
        scale = atol[m] + model.rtol * abs(path.states[m])
        d2 += ((path.rates[stride + m] - path.rates[m]) / scale) ** 2
    largest = max(d1, math.sqrt(d2 / n) / h0)
    h1 = max(1e-6, h0 * 1e-3) if largest <= 1e-15 else (0.01 / largest) ** (1.0 / method.order)
    h = min(100.0 * h0, h1)
    # A probe that left the finite numbers says nothing: start from the first guess.
    return min(h if math.isfinite(h) and h > 0.0 else h0, span)


@device
def evaluate(model, t, p, u, path, stage, row):
    """The field at the state at offset `stage`, with the tape row at offset `row`."""
    y, rate, tape = at(path.states, stage), at(path.rates, stage), at(path.tapes, row)
    call(model.field_value, (t, y, p, u, tape, rate))


@device
def write_outputs(method, path, block, t, h, end, times, count, written, outputs):
    """Dense output at all times up to the end of the step; returns how many are written now."""
    direction = 1.0 if h > 0.0 else -1.0
    while written < count and direction * (times[written] - end) <= 0.0:
        dense_weights(method, (times[written] - t) / h, path.weights)
        y, rates, out = at(path.states, block), at(path.rates, block), at(outputs, written * path.stride)
        combine(y, h, at(path.weights, 0), rates, method.stages, path.stride, out)
        written += 1
    return written


@device
def finite(values, start, count):
    """Whether all of `count` numbers are finite."""
    total = 0.0
    for m in range(start, start + count):
        total += 0.0 * values[m]
    return total == 0.0


@device
def piece_at(u, width, pieces, piece, t):
    """The last piece of the inputs that begins at or before a time, from `piece` on."""
    while piece + 1 < pieces and u[(piece + 1) * width + 1] <= t:
        piece += 1
    return piece


@device
def next_stop(u, width, pieces, piece, direction, end):
    """The time up to which the inputs are smooth: the end of the piece, or the end of all."""
    if direction > 0.0 and piece + 1 < pieces:
        return min(u[(piece + 1) * width + 1], end)
    if direction < 0.0 and piece > 0:
        return max(u[piece * width + 1], end)
    return end


@device
def first_length(model, method, start, end, p, u, path):
    """Signed length of the first step, and of the shortest; zero if the state or its rate is not finite.

    The state is in the first stage of the path; its rate and its tape row are computed here.
    """
    n, span, direction = model.states, abs(end - start), 1.0 if end >= start else -1.0
    smallest = max(SMALLEST_FRACTION * span, CLOCK * max(abs(start), abs(end)))
    evaluate(model, start, p, u, path, 0, 0)
    if not (finite(path.states, 0, n) and finite(path.rates, 0, n)):
        return 0.0, smallest
    h = model.first_step
    if h <= 0.0:
        h = first_step(model, method, pointer(model.atol), start, span, direction, p, u, path)
    return direction * min(max(h, smallest), model.largest_step), smallest


@device
def accepted_length(model, method, h, error, previous, rejected):
    """Length of the next step behind an accepted one; a method without an error estimate keeps its step.

    Args:
        model: Record of the solver's settings.
        method: Coefficients.
        h: Signed length of the step.
        error: Its error norm.
        previous: Logarithm of that of the step before; NaN when there was none.
        rejected: Whether the step was tried before with another length.
    """
    if method.error_order > 0.0:
        power, exponent = math.log(max(error, ERROR_FLOOR)), 1.0 / method.error_order - 0.75 * BETA
        change = -power / method.error_order if math.isnan(previous) else BETA * previous - exponent * power
        h *= min(max(SAFETY * math.exp(change), SMALLEST_FACTOR), 1.0 if rejected else LARGEST_FACTOR)
    return math.copysign(min(abs(h), model.largest_step), h)


@device
def rejected_length(method, h, error):
    """Length of the next attempt after a rejected one."""
    exponent = 1.0 / method.error_order - 0.75 * BETA if method.error_order > 0.0 else 0.0
    size = max(error, ERROR_FLOOR) if math.isfinite(error) else math.inf
    return h * min(max(SAFETY * size**-exponent, SMALLEST_FACTOR), SAFETY)


@device
def integrate(model, method, start, times, count, p, inputs, pieces, path, outputs, keep, watch):
    """Integrate from `start`, where the state is in the first stage of the path, over all output times.

    Args:
        model: Record of the model and the solver's settings.
        method: Coefficients.
        start: Initial time.
        times: Output times, monotonic from `start` on; the last is the end.
        count: Number of output times.
        p: Pointer to the parameters.
        inputs: Pointer to the inputs, a row of `model.width` numbers for each piece.
        pieces: Their number. A step ends where a piece does; the kept path then has a step of length 0, whose last stage
            is the field at the beginning of the next piece.
        path: Memory for the steps; for a single one if they are not kept.
        outputs: Receives the states at the output times, in rows of `path.stride`.
        keep: Whether to keep the steps for the reverse pass.
        watch: Memory of `watch.Watch`, for a model with events: every accepted step is looked into.

    Returns:
        Status, number of accepted steps, time that was reached, step that was tried there. With the status `FULL` the
        path, or the table of events, was too short; with `HALTED` an event was met that stops the flow.
    """
    n, s = model.states, method.stages
    stride = path.stride
    block_size, row_size = s * stride, (s - 1) * model.field_tape
    end = times[count - 1]
    direction = 1.0 if end >= start else -1.0
    written = 0
    while written < count and times[written] == start:
        for m in range(n):
            outputs[written * stride + m] = path.states[m]
        written += 1
    if written == count:
        return SUCCESS, 0, start, 0.0
    # Forwards a piece begins at its first time; backwards it has been left there.
    piece = piece_at(inputs, model.width, pieces, 0, start)
    if direction < 0.0 and piece > 0 and inputs[piece * model.width + 1] == start:
        piece -= 1
    u, stop = at(inputs, piece * model.width), next_stop(inputs, model.width, pieces, piece, direction, end)
    h, smallest = first_length(model, method, start, end, p, u, path)
    if h == 0.0:
        return NON_FINITE, 0, start, 0.0
    # `previous` is the logarithm of the error before; without one, `accepted_factor` has another exponent.
    t, steps, block, row, rejected, previous = start, 0, 0, model.field_tape, False, math.nan
    for _ in range(model.max_steps):
        arrives, wanted = direction * (t + STRETCH * h - stop) >= 0.0, h
        final = arrives and stop == end
        if arrives:
            h = stop - t
        y, rates, tapes = at(path.states, block), at(path.rates, block), at(path.tapes, row - model.field_tape)
        call(model.step, (model.address, t, h, 0 if rejected else 1, p, u, y, rates, tapes, path.error, path.work))
        error = path.error[stride]
        if error <= 1.0:
            t_next, halted = stop if arrives else t + h, 0.0
            if model.look != 0:
                call(model.look, (model.address, t, t_next, h, y, rates, p, u, times, count, written, watch))
                halted = watch[0]
                t_next = watch[1] if halted == 1.0 else t_next
            written = write_outputs(method, path, block, t, h, t_next, times, count, written, outputs)
            path.t[steps * keep], path.h[steps * keep], path.reached[steps * keep] = t, h, written
            steps, t = steps + 1, t_next
            if halted != 0.0:
                return (HALTED if halted == 1.0 else FULL), steps, t, h
            if final:
                return SUCCESS, steps, t, h
            if keep and steps == path.capacity:
                return FULL, steps, t, h
            following = block + block_size * keep
            for m in range(n):
                path.states[following + m] = path.states[block + block_size - stride + m]
                path.rates[following + m] = path.rates[block + block_size - stride + m]
            block, row = following, row + row_size * keep
            h = accepted_length(model, method, h, error, previous, rejected)
            if arrives:
                # The step that was cut short says nothing of the next.
                h = direction * min(max(abs(h), abs(wanted)), model.largest_step)
                piece += 1 if direction > 0.0 else -1
                u, stop = at(inputs, piece * model.width), next_stop(inputs, model.width, pieces, piece, direction, end)
                if not method.linear:
                    first, last = block, block + (block_size - stride) * keep
                    for m in range(n):
                        path.states[last + m] = path.states[first + m]
                    evaluate(model, t, p, u, path, last, (row + row_size - model.field_tape) * keep)
                    if keep:
                        path.t[steps], path.h[steps], path.reached[steps] = t, 0.0, written
                        steps, block, row = steps + 1, block + block_size, row + row_size
                        if steps == path.capacity:
                            return FULL, steps, t, h
                        for m in range(n):
                            path.states[block + m] = path.states[last + m]
                            path.rates[block + m] = path.rates[last + m]
            rejected, previous = False, math.log(max(error, PREVIOUS_ERROR_FLOOR))
        else:
            h, rejected = rejected_length(method, h, error), True
            if abs(h) < smallest:
                return (STEP_UNDERFLOW if math.isfinite(error) else NON_FINITE), steps, t, h
    return MAX_STEPS, steps, t, h
