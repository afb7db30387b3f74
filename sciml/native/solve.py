"""Trajectories of a compiled model, one or many, and calls of its functions from Python."""

import math
from dataclasses import dataclass

import numpy as np
from numba import prange

from sciml.native.compilation import at, call, device, kernel, pointer
from sciml.native.explicit import FULL, integrate
from sciml.native.method import unpack
from sciml.native.model import Model
from sciml.native.networks import aligned
from sciml.native.records import SHOT, shot_of, task_at
from sciml.native.task import Task
from sciml.native.trajectory import carve_lane
from sciml.solvers.tableaus import TSIT5, Tableau


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Solutions of one model from several initial states.

    Attributes:
        states: By trajectory, time and state; NaN behind a failure.
        status: Of each trajectory, from `explicit`; 0 is success.
        reached: Time that each trajectory reached.
        steps: Number of accepted steps of each.
        t: Start of each accepted step of the first trajectory, if steps were kept.
        h: Their lengths.
    """

    states: np.ndarray
    status: np.ndarray
    reached: np.ndarray
    steps: np.ndarray
    t: np.ndarray
    h: np.ndarray


@device
def integrate_lane(task, states, lane, keep):
    """Integrate one lane's contiguous part of the shots from their initial states."""
    method, n = unpack(pointer(task.method)), task.states
    scratch = carve_lane(task, method, lane)
    path, outputs, times = scratch.path, scratch.outputs, pointer(task.times)
    for number in range(lane * task.shot_count // task.lanes, (lane + 1) * task.shot_count // task.lanes):
        shot = shot_of(task, number)
        for m in range(n):
            path.states[m] = states[number, 0, m]
        p, u, start = pointer(task.numbers), pointer(shot.inputs), shot.start
        status, steps, reached = integrate(task, method, start, times, task.rows, p, u, path, outputs, keep)
        shot.status, shot.steps, shot.reached = status, steps, reached
        direction = 1.0 if times[task.rows - 1] >= start else -1.0
        for row in range(task.rows):
            known = direction * (times[row] - reached) <= 0.0
            for m in range(n):
                states[number, row, m] = outputs[row * path.stride + m] if known else math.nan


@kernel(parallel=True)
def integrate_all(address, states, keep):
    """Integrate every shot; lanes run on threads. The body is one call, as in `loss_kernels.evaluate_parallel`."""
    for lane in prange(task_at(address).lanes):
        integrate_lane(task_at(address), states, lane, keep)


@kernel
def integrate_one_by_one(address, states, keep):
    """Integrate every shot on this thread: starting threads costs more than one trajectory."""
    for lane in range(task_at(address).lanes):
        integrate_lane(task_at(address), states, lane, keep)


def parameters_of(model: Model, p: np.ndarray) -> np.ndarray:
    """Parameters followed by the scratch that `prepare` has filled."""
    memory = np.zeros(model.storage)
    memory[: model.parameters] = p
    if model.address("prepare"):
        _prepare(model.address("prepare"), memory)
    return memory


def solve(
    model: Model,
    p: np.ndarray,
    y0: np.ndarray,
    times: np.ndarray,
    *,
    start: float | None = None,
    inputs: np.ndarray | None = None,
    tableau: Tableau = TSIT5,
    rtol: float = 1e-6,
    atol: float | np.ndarray = 1e-6,
    max_steps: int = 100_000,
    keep_steps: bool = False,
    first_step: float = 0.0,
    largest_step: float = np.inf,
) -> Trajectories:
    """Integrate a model from each row of `y0` over the same times.

    Args:
        model: Compiled equations.
        p: Parameters, without scratch.
        y0: Initial states, one per row.
        times: Output times, monotonic.
        start: Initial time; the first output time by default.
        inputs: Inputs, a row per trajectory or one for all.
        tableau: The method.
        rtol: Relative tolerance.
        atol: Absolute tolerance, of all states or of each.
        max_steps: Most steps, accepted and rejected, of one trajectory.
        keep_steps: Whether to return the steps of the first trajectory.
        first_step: Length of the first step; chosen from the field if 0.
        largest_step: Longest step.

    Returns:
        The trajectories; failures are marked in `status`, none is raised.
    """
    y0 = np.atleast_2d(np.asarray(y0, dtype=np.float64))
    task = Task(model, tableau, rtol, atol, max_steps, first_step, largest_step)
    task.attach("numbers", parameters_of(model, p))
    task.attach("times", times)
    lanes = 1 if keep_steps else min(len(y0), 64)
    task.set(rows=len(times), lanes=lanes)
    inputs = np.zeros(0) if inputs is None else np.asarray(inputs, dtype=np.float64)
    rows = np.ascontiguousarray(np.broadcast_to(inputs, (len(y0), inputs.shape[-1])))
    shots = np.zeros(len(y0), SHOT)
    shots["start"] = times[0] if start is None else start
    shots["inputs"] = rows.ctypes.data + 8 * rows.shape[1] * np.arange(len(y0))
    task.refer("shots", shots)
    task.set(shot_count=len(shots))
    states = np.empty((len(y0), len(times), model.states))
    capacity = 64 if keep_steps else 1
    while True:
        task.allocate(capacity)
        states[:, 0] = y0
        (integrate_all if lanes > 1 else integrate_one_by_one)(task.address, states, int(keep_steps))
        if not (shots["status"] == FULL).any():
            break
        capacity *= 2
    count = int(shots["steps"][0]) if keep_steps else 0
    lane = task.arrays["lane_floats"][0]
    h = lane[aligned(capacity) :][:count].copy()
    return Trajectories(states, shots["status"], shots["reached"], shots["steps"], lane[:count].copy(), h)


@kernel
def _prepare(address, p):
    call(address, (at(p, 0),))


@kernel
def _value(address, t, y, p, u, tape, out):
    for k in range(t.size):
        arguments = (t[k], at(y, k * y.shape[1]), at(p, 0), at(u, 0), at(tape, 0), at(out, k * out.shape[1]))
        call(address, arguments)


def evaluate(model: Model, role: str, t: np.ndarray, y: np.ndarray, p: np.ndarray, inputs=None) -> np.ndarray:
    """Values of one of the model's routines (`field`, `observables`, `initial`) at several points.

    Args:
        model: Compiled equations.
        role: Which routine.
        t: Times.
        y: States (or free initial values), a row per time.
        p: Parameters, without scratch.
        inputs: Inputs of all points.
    """
    t, y = np.atleast_1d(np.asarray(t, dtype=np.float64)), np.atleast_2d(np.asarray(y, dtype=np.float64)).copy()
    out = np.zeros((len(t), model.outputs.get(role, model.states)))
    u = np.zeros(1) if inputs is None else np.array(inputs, dtype=np.float64)
    tape = np.zeros(model.tapes.get(role, 0) + 1)
    _value(model.address(f"{role}_value"), t, y, parameters_of(model, p), u, tape, out)
    return out
