r"""Forward sensitivities: derivatives of a trajectory by chosen numbers, along the steps that were taken.

The discrete solution is differentiated with its steps held constant, as in `adjoint`, so both give the same numbers:

.. math:: \dot K_i = \partial_y f(Y_i) \, \dot Y_i + \partial_p f(Y_i), \qquad
          \dot Y_i = \dot y + h \sum_j a_{ij} \dot K_j

for all columns at once. The derivatives of the field come from its reverse pass, one call per state, so that any compiled
model serves. Numbers are parameters (and weights) of the model, then free initial values; a *place* is an index of `numbers`.
"""

from typing import Any, NamedTuple

from sciml.native.compilation import at, call, device, pointer
from sciml.native.explicit import after, piece_at
from sciml.native.linear import factorize, solve_factored
from sciml.native.method import dense_weights
from sciml.native.networks import aligned


class Sweep(NamedTuple):
    """Scratch of one replay, as pointers; matrices row after row.

    Attributes:
        state: (states, columns), of the current state.
        argument: (states, columns), of the stage at hand.
        rates: (stages, states, columns).
        by_state: (outputs, states) derivatives of a routine.
        by_number: (outputs, parameters).
        unit: One cotangent.
        values: Outputs of a routine that is evaluated again.
        matrix: (states, states), of an implicit stage.
        pivots: (states).
        column: (states).
    """

    state: Any
    argument: Any
    rates: Any
    by_state: Any
    by_number: Any
    unit: Any
    values: Any
    matrix: Any
    pivots: Any
    column: Any


def sweep_size(states: int, parameters: int, free: int, outputs: int, stages: int, columns: int) -> int:
    """How many floats a sweep needs."""
    most = max(states, outputs)
    block = states * columns
    inner = max(states, free)
    parts = (block, block, stages * block, most * inner, most * parameters, most, most)
    return sum(map(aligned, (*parts, states * states, states, states)))


@device
def carve_sweep(memory, states, parameters, free, outputs, stages, columns):
    """A sweep in the given memory."""
    most, block, inner = max(states, outputs), states * columns, max(states, free)
    argument = after(memory, block)
    rates = after(argument, block)
    by_state = after(rates, stages * block)
    by_number = after(by_state, most * inner)
    unit = after(by_number, most * parameters)
    values = after(unit, most)
    matrix = after(values, most)
    pivots = after(matrix, states * states)
    return Sweep(memory, argument, rates, by_state, by_number, unit, values, matrix, pivots, after(pivots, states))


@device
def derivatives(vjp, weights, t, y, p, u, tape, outputs, inputs, parameters, sweep):
    """Derivatives of a routine by its states and by all parameters: one reverse pass per output."""
    for k in range(outputs):
        sweep.unit[k] = 0.0
    for k in range(outputs):
        row = at(sweep.by_number, k * parameters)
        for i in range(parameters):
            row[i] = 0.0
        sweep.unit[k] = 1.0
        call(vjp, (t, y, p, u, tape, sweep.unit, at(sweep.by_state, k * inputs), row))
        if weights != 0:
            call(weights, (tape, 1, row))
        sweep.unit[k] = 0.0


@device
def push(rows, inputs, parameters, sweep, argument, places, columns, result):
    """result = by_state · argument + by_number at the places, for `rows` rows; `argument` is (inputs, columns)."""
    for k in range(rows):
        target, by_number = at(result, k * columns), at(sweep.by_number, k * parameters)
        for c in range(columns):
            place = places[c]
            target[c] = by_number[place] if place < parameters else 0.0
        for m in range(inputs):
            slope, source = sweep.by_state[k * inputs + m], at(argument, m * columns)
            if slope != 0.0:
                for c in range(columns):
                    target[c] += slope * source[c]


@device
def start_sensitivities(task, shot, p, u, tape, places, columns, sweep):
    """Sensitivities of an initial state: of its free values themselves, or through the model's `initial`."""
    n = task.states
    if task.initial_value == 0:
        for m in range(n):
            for c in range(columns):
                sweep.state[m * columns + c] = 1.0 if places[c] == shot.free + m else 0.0
        return
    free = at(pointer(task.numbers), shot.free)
    call(task.initial_value, (shot.start, free, p, u, tape, sweep.values))
    slopes = (shot.start, free, p, u, tape, n, task.free, task.parameters)
    derivatives(task.initial_vjp, task.initial_weights, *slopes, sweep)
    for m in range(n):
        for c in range(columns):
            place, total = places[c], 0.0
            if place < task.parameters:
                total = sweep.by_number[m * task.parameters + place]
            elif shot.free <= place < shot.free + task.free:
                total = sweep.by_state[m * task.free + place - shot.free]
            sweep.state[m * columns + c] = total


@device
def stage_sensitivities(task, t, scale, p, u, y, tape, places, columns, sweep, result):
    """Sensitivities of one stage's rate, from those of its argument; for an implicit stage, from those without itself."""
    n = task.states
    if scale != 0.0:
        # Newton's iteration left the tape of its last but one argument.
        call(task.field_value, (t, y, p, u, tape, sweep.values))
    derivatives(task.field_vjp, task.field_weights, t, y, p, u, tape, n, n, task.parameters, sweep)
    push(n, n, task.parameters, sweep, sweep.argument, places, columns, result)
    if scale == 0.0:
        return
    for i in range(n * n):
        sweep.matrix[i] = -scale * sweep.by_state[i]
    for i in range(n):
        sweep.matrix[i * n + i] += 1.0
    factorize(sweep.matrix, n, sweep.pivots)
    for c in range(columns):
        for m in range(n):
            sweep.column[m] = result[m * columns + c]
        solve_factored(sweep.matrix, n, sweep.pivots, sweep.column)
        for m in range(n):
            result[m * columns + c] = sweep.column[m]


@device
def add_stages(block, h, weights, rates, count, result):
    """result += h * sum over j < count of weights[j] * rates[j], for blocks of numbers."""
    for j in range(count):
        factor, source = h * weights[j], at(rates, j * block)
        if factor != 0.0:
            for m in range(block):
                result[m] += factor * source[m]


@device
def push_forward(task, method, start, times, count, p, inputs, pieces, path, steps, places, columns, sweep, results):
    """Sensitivities of the states at all output times, along the steps that `integrate` kept.

    Args:
        task: Record of the model.
        method: Coefficients, explicit or diagonally implicit.
        start: Initial time.
        times: Output times.
        count: Number of output times.
        p: Pointer to the parameters.
        inputs: Pointer to the inputs.
        pieces: Their number.
        path: The steps.
        steps: Their number.
        places: Which numbers to differentiate by.
        columns: How many those are.
        sweep: Scratch; its `state` holds the sensitivities of the initial state.
        results: Receives (count, states, columns) numbers.
    """
    s, block = method.stages, task.states * columns
    written = 0
    while written < count and times[written] == start:
        for m in range(block):
            results[written * block + m] = sweep.state[m]
        written += 1
    piece = 0
    for step in range(steps):
        t, h = path.t[step], path.h[step]
        piece = piece_at(inputs, task.width, pieces, piece, t)
        u = at(inputs, piece * task.width)
        if h == 0.0:
            # The field at the beginning of a piece of the inputs.
            for m in range(block):
                sweep.argument[m] = sweep.state[m]
            y, rates = at(path.states, (step * s + s - 1) * path.stride), at(sweep.rates, (s - 1) * block)
            tape = at(path.tapes, (step + 1) * (s - 1) * task.field_tape)
            stage_sensitivities(task, t, 0.0, p, u, y, tape, places, columns, sweep, rates)
            continue
        for i in range(s):
            rates = at(sweep.rates, i * block)
            if i == 0 and step > 0:
                for m in range(block):
                    rates[m] = sweep.rates[(s - 1) * block + m]
                continue
            for m in range(block):
                sweep.argument[m] = sweep.state[m]
            add_stages(block, h, at(method.a, i * s), sweep.rates, i, sweep.argument)
            y = at(path.states, (step * s + i) * path.stride)
            tape = at(path.tapes, (step * (s - 1) + i) * task.field_tape)
            scale = h * method.gamma if i > 0 else 0.0
            stage_sensitivities(task, t + method.c[i] * h, scale, p, u, y, tape, places, columns, sweep, rates)
        while written < path.reached[step]:
            dense_weights(method, (times[written] - t) / h, path.weights)
            target = at(results, written * block)
            for m in range(block):
                target[m] = sweep.state[m]
            add_stages(block, h, path.weights, sweep.rates, s, target)
            written += 1
        # The last stage is the new state; of an implicit one the argument above leaves its own rate out.
        last = at(method.a, (s - 1) * s)
        add_stages(block, h, last, sweep.rates, s, sweep.state)
