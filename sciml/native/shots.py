"""The solve of one shot and its reverse as C functions: all kernels call them by the addresses that a task carries."""

from numba import types

from sciml.native.compilation import POINTER, compiled_address, pointer
from sciml.native.lanes import carve_lane
from sciml.native.method import unpack
from sciml.native.records import shot_of, task_at
from sciml.native.segments import integrate_segments, pull_back_segments


def solve_shot(address, number, slot, keep):
    """Integrate a shot from the state at the start of its slot's path; what became of it goes to its record.

    Args:
        address: Of the task.
        number: Of the shot.
        slot: The memory to work in, which receives the outputs.
        keep: 1 if the steps are kept for the reverse, else 0.
    """
    task = task_at(address)
    method, shot = unpack(pointer(task.method)), shot_of(task, number)
    lane, p, u = carve_lane(task, method, slot), pointer(shot.numbers), pointer(shot.inputs)
    start, rows, times = shot.start, shot.rows, pointer(task.times + 8 * shot.first)
    shot.status, shot.steps, shot.reached, shot.tried = integrate_segments(
        task, method, number, start, times, rows, p, u, shot.pieces, lane.path, lane.outputs, keep, lane.watch
    )


def pull_back_shot(address, number, slot, steps, gp):
    """Carry the cotangents of the outputs back through the kept steps of a shot, to the start of `lane.adjoint`.

    Args:
        address: Of the task.
        number: Of the shot.
        slot: The memory that `solve_shot` worked in, with the cotangents.
        steps: How many of the steps; outputs behind them have no cotangents.
        gp: Pointer to the gradient by the parameters, which is added to.
    """
    task = task_at(address)
    method, shot = unpack(pointer(task.method)), shot_of(task, number)
    lane, p, u = carve_lane(task, method, slot), pointer(shot.numbers), pointer(shot.inputs)
    start, rows, times, g = shot.start, shot.rows, pointer(task.times + 8 * shot.first), lane.cotangents
    pull_back_segments(
        task, method, start, times, rows, g, p, u, shot.pieces, lane.path, steps, gp, lane.adjoint, lane.watch
    )


def shot_addresses(reverse: bool) -> dict[str, int]:
    """Addresses of both functions, by field of the task; of the reverse only where a gradient will be wanted."""
    i = types.int64
    found = {"solve_shot": compiled_address(solve_shot, i, i, i, i)}
    return found | {"pull_back_shot": compiled_address(pull_back_shot, i, i, i, i, POINTER)} if reverse else found
