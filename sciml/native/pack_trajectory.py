"""Eight shots of a fit side by side: as `trajectory.run_shot`, with the forward and the reverse pass on packs.

Shots begin together, so that the reverse pass can begin together; those that end before the others stand still.
"""

import math

from numba import types

from sciml.native.compilation import POINTER, at, compiled_address, device, pointer
from sciml.native.explicit import FULL, SUCCESS
from sciml.native.lanes import Lane, carve_lane
from sciml.native.lockstep import (
    attempt_packs,
    dense_packs,
    evaluate_packs,
    integrate_packs,
    judge,
    leave,
    set_lengths,
    take_seat,
    write_lane,
)
from sciml.native.method import unpack
from sciml.native.pack_adjoint import pull_back_packs, times_of
from sciml.native.pack_path import carve_packs
from sciml.native.packs import SIZE, load, store
from sciml.native.records import shot_of, task_at
from sciml.native.trajectory import own_part, score


@device
def seat(task, method, first, last, scratch, path, p):
    """Put the shots from `first` to before `last` into the lanes, copies of the last into those that are left over.

    Returns:
        The number of trajectories that go on.
    """
    n, stride = task.states, scratch.path.stride
    initial, active = pointer(task.initial), 0
    for lane in range(SIZE):
        out = at(path.outputs, lane * task.rows * stride)
        going = take_seat(task, method, min(first + lane, last - 1), lane, scratch, path, initial, n, out, stride)
        if first + lane < last:
            active += going
        else:
            path.going[lane] = 0
        if path.going[lane] == 0:
            path.length[lane] = 0.0
    store(path.moment, 0, load(path.clock, 0))
    evaluate_packs(task, path, 0, 0, p)
    return active


@device
def fill(task, method, path, place, lane, source):
    """Write the numbers of a lane that has taken a step into the hole of one that has not.

    Where a step is rejected, the field may have left the finite numbers, and zero times infinity is no zero.
    """
    n, s = task.states, method.stages
    states, tapes = at(path.states, place * s * n * SIZE), at(path.tapes, (place * (s - 1) + 1) * task.pack_tape * SIZE)
    for k in range(n, s * n):
        states[k * SIZE + lane] = states[k * SIZE + source]
    for k in range((s - 1) * task.pack_tape):
        tapes[k * SIZE + lane] = tapes[k * SIZE + source]
    t, h = at(path.t, place * SIZE), at(path.h, place * SIZE)
    t[lane], h[lane] = t[source], h[source]


@device
def advance(method, path, place, n, keep):
    """Begin the next step: from the last stage in lanes that took this one, in others from where they are."""
    block, following = place * method.stages * n, (place + keep) * method.stages * n
    for lane in range(SIZE):
        stage = block + (method.stages - 1) * n if path.taken[place * SIZE + lane] != 0.0 else block
        for m in range(n):
            path.states[(following + m) * SIZE + lane] = path.states[(stage + m) * SIZE + lane]
            path.rates[(following + m) * SIZE + lane] = path.rates[(stage + m) * SIZE + lane]


@device
def integrate_wave(task, method, first, last, scratch, path, keep):
    """Integrate at most eight shots.

    Args:
        task: Record of the fit.
        method: Coefficients.
        first: Number of the first shot.
        last: Number behind the last shot.
        scratch: Memory of one trajectory, in which each begins.
        path: Memory of the lanes.
        keep: Whether to keep the steps for the reverse pass.

    Returns:
        The number of steps that are kept.
    """
    n, stride, p = task.states, scratch.path.stride, pointer(shot_of(task, first).numbers)
    active, place = seat(task, method, first, last, scratch, path, p), 0
    for lane in range(SIZE):
        path.before[lane] = path.written[lane]
    while active > 0:
        set_lengths(path)
        attempt_packs(task, method, path, place, p, keep)
        dense_packs(task, method, path, place)
        source = -1
        for lane in range(SIZE):
            cell = place * SIZE + lane
            t, h, error, status = path.clock[lane], path.length[lane], path.norms[lane], -1
            path.t[cell], path.h[cell], path.taken[cell] = t, h, 0.0
            if path.going[lane] == 0:
                continue
            status = judge(task, method, lane, path, error)
            if error <= 1.0:
                rows = shot_of(task, path.shot[lane]).rows
                times, out = times_of(task, path, lane), at(path.outputs, lane * task.rows * stride)
                write_lane(method, path, place, lane, n, t, h, path.clock[lane], times, rows, out, stride)
                source, path.taken[cell] = lane, 1.0
            if status >= 0:
                leave(task, status, lane, path)
                active -= 1
        if source < 0:
            continue
        advance(method, path, place, n, keep)
        if keep:
            for lane in range(SIZE):
                if path.going[lane] != 0 and path.taken[place * SIZE + lane] == 0.0:
                    fill(task, method, path, place, lane, source)
            place += 1
            for lane in range(SIZE):
                path.before[place * SIZE + lane] = path.written[lane]
            if place == path.capacity and active > 0:
                for lane in range(SIZE):
                    if path.going[lane] != 0:
                        leave(task, FULL, lane, path)
                return place
    return place


def run_wave(address, first, last, slot, gp, slopes):
    """Values of at most eight shots; with `slopes`, their gradients too. As `trajectory.run_shot`."""
    task = task_at(address)
    method = unpack(pointer(task.method))
    scratch, path = carve_lane(task, method, slot), carve_packs(task, method, slot)
    n, size = task.states, task.rows * scratch.path.stride
    places = integrate_wave(task, method, first, last, scratch, path, slopes)
    total = 0.0
    for number in range(first, last):
        shot, lane = shot_of(task, number), number - first
        shot.value = math.inf
        if shot.status == SUCCESS:
            outputs, cotangents = at(path.outputs, lane * size), at(path.cotangents, lane * size)
            view = Lane(
                scratch.path,
                outputs,
                cotangents,
                scratch.predicted,
                scratch.predicted_slopes,
                scratch.tapes,
                scratch.adjoint,
                scratch.watch,
            )
            shot.value = score(task, shot, view, own_part(task, shot, gp), slopes != 0)
        total += shot.value
    # Where one failed, the value of all is infinite, and nobody wants the gradient.
    if slopes == 0 or not math.isfinite(total):
        return
    pull_back_packs(task, method, path, places, pointer(shot_of(task, first).numbers), gp)
    for number in range(first, last):
        shot, lane = shot_of(task, number), number - first
        target, initial_slopes = own_part(task, shot, gp), pointer(task.initial_slopes + 8 * number * n)
        for m in range(n):
            initial_slopes[m] = path.new[m * SIZE + lane]
        for i in range(task.scalars):
            target[i] += path.gq[i * SIZE + lane]


def pack_addresses(reverse: bool) -> dict[str, int]:
    """Addresses of what works on packs, by field of the task: with gradients, or solutions alone."""
    i = types.int64
    if reverse:
        return {"run_wave": compiled_address(run_wave, i, i, i, i, POINTER, i)}
    return {"integrate_packs": compiled_address(integrate_packs, i, i, i, i, POINTER, POINTER)}
