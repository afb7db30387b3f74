"""Trajectories of a compiled model, one or many, and calls of its functions from Python."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numba import int64, prange, types

from sciml.native.compilation import POINTER, at, call, compiled_address, device, kernel, pointer
from sciml.native.explicit import FULL, SUCCESS
from sciml.native.lanes import carve_lane
from sciml.native.method import unpack
from sciml.native.model import Model
from sciml.native.networks import aligned
from sciml.native.packs import SIZE
from sciml.native.records import SHOT, shot_of, task_at
from sciml.native.task import Task, aligned_copy
from sciml.native.threads import thread_count
from sciml.native.watch import carve_watch
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.methods.tsit5 import TSIT5

# More lanes balance better, fewer need less memory.
LANES = 64
# So many trajectories for each thread repay eight side by side.
PACKED = 16


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Solutions of one model from several initial states.

    Attributes:
        states: By trajectory, time and state; NaN behind a failure.
        failed: How many trajectories ended with another status than success.
        shots: What is known of each trajectory: `records.SHOT`.
        ends: State that each reached.
        t: Start of each accepted step of the first trajectory, if steps were kept.
        h: Their lengths.
        occurrences: The events that were met, by trajectory, a row for each: event, trajectory, time, two numbers of the
            reverse pass, and the state before any reset.
    """

    states: np.ndarray
    failed: int
    shots: np.ndarray
    ends: np.ndarray
    t: np.ndarray
    h: np.ndarray
    occurrences: np.ndarray

    @property
    def status(self) -> np.ndarray:
        """Of each trajectory, from `explicit`; 0 is success."""
        return self.shots["status"]

    @property
    def reached(self) -> np.ndarray:
        """Time that each trajectory reached."""
        return self.shots["reached"]

    @property
    def tried(self) -> np.ndarray:
        """Length of the last step that each tried."""
        return self.shots["tried"]

    @property
    def steps(self) -> np.ndarray:
        """Number of accepted steps of each."""
        return self.shots["steps"]


def integrate_lane(address, lane, states, ends, keep):
    """Integrate one lane's contiguous part of the shots from their initial states.

    Args:
        address: Of the task.
        lane: Number of the lane, whose memory has the same number.
        states: `task.rows` states for each shot, the first of them known; receives the others, NaN behind a failure.
        ends: Receives the states that were reached.
        keep: 1 if the steps are kept, else 0.
    """
    task = task_at(address)
    method, n, rows = unpack(pointer(task.method)), task.states, task.rows
    first, last = lane * task.shot_count // task.lanes, (lane + 1) * task.shot_count // task.lanes
    if task.pack_value != 0:
        call(task.integrate_packs, (address, first, last, lane, states, ends))
        return
    scratch, times = carve_lane(task, method, lane), pointer(task.times)
    path, outputs = scratch.path, scratch.outputs
    if task.look != 0:
        carve_watch(task, method, scratch.watch).met[0] = 0.0
    for number in range(first, last):
        shot, out = shot_of(task, number), at(states, number * rows * n)
        for m in range(n):
            path.states[m] = out[m]
        call(task.solve_shot, (address, number, lane, keep))
        direction = 1.0 if times[rows - 1] >= shot.start else -1.0
        for row in range(rows):
            known = direction * (times[row] - shot.reached) <= 0.0
            for m in range(n):
                out[row * n + m] = outputs[row * path.stride + m] if known else math.nan
        end = at(path.states, min(shot.steps, task.capacity - 1) * method.stages * path.stride * keep)
        if shot.status == SUCCESS:
            end = at(outputs, (rows - 1) * path.stride)
        for m in range(n):
            ends[number * n + m] = end[m]


def _lane_address() -> int:
    i = types.int64
    return compiled_address(integrate_lane, i, i, POINTER, POINTER, i)


@device
def begin(task, numbers, times, start):
    """Fill in the scratch of the parameters, and tell every shot where its parameters and times are."""
    task.times = times.ctypes.data
    for row in range(numbers.shape[0]):
        if task.prepare != 0:
            call(task.prepare, (at(numbers, row * numbers.shape[1]),))
    for number in range(task.shot_count):
        shot = shot_of(task, number)
        shot.start, shot.first, shot.rows = start, 0, task.rows
        shot.numbers = numbers.ctypes.data + 8 * numbers.shape[1] * min(number, numbers.shape[0] - 1)


@device
def start_lane(task, lane, states, ends, keep):
    """Integrate a lane; the index of `prange` is unsigned."""
    call(task.run_lane, (task.address, int64(lane), at(states, 0), at(ends, 0), keep))


@device
def failures(task):
    """How many shots have another status than success."""
    count = 0
    for number in range(task.shot_count):
        count += shot_of(task, number).status != SUCCESS
    return count


@kernel(parallel=True)
def integrate_all(address, numbers, times, start, states, ends, keep):
    """Integrate every shot, lanes on threads; how many fail. The body is one call, as in `loss_kernels.evaluate_parallel`."""
    begin(task_at(address), numbers, times, start)
    for lane in prange(task_at(address).lanes):
        start_lane(task_at(address), lane, states, ends, keep)
    return failures(task_at(address))


@kernel
def integrate_one_by_one(address, numbers, times, start, states, ends, keep):
    """Integrate every shot on this thread: starting threads costs more than one trajectory. Returns how many fail."""
    begin(task_at(address), numbers, times, start)
    for lane in range(task_at(address).lanes):
        start_lane(task_at(address), lane, states, ends, keep)
    return failures(task_at(address))


class Integrator:
    """A model and a method, ready to integrate again and again: what does not change is laid out once.

    It owns the memory it works in, so that of two threads one waits for the other.

    Args:
        model: Compiled equations.
        tableau: The method.
        rtol: Relative tolerance.
        atol: Absolute tolerance, of all states or of each.
        max_steps: Most steps, accepted and rejected, of one trajectory.
        first_step: Length of the first step; chosen from the field if 0.
        largest_step: Longest step.
        keep_steps: Whether to return the steps of the first trajectory.
        max_resets: Most resets by events of one trajectory.
    """

    def __init__(
        self,
        model: Model,
        tableau: Tableau = TSIT5,
        rtol: float = 1e-6,
        atol: float | np.ndarray = 1e-6,
        max_steps: int = 100_000,
        first_step: float = 0.0,
        largest_step: float = math.inf,
        keep_steps: bool = False,
        max_resets: int = 1000,
    ) -> None:
        self.model, self.keep, self._tableau = model, int(keep_steps), tableau
        self.task = Task(model, tableau, rtol, atol, max_steps, first_step, largest_step, max_resets)
        self.task.set(run_lane=_lane_address())
        self._address, self._lock = self.task.address, Lock()
        self._capacity, self._hits = 64 if keep_steps else 1, 64
        self._numbers = self._memory(1)
        self._shots = np.zeros(0, SHOT)
        self._layout = (0, 0, -1, 0)

    def __call__(
        self,
        p: np.ndarray,
        y0: np.ndarray,
        times: np.ndarray,
        start: float | None = None,
        inputs: Sequence[np.ndarray] = (),
    ) -> Trajectories:
        """Integrate from each row of `y0` over the same times.

        Args:
            p: Parameters, without scratch; a row per trajectory or one for all.
            y0: Initial states, one per row.
            times: Output times, monotonic.
            start: Initial time; the first output time by default.
            inputs: Tables of the inputs, a row per piece as in `records.SHOT`: one per trajectory, or one for all.

        Returns:
            The trajectories; failures are marked in `status`, none is raised.
        """
        y0 = np.array(y0, dtype=np.float64, ndmin=2)
        p = np.array(p, dtype=np.float64, ndmin=2, copy=None)
        times = np.ascontiguousarray(times, dtype=np.float64)
        with self._lock:
            return self._integrate(p, y0, times, float(times[0] if start is None else start), inputs)

    def _integrate(self, p, y0, times, start: float, inputs) -> Trajectories:
        if len(p) != len(self._numbers):
            self._numbers = self._memory(len(p))
        self._numbers[:, : self.model.parameters] = p
        threads = thread_count() if len(y0) > 1 else 1
        tables = [np.array(table, dtype=np.float64, ndmin=2) for table in inputs]
        # Packs know constants of a trajectory, no pieces of input signals.
        packed = all(len(table) == 1 for table in tables) and self._packed(len(y0), threads)
        width = tables[0].shape[1] if tables else 0
        layout = (len(y0), len(times), width if packed else -1, threads)
        if layout != self._layout:
            self._layout = layout
            self._lay_out(*layout)
        self._set_inputs(tables)
        states, ends = np.empty((len(y0), len(times), self.model.states)), np.empty(y0.shape)
        run = integrate_all if self._lanes > 1 and threads > 1 else integrate_one_by_one
        arguments = (self._numbers, times, start, states, ends)
        while True:
            states[:, 0] = y0
            failed = run(self._address, *arguments, self.keep)
            if not failed or not (self._shots["status"] == FULL).any():
                break
            self._grow()
        t, h = self._steps() if self.keep else (_NOTHING[0], _NOTHING[0])
        met = self.task.occurrences() if self.model.events else _NOTHING
        return Trajectories(states, failed, self._shots.copy(), ends, t, h, met)

    def _grow(self) -> None:
        """Twice as much memory for steps that are kept, and for events."""
        self._capacity *= 2 if self.keep else 1
        self._hits *= 2
        self.task.allocate(self._capacity)
        self.task.allocate_watches(self._hits)

    def _set_inputs(self, tables: list[np.ndarray]) -> None:
        """Tell every shot where the pieces of its inputs are."""
        if not tables:
            return
        lengths = np.array([len(table) for table in tables])
        table = np.concatenate(tables)
        starts = table.ctypes.data + 8 * table.shape[1] * (np.cumsum(lengths) - lengths)
        self._table = table  # its memory is what the records point to
        self._shots["inputs"], self._shots["pieces"] = starts, lengths
        self.task.set(width=table.shape[1])

    def _memory(self, rows: int) -> np.ndarray:
        """Parameters and their scratch, a row per set; on a cache line, as the copies of the weights want it."""
        return aligned_copy(np.zeros((rows, aligned(self.model.storage))))

    def _packed(self, count: int, threads: int) -> bool:
        """Whether eight trajectories run side by side: enough of them, an explicit method, the same networks for all."""
        tableau, packed = self._tableau, self.model.packed
        if packed is None or self.model.events or self.keep or tableau.gamma > 0.0 or count < PACKED * threads:
            return False
        weights = self._numbers[:, packed.scalars : self.model.parameters]
        return bool((weights == weights[0]).all())

    def _lay_out(self, count: int, rows: int, inputs: int, threads: int) -> None:
        """Memory for that many trajectories, output times and, of packs, inputs (-1: no packs)."""
        self._shots = np.zeros(count, SHOT)
        lanes = min(LANES, 4 * threads if threads > 1 else 1, count // (2 * SIZE)) if inputs >= 0 else LANES
        self._lanes = 1 if self.keep else min(count, lanes)
        self.task.refer("shots", self._shots)
        self.task.set(rows=rows, lanes=self._lanes, slots=self._lanes, shot_count=count)
        self.task.allocate(self._capacity)
        self.task.allocate_watches(self._hits)
        self.task.set(pack_value=0)
        if inputs >= 0:
            self.task.allocate_packs(inputs, capacity=1, reverse=False)

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Start and length of the steps of the first trajectory."""
        count = int(self._shots["steps"][0])
        lane = self.task.arrays["lane_floats"][0]
        return lane[:count].copy(), lane[aligned(self._capacity) :][:count].copy()


_NOTHING = np.zeros((1, 0))


def solve(
    model: Model, p: np.ndarray, y0: np.ndarray, times: np.ndarray, *, start=None, inputs=(), **settings
) -> Trajectories:
    """Integrate a model once; arguments as of `Integrator`."""
    return Integrator(model, **settings)(p, y0, times, start, inputs)


def parameters_of(model: Model, p: np.ndarray) -> np.ndarray:
    """Parameters followed by the scratch that `prepare` has filled."""
    memory = np.zeros(model.storage)
    memory[: model.parameters] = p
    if model.address("prepare"):
        _prepare(model.address("prepare"), memory)
    return memory


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
