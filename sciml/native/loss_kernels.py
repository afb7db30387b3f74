"""The kernels that Python calls for a fit: coordinates in, value and gradient out, on one thread or on several."""

import math

from numba import get_thread_id, int64, prange, types

from sciml.native.compilation import at, call, compiled_address, device, integer_pointer, kernel, pointer, reordered
from sciml.native.method import unpack
from sciml.native.packs import SIZE
from sciml.native.records import shot_of, task_at
from sciml.native.trajectory import own_part, run_shot
from sciml.native.transforms import backward, forward


@device
def begin(task):
    """Numbers of the model from the coordinates, and the initial states of all shots."""
    a, p, n = pointer(task.affine), pointer(task.numbers), task.states
    forward(integer_pointer(task.transforms), task.runs, a, at(a, task.coordinates), pointer(task.theta), p)
    shared = pointer(task.shared)
    for block in range(1, task.sets):
        own = at(p, block * task.block)
        for i in range(task.parameters):
            if shared[i] != 0.0:
                own[i] = p[i]
    if task.prepare != 0:
        for block in range(task.sets):
            call(task.prepare, (at(p, block * task.block),))
    for number in range(task.shot_count):
        shot = shot_of(task, number)
        free, y = at(p, shot.free), pointer(task.initial + 8 * number * n)
        if task.initial_value != 0:
            tape = pointer(task.initial_tapes + 8 * number * task.initial_tape)
            call(task.initial_value, (shot.start, free, pointer(shot.numbers), pointer(shot.inputs), tape, y))
        else:
            for m in range(n):
                y[m] = free[m]


def run_lane(address, lane, thread, slopes):
    """Work through one lane's contiguous part of the shots; with their gradients if `slopes`.

    It works in memory of its own, or where there are fewer pieces than lanes, in that of its thread.
    """
    task = task_at(address)
    slot = thread if task.slots < task.lanes else lane
    gp = pointer(task.slopes + 8 * lane * task.slopes_size)
    if slopes != 0:
        for i in range(task.slopes_size):
            gp[i] = 0.0
    if task.pack_value != 0:
        count, waves = task.shot_count, (task.shot_count + SIZE - 1) // SIZE
        for wave in range(lane * waves // task.lanes, (lane + 1) * waves // task.lanes):
            first, last = wave * count // waves, (wave + 1) * count // waves
            call(task.run_wave, (address, first, last, slot, gp, slopes))
        return
    method = unpack(pointer(task.method))
    for number in range(lane * task.shot_count // task.lanes, (lane + 1) * task.shot_count // task.lanes):
        run_shot(task, method, number, slot, gp, slopes != 0)


def lane_addresses() -> dict[str, int]:
    """Address of `run_lane`, by field of the task."""
    i = types.int64
    return {"run_lane": compiled_address(run_lane, i, i, i, i)}


@device
def start_lane(task, lane, thread, slopes):
    """Run a lane; the index of `prange` is unsigned."""
    call(task.run_lane, (task.address, int64(lane), int64(thread), slopes))


@reordered
def squares(count, theta, mean, precision):
    """Sum of precision * (theta - mean)**2."""
    total = 0.0
    for i in range(count):
        total += precision[i] * (theta[i] - mean[i]) ** 2
    return total


@device
def fold(task, slopes):
    """Sum up over the sets the gradient by what they share."""
    shared = pointer(task.shared)
    for block in range(1, task.sets):
        own = at(slopes, block * task.block)
        for i in range(task.parameters):
            slopes[i] += shared[i] * own[i]


@device
def finish(task, gradient):
    """Sum over shots and priors, in a fixed order; the gradient by the coordinates, if its array is not empty."""
    k, theta, mean = task.coordinates, pointer(task.theta), pointer(task.priors)
    precision = at(mean, k)
    total = task.constant + 0.5 * squares(k, theta, mean, precision)
    for number in range(task.shot_count):
        total += shot_of(task, number).value
    if gradient.size == 0:
        return total if math.isfinite(total) else math.inf
    if not math.isfinite(total):
        gradient[:] = 0.0
        return math.inf
    slopes = pointer(task.slopes)
    for lane in range(1, task.lanes):
        other = at(slopes, lane * task.slopes_size)
        for block in range(task.sets):
            first = block * task.block
            for i in range(first, first + task.parameters):
                slopes[i] += other[i]
    for number in range(task.shot_count):
        initial_back(task, number, slopes)
    if task.initial_weights != 0:
        call(task.initial_weights, (pointer(task.initial_tapes), task.shot_count, slopes))
    fold(task, slopes)
    scales = at(pointer(task.affine), k)
    backward(integer_pointer(task.transforms), task.runs, scales, theta, slopes, gradient)
    for i in range(k):
        gradient[i] += precision[i] * (theta[i] - mean[i])
    return total


@device
def initial_back(task, number, slopes):
    """Carry the cotangent of one initial state to the free initial values, which several shots may share."""
    n, shot = task.states, shot_of(task, number)
    g, gap = pointer(task.initial_slopes + 8 * number * n), pointer(task.gap_slopes + 8 * number * n)
    target = at(slopes, shot.free)
    for m in range(n):
        g[m] += gap[m]
    if task.initial_value == 0:
        for m in range(n):
            target[m] += g[m]
        return
    free = at(pointer(task.numbers), shot.free)
    p, u, result = pointer(shot.numbers), pointer(shot.inputs), pointer(task.lane_floats)
    gp = own_part(task, shot, slopes)
    tape = pointer(task.initial_tapes + 8 * number * task.initial_tape)
    call(task.initial_vjp, (shot.start, free, p, u, tape, g, result, gp))
    for m in range(task.free):
        target[m] += result[m]


@kernel
def evaluate(address, gradient):
    """Value of the fit whose task has this address; the gradient is written if its array is not empty."""
    task = task_at(address)
    begin(task)
    for lane in range(task.lanes):
        call(task.run_lane, (address, lane, 0, min(gradient.size, 1)))
    return finish(task, gradient)


@kernel(parallel=True)
def evaluate_parallel(address, gradient):
    """Like `evaluate`, with the lanes spread over threads; the sums have the same order, so the result is the same.

    The body of a `prange` loop must be one call: numba takes writes through pointers that the body itself makes for
    dead code.
    """
    slopes = min(gradient.size, 1)
    begin(task_at(address))
    for lane in prange(task_at(address).lanes):
        start_lane(task_at(address), lane, get_thread_id(), slopes)
    return finish(task_at(address), gradient)
