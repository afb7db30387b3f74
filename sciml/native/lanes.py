"""The memory in which one thread works through trajectories, one after another."""

from typing import Any, NamedTuple

from sciml.native.compilation import device, integer_pointer, pointer
from sciml.native.explicit import Path, after, carve_path, path_size
from sciml.native.networks import aligned


class Lane(NamedTuple):
    """Scratch of the shots that one thread works through, one after the other, as pointers."""

    path: Path
    outputs: Any
    cotangents: Any
    predicted: Any
    predicted_slopes: Any
    tapes: Any
    adjoint: Any
    watch: Any


def lane_size(
    states: int, stages: int, field_tape: int, capacity: int, rows: int, outputs: int, tape: int, work: int
) -> int:
    """How many floats a lane needs."""
    stride = -(-states // 4) * 4
    parts = (rows * stride, rows * stride, outputs, outputs, rows * tape, (stages + 3) * stride)
    return path_size(states, stages, field_tape, capacity, work) + sum(map(aligned, parts))


@device
def carve_lane(task, method, lane):
    """The scratch of a lane."""
    reached = integer_pointer(task.lane_steps + 8 * lane * task.capacity)
    memory = pointer(task.lane_floats + 8 * lane * task.lane_floats_size)
    sizes = task.states, method.stages, task.field_tape, task.capacity, task.work_size
    path, outputs = carve_path(reached, memory, *sizes)
    cotangents = after(outputs, task.rows * path.stride)
    predicted = after(cotangents, task.rows * path.stride)
    predicted_slopes = after(predicted, task.observables_outputs)
    tapes = after(predicted_slopes, task.observables_outputs)
    adjoint = after(tapes, task.rows * task.observables_tape)
    watch = pointer(task.watches + 8 * lane * task.watch_size)
    return Lane(path, outputs, cotangents, predicted, predicted_slopes, tapes, adjoint, watch)
