"""Predictions of a fit and their Jacobian by the coordinates: one reverse pass over the steps for each prediction.

The forward solve, its stages and its tapes are kept once per shot; a reverse pass then costs less than a solve, and stops
at the prediction's own step. Forward sensitivities would carry as many solutions as there are coordinates, more than there
are predictions wherever a network is learned.
"""

import math

from sciml.native.compilation import at, call, device, integer_pointer, kernel, pointer
from sciml.native.explicit import SUCCESS, piece_at
from sciml.native.lanes import carve_lane
from sciml.native.loss_kernels import begin, fold, initial_back
from sciml.native.method import unpack
from sciml.native.records import shot_of, task_at
from sciml.native.trajectory import own_part
from sciml.native.transforms import backward


@device
def clear(array, count):
    """Zeros."""
    for i in range(count):
        array[i] = 0.0


@device
def to_coordinates(task, slopes, row):
    """Derivatives by the coordinates from those by the numbers."""
    fold(task, slopes)
    scales = at(pointer(task.affine), task.coordinates)
    backward(integer_pointer(task.transforms), task.runs, scales, pointer(task.theta), slopes, row)


@device
def initial_part(task, number, slopes):
    """Carry the cotangent of one initial state on to initial values, parameters and weights."""
    initial_back(task, number, slopes)
    if task.initial_weights != 0:
        call(task.initial_weights, (pointer(task.initial_tapes + 8 * number * task.initial_tape), 1, slopes))


@device
def pull(task, number, lane, steps, slopes):
    """Carry `lane.cotangents` back through so many steps of a shot, into `slopes`."""
    call(task.pull_back_shot, (task.address, number, 0, steps, own_part(task, shot_of(task, number), slopes)))
    initial = pointer(task.initial_slopes + 8 * number * task.states)
    for m in range(task.states):
        initial[m] = lane.adjoint[m]
    clear(pointer(task.gap_slopes + 8 * number * task.states), task.states)
    initial_part(task, number, slopes)


@device
def rows_of(task, number, lane, p, u, times, slopes, wanted, predicted, jacobian, done):
    """Predictions of one shot's rows and the Jacobian of the wanted ones; returns how many Jacobian rows are filled."""
    shot, stride, outputs = shot_of(task, number), lane.path.stride, task.observables_outputs
    inputs, gp, piece = u, own_part(task, shot, slopes), 0
    for row in range(shot.rows):
        y, place = at(lane.outputs, row * stride), shot.first + row
        tape = lane.tapes
        piece = piece_at(inputs, task.width, shot.pieces, piece, times[row])
        u = at(inputs, piece * task.width)
        call(task.observables_value, (times[row], y, p, u, tape, lane.predicted))
        steps = 0
        while steps < shot.steps and (steps == 0 or lane.path.reached[steps - 1] <= row):
            steps += 1
        for o in range(outputs):
            predicted[place, o] = lane.predicted[o]
            if wanted[place, o] == 0:
                continue
            clear(slopes, task.slopes_size)
            clear(lane.cotangents, shot.rows * stride)
            clear(lane.predicted_slopes, outputs)
            lane.predicted_slopes[o] = 1.0
            g = at(lane.cotangents, row * stride)
            call(task.observables_vjp, (times[row], y, p, u, tape, lane.predicted_slopes, g, gp))
            if task.observables_weights != 0:
                call(task.observables_weights, (tape, 1, gp))
            pull(task, number, lane, steps, slopes)
            to_coordinates(task, slopes, jacobian[done])
            done += 1
    return done


@device
def gap_of(task, number, lane, slopes, gaps, jacobian, joint, done):
    """Gaps between a shot's end and the next one's start, and their Jacobian."""
    shot, n, stride = shot_of(task, number), task.states, lane.path.stride
    logarithmic = at(pointer(task.continuity), n)
    last = (shot.rows - 1) * stride
    following = pointer(task.initial + 8 * shot.next * n)
    for m in range(n):
        a, b, da, db = lane.outputs[last + m], following[m], 1.0, 1.0
        if logarithmic[m] != 0.0:
            da, db = 1.0 / a, 1.0 / b
            a, b = math.log(a), math.log(b)
        gaps[joint, m] = a - b
        clear(slopes, task.slopes_size)
        clear(lane.cotangents, shot.rows * stride)
        lane.cotangents[last + m] = da
        pull(task, number, lane, shot.steps, slopes)
        next_slopes = pointer(task.initial_slopes + 8 * shot.next * n)
        clear(next_slopes, n)
        clear(pointer(task.gap_slopes + 8 * shot.next * n), n)
        next_slopes[m] = -db
        initial_part(task, shot.next, slopes)
        to_coordinates(task, slopes, jacobian[done + m])
    return done + n


@kernel
def linearize(address, wanted, predicted, jacobian, gaps):
    """Fill predictions, gaps and the Jacobian of the wanted predictions, then of the gaps.

    Args:
        address: Of the fit's task.
        wanted: For each row of data and each observable, whether its derivatives are wanted.
        predicted: The observables of each row.
        jacobian: A row for each wanted one, in that order, then for each gap.
        gaps: A row for each shot that another one continues.

    Returns:
        Whether all trajectories could be solved.
    """
    task = task_at(address)
    begin(task)
    method = unpack(pointer(task.method))
    lane = carve_lane(task, method, 0)
    slopes = pointer(task.slopes)
    done, joint, end = 0, 0, 0
    for row in range(wanted.shape[0]):
        for o in range(wanted.shape[1]):
            end += 1 if wanted[row, o] != 0 else 0
    for number in range(task.shot_count):
        shot = shot_of(task, number)
        p, u, times = pointer(shot.numbers), pointer(shot.inputs), pointer(task.times + 8 * shot.first)
        initial = pointer(task.initial + 8 * number * task.states)
        for m in range(task.states):
            lane.path.states[m] = initial[m]
        call(task.solve_shot, (task.address, number, 0, 1))
        if shot.status != SUCCESS:
            return False
        done = rows_of(task, number, lane, p, u, times, slopes, wanted, predicted, jacobian, done)
        if shot.next >= 0:
            end = gap_of(task, number, lane, slopes, gaps, jacobian, joint, end)
            joint += 1
    return True
