r"""One trajectory of a fit: integration, misfit to its data, and the cotangents back to its initial state.

A *shot* is one initial state with its own time grid, data and inputs. A long series cut into pieces (multiple
shooting) is a chain of shots, whose gaps the continuity penalty
:math:`\tfrac12 \sum_i w_i (T(y_i^{end}) - T(y_i^{next}))^2` closes, with T the identity or the logarithm.
"""

import math

from sciml.native.compilation import at, call, device, pointer
from sciml.native.explicit import SUCCESS, piece_at
from sciml.native.lanes import carve_lane
from sciml.native.likelihood import misfit
from sciml.native.records import column_of, shot_of
from sciml.native.watch import carve_watch


@device
def measured(task, data):
    """Whether any column of a row of data is there."""
    seen = False
    for column in range(task.column_count):
        seen = seen or not math.isnan(data[column])
    return seen


@device
def row_misfit(task, data, levels, predicted, slopes):
    """Negative log-likelihood of a row of data; its derivatives by the predictions go to `slopes`.

    `levels` multiply the scales where `task.levels` is there.
    """
    for m in range(task.observables_outputs):
        slopes[m] = 0.0
    total = 0.0
    for number in range(task.column_count):
        column, z = column_of(task, number), data[number]
        if math.isnan(z):
            continue
        level = levels[number] if task.levels != 0 else 1.0
        s = level * predicted[column.scale] if column.scale >= 0 else 1.0
        value, by_mean, by_scale = misfit(column.code, z, predicted[column.mean], s, column.constant)
        total += value
        slopes[column.mean] += by_mean
        if column.scale >= 0:
            slopes[column.scale] += level * by_scale
    return total


@device
def compare(task, shot, p, inputs, lane, gp, slopes):
    """Misfit of the states in `lane.outputs` to the data; its cotangents go to `lane.cotangents`.

    Args:
        task: Record of the fit.
        shot: Record of the shot.
        p: Pointer to the parameters.
        inputs: Pointer to the inputs.
        lane: Scratch.
        gp: Pointer to the gradient by the parameters, which is added to.
        slopes: Whether the gradient is wanted.

    Returns:
        The negative log-likelihood.
    """
    n, stride, width = task.states, lane.path.stride, task.observables_tape
    times = pointer(task.times + 8 * shot.first)
    data = pointer(task.data + 8 * shot.first * task.column_count)
    total, seen, piece = 0.0, 0, 0
    for row in range(shot.rows):
        y, gy, z = at(lane.outputs, row * stride), at(lane.cotangents, row * stride), at(data, row * task.column_count)
        for m in range(stride):
            gy[m] = 0.0
        if not measured(task, z):
            continue
        # Without levels the pointer is not followed.
        levels = pointer(task.levels + 8 * (shot.first + row) * task.column_count)
        tape = at(lane.tapes, seen * width)
        seen += 1
        piece = piece_at(inputs, task.width, shot.pieces, piece, times[row])
        u = at(inputs, piece * task.width)
        if task.observables_value != 0:
            call(task.observables_value, (times[row], y, p, u, tape, lane.predicted))
            total += row_misfit(task, z, levels, lane.predicted, lane.predicted_slopes)
        else:
            total += row_misfit(task, z, levels, y, lane.predicted_slopes)
        if slopes and task.observables_value != 0:
            call(task.observables_vjp, (times[row], y, p, u, tape, lane.predicted_slopes, gy, gp))
        elif slopes:
            for m in range(n):
                gy[m] = lane.predicted_slopes[m]
    if slopes and task.observables_weights != 0 and seen > 0:
        call(task.observables_weights, (lane.tapes, seen, gp))
    return total


@device
def close_gap(task, end, end_slopes, initial, gap_slopes):
    """Continuity penalty between the end of a shot and the initial state of the next; adds to both cotangents."""
    weights = pointer(task.continuity)
    logarithmic = at(weights, task.states)
    total = 0.0
    for m in range(task.states):
        weight, a, b, da, db = weights[m], end[m], initial[m], 1.0, 1.0
        gap_slopes[m] = 0.0
        if weight == 0.0:
            continue
        if logarithmic[m] != 0.0:
            da, db = 1.0 / a, 1.0 / b
            a, b = math.log(a), math.log(b)
        total += 0.5 * weight * (a - b) ** 2
        end_slopes[m] += weight * (a - b) * da
        gap_slopes[m] = -weight * (a - b) * db
    return total


@device
def own_part(task, shot, slopes):
    """The gradient by the parameters of a shot's own set."""
    return at(slopes, (shot.numbers - task.numbers) // 8)


@device
def score(task, shot, lane, gp, slopes):
    """Misfit of the states in `lane.outputs`, and of the gap behind them, and their cotangents; infinity for NaN."""
    value = compare(task, shot, pointer(shot.numbers), pointer(shot.inputs), lane, gp, slopes)
    if shot.next >= 0:
        end = (shot.rows - 1) * lane.path.stride
        skip = 8 * shot.next * task.states
        following, gap = pointer(task.initial + skip), pointer(task.gap_slopes + skip)
        value += close_gap(task, at(lane.outputs, end), at(lane.cotangents, end), following, gap)
    return value if math.isfinite(value) else math.inf


@device
def run_shot(task, method, number, slot, gp, slopes):
    """Value of one shot; with `slopes`, its gradient too. Status, steps and time reached go to its record.

    Args:
        task: Record of the fit.
        method: Coefficients.
        number: Of the shot.
        slot: The memory to work in.
        gp: Pointer to the gradient by the parameters of the first block, which is added to.
        slopes: Whether the gradient is wanted.
    """
    n, shot, lane = task.states, shot_of(task, number), carve_lane(task, method, slot)
    gp, initial = own_part(task, shot, gp), pointer(task.initial + 8 * number * n)
    for m in range(n):
        lane.path.states[m] = initial[m]
    if task.look != 0:
        carve_watch(task, method, lane.watch).met[0] = 0.0
    call(task.solve_shot, (task.address, number, slot, 1 if slopes else 0))
    shot.value = math.inf
    if shot.status != SUCCESS:
        return
    shot.value = score(task, shot, lane, gp, slopes)
    if slopes and shot.value < math.inf:
        call(task.pull_back_shot, (task.address, number, slot, shot.steps, gp))
        initial_slopes = pointer(task.initial_slopes + 8 * number * n)
        for m in range(n):
            initial_slopes[m] = lane.adjoint[m]
