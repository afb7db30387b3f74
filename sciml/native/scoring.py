r"""Predictions of a fit with their derivatives by some coordinates, and a descent by scoring that uses them.

Scoring is Gauss-Newton for any likelihood: with predictions :math:`m_i(\theta)` (means and scales) and the expected
information :math:`w_i` of a measurement on them,

.. math:: \Bigl(\sum_i w_i \, \partial m_i \, \partial m_i^T + \lambda D\Bigr)\, \delta = -\nabla L,

damped as by Levenberg and Marquardt. A free noise level is *profiled*: set to the root mean square
residual of its columns at every trial, its best value, so that the descent is one of :math:`\sum_s n_s \log(RSS_s / n_s)`.

Reference:
    Marquardt (1963), J. SIAM 11, 431; Osborne (1992), Int. Stat. Rev. 60, 99 (scoring).
"""

import math

from sciml.native.compilation import at, call, device, kernel, pointer
from sciml.native.explicit import NON_FINITE, SUCCESS, piece_at
from sciml.native.lanes import carve_lane
from sciml.native.likelihood import LOGNORMAL, information, misfit
from sciml.native.loss_kernels import begin
from sciml.native.method import unpack
from sciml.native.records import column_of, shot_of, task_at
from sciml.native.sensitivities import carve_sweep, derivatives, push, push_forward, start_sensitivities
from sciml.native.transforms import transform

# Kinds of Gaussian priors: on the number itself, or on its logarithm.
NO_PRIOR, OF_VALUE, OF_LOGARITHM = range(3)
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-10, 1e10
GROWTH, DECAY = 5.0, 0.2


@device
def follow(task, lane, number, keep) -> tuple:
    """Integrate one shot from its initial state into the lane; its status, and its number of steps."""
    shot, n = shot_of(task, number), task.states
    initial = pointer(task.initial + 8 * number * n)
    for m in range(n):
        lane.path.states[m] = initial[m]
    call(task.solve_shot, (task.address, number, 0, keep))
    return shot.status, shot.steps


@device
def predict(task, lane, method, limits, predicted):
    """Predictions for all rows of all shots; the first status that is no success, or `NON_FINITE` beyond the limits."""
    width = task.observables_outputs
    for number in range(task.shot_count):
        shot = shot_of(task, number)
        status, _ = follow(task, lane, number, 0)
        if status != SUCCESS:
            return status
        p, inputs, times, piece = pointer(shot.numbers), pointer(shot.inputs), pointer(task.times + 8 * shot.first), 0
        for row in range(shot.rows):
            y = at(lane.outputs, row * lane.path.stride)
            piece = piece_at(inputs, task.width, shot.pieces, piece, times[row])
            if task.observables_value != 0:
                u = at(inputs, piece * task.width)
                call(task.observables_value, (times[row], y, p, u, lane.tapes, lane.predicted))
            for k in range(width):
                value = lane.predicted[k] if task.observables_value != 0 else y[k]
                predicted[shot.first + row, k] = value
                if not abs(value) <= limits[k]:
                    return NON_FINITE
    return SUCCESS


@device
def profile(task, profiled, predicted):
    """Set the noise levels that are profiled to the root mean square residuals of their columns."""
    numbers = pointer(task.numbers)
    for number in range(task.column_count):
        place = profiled[number]
        if place < 0 or sharers(profiled, place, number) > 0:
            continue
        total, count = 0.0, 0
        for other in range(number, task.column_count):
            if profiled[other] == place:
                squares, seen = column_squares(task, other, predicted)
                total, count = total + squares, count + seen
        numbers[place] = max(math.sqrt(total / max(count, 1)), 1e-300)
        for other in range(number, task.column_count):
            if profiled[other] == place:
                for row in range(predicted.shape[0]):
                    predicted[row, column_of(task, other).scale] = numbers[place]


@device
def keep_noise(task, profiled, noise):
    """Copy the profiled noise levels, one for each column."""
    numbers = pointer(task.numbers)
    for number in range(task.column_count):
        if profiled[number] >= 0:
            noise[number] = numbers[profiled[number]]


@device
def sharers(profiled, place, before):
    """How many columns before one share its noise level."""
    count = 0
    for number in range(before):
        count += 1 if profiled[number] == place else 0
    return count


@device
def level_of(task, row, number):
    """What multiplies the scale of one measurement."""
    return pointer(task.levels)[row * task.column_count + number] if task.levels != 0 else 1.0


@device
def column_squares(task, number, predicted):
    """Sum of the squared residuals of a column (of logarithms where it is log-normal), and their number."""
    column, data = column_of(task, number), pointer(task.data)
    total, count = 0.0, 0
    for row in range(predicted.shape[0]):
        z = data[row * task.column_count + number]
        if not math.isnan(z):
            m, level = predicted[row, column.mean], level_of(task, row, number)
            total += ((z - (math.log(m) if column.code == LOGNORMAL else m)) / level) ** 2
            count += 1
    return total, count


@device
def terms(task, predicted, row, number):
    """Of one measurement: whether it is there, its misfit, its slopes and informations by mean and scale."""
    column = column_of(task, number)
    z = pointer(task.data)[row * task.column_count + number]
    if math.isnan(z):
        return False, 0.0, 0.0, 0.0, 0.0, 0.0
    level = level_of(task, row, number)
    m, s = predicted[row, column.mean], level * predicted[row, column.scale] if column.scale >= 0 else 1.0
    value, by_mean, by_scale = misfit(column.code, z, m, s, column.constant)
    on_mean, on_scale = information(column.code, z, m, s, column.constant)
    return True, value, by_mean, level * by_scale, on_mean, level * level * on_scale


@device
def deviation(prior, number):
    """Of a coordinate's Gaussian prior: the deviation from its center, and its slope by the number."""
    if prior[0] == OF_VALUE:
        return number - prior[1], 1.0
    if prior[0] == OF_LOGARITHM:
        return math.log(number) - prior[1], 1.0 / number
    return 0.0, 0.0


@device
def total_misfit(task, places, priors, predicted):
    """Negative log-posterior."""
    total, numbers = task.constant, pointer(task.numbers)
    for row in range(predicted.shape[0]):
        for number in range(task.column_count):
            total += terms(task, predicted, row, number)[1]
    for c in range(len(places)):
        total += 0.5 * priors[c, 2] * deviation(priors[c], numbers[places[c]])[0] ** 2
    return total if math.isfinite(total) else math.inf


@device
def differentiate(task, lane, method, theta, moving, places, codes, scales, results, memory, slopes):
    """Derivatives of all predictions by the moving coordinates, (row, output, coordinate); a status."""
    n, width, columns = task.states, task.observables_outputs, len(places)
    parameters, method_stages = task.parameters, method.stages
    sweep = carve_sweep(at(memory, 0), n, parameters, task.free, width, method_stages, columns)
    states = at(results, 0)
    for number in range(task.shot_count):
        shot = shot_of(task, number)
        status, steps = follow(task, lane, number, 1)
        if status != SUCCESS:
            return status
        p, u, times = pointer(shot.numbers), pointer(shot.inputs), pointer(task.times + 8 * shot.first)
        initial_tape = pointer(task.initial_tapes + 8 * number * task.initial_tape)
        start_sensitivities(task, shot, p, u, initial_tape, places, columns, sweep)
        rows, inputs, pieces, piece = shot.rows, u, shot.pieces, 0
        push_forward(
            task, method, shot.start, times, rows, p, inputs, pieces, lane.path, steps, places, columns, sweep, states
        )
        for row in range(shot.rows):
            state, target = at(states, row * n * columns), at(slopes, (shot.first + row) * width * columns)
            y = at(lane.outputs, row * lane.path.stride)
            if task.observables_value == 0:
                for m in range(n * columns):
                    target[m] = state[m]
                continue
            piece = piece_at(inputs, task.width, pieces, piece, times[row])
            u = at(inputs, piece * task.width)
            call(task.observables_value, (times[row], y, p, u, lane.tapes, lane.predicted))
            routine = (task.observables_vjp, task.observables_weights, times[row], y, p, u, lane.tapes)
            derivatives(*routine, width, n, parameters, sweep)
            push(width, n, parameters, sweep, state, places, columns, target)
    for c in range(columns):
        factor = scales[c] * transform(codes[c], theta[moving[c]])[1]
        for row in range(slopes.shape[0]):
            for k in range(width):
                slopes[row, k, c] *= factor
    return SUCCESS


@device
def normal_equations(task, theta, moving, places, codes, scales, priors, predicted, slopes, matrix, gradient):
    """The information matrix and the gradient of the negative log-posterior."""
    columns, numbers = len(places), pointer(task.numbers)
    matrix[:, :] = 0.0
    gradient[:] = 0.0
    for row in range(predicted.shape[0]):
        for number in range(task.column_count):
            there, _, by_mean, by_scale, on_mean, on_scale = terms(task, predicted, row, number)
            if not there:
                continue
            column = column_of(task, number)
            add_row(slopes[row, column.mean], by_mean, on_mean, matrix, gradient)
            if column.scale >= 0:
                add_row(slopes[row, column.scale], by_scale, on_scale, matrix, gradient)
    for c in range(columns):
        distance, slope = deviation(priors[c], numbers[places[c]])
        slope *= scales[c] * transform(codes[c], theta[moving[c]])[1]
        gradient[c] += priors[c, 2] * distance * slope
        matrix[c, c] += priors[c, 2] * slope * slope


@device
def add_row(slopes, by, on, matrix, gradient):
    """One prediction's part of the normal equations; the lower triangle of the matrix."""
    for i in range(len(slopes)):
        if slopes[i] != 0.0:
            gradient[i] += by * slopes[i]
            for j in range(i + 1):
                matrix[i, j] += on * slopes[i] * slopes[j]


@device
def damped_step(matrix, gradient, damping, factors, step):
    """Solve (H + damping * diag H) step = gradient by Cholesky's factors; whether H is finite and positive."""
    n = len(gradient)
    largest = 0.0
    for i in range(n):
        largest = max(largest, matrix[i, i])
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            if i == j:
                total += damping * max(matrix[i, i], 1e-12 * largest)
            for k in range(j):
                total -= factors[i, k] * factors[j, k]
            if i != j:
                factors[i, j] = total / factors[j, j]
            elif total > 0.0 and math.isfinite(total):
                factors[i, i] = math.sqrt(total)
            else:
                return False
    for i in range(n):
        total = gradient[i]
        for k in range(i):
            total -= factors[i, k] * step[k]
        step[i] = total / factors[i, i]
    for i in range(n - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, n):
            total -= factors[k, i] * step[k]
        step[i] = total / factors[i, i]
    return True


@device
def assess(task, lane, method, theta, places, priors, profiled, limits, predicted):
    """Negative log-posterior at some coordinates, infinite where it has none, with the status."""
    target = pointer(task.theta)
    for i in range(len(theta)):
        target[i] = theta[i]
    begin(task)
    status = predict(task, lane, method, limits, predicted)
    if status != SUCCESS:
        return math.inf, status
    profile(task, profiled, predicted)
    return total_misfit(task, places, priors, predicted), status


@kernel
def descend(
    address, theta, moving, places, codes, scales, priors, profiled, limits, predicted, slopes, results, memory,
    matrix, factors, vectors, noise, steps, tolerance, outcome,
):  # fmt: skip
    """Scoring steps from `theta`, which is replaced by the best found.

    Args:
        address: Of the fit's record.
        theta: All coordinates.
        moving: Which of them move.
        places, codes, scales: Of the moving ones: place among the numbers, transform, its scale.
        priors: Of the moving ones: kind, center and precision.
        profiled: For each measured column, the place of the noise level that is profiled, or -1.
        limits: Largest absolute value of each prediction; beyond, a trial is refused.
        predicted: Receives the predictions, (row, output).
        slopes: Scratch for their derivatives.
        results, memory: Scratch of the sensitivities.
        matrix, factors: Square scratch.
        vectors: Rows gradient, step, (all coordinates of a) trial.
        noise: Receives the profiled noise levels, by column.
        steps: Most steps.
        tolerance: Stops after two decreases of twice the value that are smaller.
        outcome: Receives the status, the steps taken, whether it stopped by tolerance.

    Returns:
        The negative log-posterior at `theta`.
    """
    task = task_at(address)
    method = unpack(pointer(task.method))
    lane = carve_lane(task, method, 0)
    columns = len(moving)
    gradient, step, trial = vectors[0, :columns], vectors[1, :columns], vectors[2, : len(theta)]
    value, damping, small = math.inf, 1e-2, 0
    outcome[0], outcome[1], outcome[2] = SUCCESS, 0, 0
    trial[:] = theta
    for iteration in range(steps + 1):
        outcome[1] = iteration
        lower, status = assess(task, lane, method, trial, places, priors, profiled, limits, predicted)
        if lower < value:
            if iteration > 0:
                small = small + 1 if 2.0 * (value - lower) < tolerance else 0
                damping = max(damping * DECAY, SMALLEST_DAMPING)
            value = lower
            theta[:] = trial
            keep_noise(task, profiled, noise)
            if columns == 0 or small >= 2:
                break
            status = differentiate(task, lane, method, theta, moving, places, codes, scales, results, memory, slopes)
            if status != SUCCESS:
                outcome[0] = status
                break
            normal_equations(task, theta, moving, places, codes, scales, priors, predicted, slopes, matrix, gradient)
        elif iteration == 0:
            outcome[0] = status
            break
        else:
            # A refused step that promised nothing: the bottom, as far as the solver's tolerance shows it.
            promised = 0.0
            for c in range(columns):
                promised += gradient[c] * step[c]
            small = small + 1 if math.isfinite(lower) and abs(promised) < tolerance else 0
            damping *= GROWTH
        while small < 2 and damping <= LARGEST_DAMPING and not damped_step(matrix, gradient, damping, factors, step):
            damping *= GROWTH
        if small >= 2 or damping > LARGEST_DAMPING:
            break
        trial[:] = theta
        for c in range(columns):
            trial[moving[c]] -= step[c]
    outcome[2] = 1 if columns == 0 or small >= 2 else 0
    return value


@kernel
def tangents(
    address, theta, moving, places, codes, scales, profiled, limits, predicted, slopes, results, memory, rows, rest,
):  # fmt: skip
    """Weighted derivatives of all measurements by the moving coordinates, and what is left to explain.

    `rows` (measurement, coordinate) and `rest` (measurement): their product is minus the gradient, the square of `rows`
    the information. First come the means, then the scales of all measurements; rows of gaps are zero.
    """
    task = task_at(address)
    method = unpack(pointer(task.method))
    lane = carve_lane(task, method, 0)
    target = pointer(task.theta)
    for i in range(len(theta)):
        target[i] = theta[i]
    begin(task)
    status = predict(task, lane, method, limits, predicted)
    if status != SUCCESS:
        return status
    profile(task, profiled, predicted)
    status = differentiate(task, lane, method, theta, moving, places, codes, scales, results, memory, slopes)
    if status != SUCCESS:
        return status
    rows[:, :] = 0.0
    rest[:] = 0.0
    measurements = predicted.shape[0] * task.column_count
    for row in range(predicted.shape[0]):
        for number in range(task.column_count):
            there, _, by_mean, by_scale, on_mean, on_scale = terms(task, predicted, row, number)
            if not there:
                continue
            column, k = column_of(task, number), row * task.column_count + number
            weigh(slopes[row, column.mean], by_mean, on_mean, rows, rest, k)
            if column.scale >= 0 and profiled[number] < 0:
                weigh(slopes[row, column.scale], by_scale, on_scale, rows, rest, measurements + k)
    return SUCCESS


@device
def weigh(slopes, by, on, rows, rest, k):
    """Write one weighted row."""
    root = math.sqrt(on)
    if root > 0.0:
        rest[k] = -by / root
        for c in range(len(slopes)):
            rows[k, c] = root * slopes[c]
