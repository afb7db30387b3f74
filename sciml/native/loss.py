r"""The whole loss of a fit as one native call: coordinates in, value and exact gradient out.

.. math:: L(\theta) = -\sum \log p(\text{data} \mid y(\theta)) + \tfrac12 \sum_i \pi_i (\theta_i - \mu_i)^2
                      + \text{continuity}
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numba
import numpy as np

from sciml.native import loss_kernels
from sciml.native.explicit import FULL
from sciml.native.likelihood import CODES, prepare_data
from sciml.native.linearize import linearize
from sciml.native.model import Model
from sciml.native.networks import aligned
from sciml.native.packs import SIZE
from sciml.native.records import COLUMN, SHOT
from sciml.native.task import Task
from sciml.native.threads import thread_count
from sciml.native.transforms import runs
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.methods.tsit5 import TSIT5

# More lanes balance better, fewer need less memory; a fixed number keeps results the same on every machine.
LANES = 16
# So many trajectories repay eight side by side, and the compilation of their code.
PACKED = 16


@dataclass(frozen=True, eq=False)
class Shot:
    """One trajectory and its data.

    Args:
        times: Times of the rows of `data`, ascending.
        data: Measured values, a row per time and a column per measured column; NaN is a gap.
        start: Initial time, at or before the first of `times`.
        free: Where its free initial values start among all initial values; shots may share them.
        inputs: What the generated code reads as `u`: constants, or a row for each piece of input signals (`records.SHOT`).
        next: Number of the shot that continues this one, or -1.
        levels: What multiplies the scale of each value of `data`; None for ones, in all shots alike.
        block: Which set of parameters is its own.
    """

    times: np.ndarray
    data: np.ndarray
    start: float
    free: int
    inputs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    next: int = -1
    levels: np.ndarray | None = None
    block: int = 0


@dataclass(frozen=True)
class Column:
    """How a measured column is distributed.

    Args:
        likelihood: One of `likelihood.CODES`.
        mean: Which observable is its mean.
        scale: Which observable is its scale; -1 for none.
        constant: Degrees of freedom of Student's t.
    """

    likelihood: str
    mean: int
    scale: int = -1
    constant: float = 0.0


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What an optimizer moves: coordinate i stands for number `places[i]`, x = a + b g(theta).

    Args:
        places: Parameters come first (as in `p`; those of each set in turn), then the initial values of all shots.
        codes: Transform of each, from `transforms`.
        a: Shift of each.
        b: Scale of each.
        mean: Center of the Gaussian prior on theta.
        precision: Inverse variance of that prior; 0 is no prior.
    """

    places: np.ndarray
    codes: np.ndarray
    a: np.ndarray
    b: np.ndarray
    mean: np.ndarray
    precision: np.ndarray


class Loss:
    """Value and gradient of a fit as a function of the coordinates.

    Calling it is not safe from two threads at once: it owns the memory it works in. Copies in other processes
    (it can be pickled) find the compiled code in the cache.

    Args:
        model: Compiled equations.
        shots: Trajectories with their data.
        columns: Distribution of the measured columns.
        coordinates: What is free.
        numbers: Values of all parameters (of each set in turn), then of all initial values; those that are not free stay
            as they are.
        tableau: The method.
        rtol: Relative tolerance.
        atol: Absolute tolerance, of all states or of each.
        continuity: Weight of the gap between consecutive shots, for each state.
        logarithmic: For each state, whether that gap is one of logarithms.
        max_steps: Most steps, accepted and rejected, of one trajectory.
        first_step: Length of the first step; chosen from the field if 0.
        largest_step: Longest step.
        parallel: Whether to spread the trajectories over numba's threads.
        individual: Which parameters differ between the sets; in all others the first set counts.
    """

    def __init__(
        self,
        model: Model,
        shots: Sequence[Shot],
        columns: Sequence[Column],
        coordinates: Coordinates,
        numbers: np.ndarray,
        *,
        tableau: Tableau = TSIT5,
        rtol: float = 1e-6,
        atol: float | np.ndarray = 1e-6,
        continuity: np.ndarray | float = 0.0,
        logarithmic: np.ndarray | bool = False,
        max_steps: int = 10_000,
        first_step: float = 0.0,
        largest_step: float = math.inf,
        parallel: bool = False,
        individual: Sequence[int] = (),
    ) -> None:
        self._arguments = (
            (model, tuple(shots), tuple(columns), coordinates, numbers),
            {"tableau": tableau, "rtol": rtol, "atol": atol, "continuity": continuity, "logarithmic": logarithmic}
            | {"max_steps": max_steps, "first_step": first_step, "largest_step": largest_step, "parallel": parallel}
            | {"individual": individual},
        )
        self.model, n, count = model, model.states, len(shots)
        self._parallel = parallel
        self.task = Task(model, tableau, rtol, atol, max_steps, first_step, largest_step, reverse=True)
        self.task.set(**loss_kernels.lane_addresses())
        gaps = np.stack([np.broadcast_to(x, (n,)) for x in (continuity, logarithmic)])
        self.task.attach("continuity", gaps)
        for name in ("initial", "initial_slopes", "gap_slopes"):
            self.task.attach(name, np.zeros((count, n)))
        self.task.attach("initial_tapes", np.zeros((count, model.tapes.get("initial", 0))))
        self._sets, self._block = 1 + max(shot.block for shot in shots), aligned(model.storage)
        self.task.set(sets=self._sets, block=self._block)
        shared = np.ones(model.parameters)
        shared[list(individual)] = 0.0
        self.task.attach("shared", shared)
        self._attach_coordinates(coordinates, np.asarray(numbers, dtype=np.float64))
        self._attach_shots(shots, columns)
        self._packed = self._takes_packs(tableau, individual)
        parts = -(-count // SIZE) if self._packed else count
        lanes, total = min(parts, LANES) if parallel else 1, self.task.arrays["numbers"].size
        self.task.attach("slopes", np.zeros((lanes, total)))
        # Threads that keep their memory find it in their caches.
        threads = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
        self.task.set(slopes_size=total, lanes=lanes, slots=min(lanes, threads))
        self.task.allocate(64)
        self.task.allocate_watches(64)
        if self._packed:
            self.task.allocate_packs(self._inputs.shape[1], capacity=64, reverse=True)
        self._address = self.task.address

    def __reduce__(self):
        positional, named = self._arguments
        return _rebuild, (positional, named)

    def _takes_packs(self, tableau: Tableau, individual: Sequence[int]) -> bool:
        """Whether eight trajectories run side by side: enough, an explicit method, one network for all, no input signals."""
        packed = self.model.packed
        if packed is None or self.model.events or not packed.reverse or tableau.gamma > 0.0 or len(self.shots) < PACKED:
            return False
        return bool((self.shots["pieces"] == 1).all()) and max(individual, default=-1) < packed.scalars

    def _attach_coordinates(self, coordinates: Coordinates, numbers: np.ndarray) -> None:
        size, sets = self.model.parameters, self._sets
        blocks = np.zeros((sets, self._block))
        blocks[:, :size] = numbers[: sets * size].reshape(sets, size)
        self.task.attach("numbers", np.concatenate([blocks.ravel(), numbers[sets * size :]]))
        places = np.asarray(coordinates.places, dtype=np.int64)
        scratch = self._block - size
        places = places + scratch * np.minimum(places // size if size else sets, sets)
        # Of every coordinate: where its number lies, and how it becomes that number.
        self.places, self.codes = places, np.asarray(coordinates.codes, dtype=np.int64)
        self.shifts = np.asarray(coordinates.a, dtype=np.float64)
        self.scales = np.asarray(coordinates.b, dtype=np.float64)
        table = runs(self.codes, places)
        self.task.attach("transforms", table, np.int64)
        self.task.attach("affine", np.stack([coordinates.a, coordinates.b]))
        self.task.attach("priors", np.stack([coordinates.mean, coordinates.precision]))
        self.task.set(coordinates=len(places), runs=len(table))
        self.size = len(places)
        self.task.attach("theta", np.zeros(self.size))
        self._theta = self.task.arrays["theta"]

    def _attach_shots(self, shots: Sequence[Shot], columns: Sequence[Column]) -> None:
        self.columns, self.shots = np.zeros(len(columns), COLUMN), np.zeros(len(shots), SHOT)
        for record, column in zip(self.columns, columns):
            record["code"] = CODES[column.likelihood]
            record["mean"], record["scale"], record["constant"] = column.mean, column.scale, column.constant
        data = np.concatenate([np.asarray(shot.data, dtype=np.float64) for shot in shots])
        prepared = [prepare_data(CODES[column.likelihood], data[:, i]) for i, column in enumerate(columns)]
        self.task.set(constant=sum(constant for _, constant in prepared))
        self.task.attach("data", np.stack([values for values, _ in prepared], axis=1))
        if shots[0].levels is not None:
            self.task.attach("levels", np.concatenate([shot.levels for shot in shots]))
        self.task.attach("times", np.concatenate([shot.times for shot in shots]))
        first, inputs = 0, 0
        tables = [np.array(shot.inputs, dtype=np.float64, ndmin=2) for shot in shots]
        self._inputs = np.concatenate(tables)
        width = self._inputs.shape[1]
        for record, shot, table in zip(self.shots, shots, tables):
            record["first"], record["rows"], record["start"] = first, len(shot.times), shot.start
            record["free"], record["next"] = self._sets * self._block + shot.free, shot.next
            record["numbers"] = self.task.arrays["numbers"].ctypes.data + 8 * self._block * shot.block
            record["inputs"], record["pieces"] = self._inputs.ctypes.data + 8 * width * inputs, len(table)
            first, inputs = first + len(shot.times), inputs + len(table)
        self.task.refer("shots", self.shots)
        self.task.refer("columns", self.columns)
        self.task.set(rows=max(len(shot.times) for shot in shots), shot_count=len(shots), column_count=len(columns))
        self.task.set(width=width)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; infinity and zeros if a trajectory failed, for which see `shots`.

        Args:
            theta: The coordinates, a contiguous float64 array.
        """
        gradient = np.empty(self.size)
        return self._evaluate(theta, gradient), gradient

    def set_continuity(self, weights: np.ndarray | float) -> None:
        """Change the weights of the gaps between shots, in place."""
        self.task.arrays["continuity"][0] = weights

    def value(self, theta: np.ndarray) -> float:
        """Value alone, without keeping the steps."""
        return self._evaluate(theta, _NOTHING)

    def linearize(self, theta: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Predictions, gaps, and their Jacobian by the coordinates; None if a trajectory failed.

        Args:
            theta: The coordinates.
            wanted: For each row of data of all shots and each observable, whether its derivatives are wanted.

        Returns:
            The observables of each row; the gaps (joint, state); the Jacobian of the wanted observables, row after row,
            and then of the gaps.
        """
        joints = int((self.shots["next"] >= 0).sum())
        count = int(wanted.sum()) + joints * self.model.states
        predicted, gaps = np.zeros(wanted.shape), np.zeros((joints, self.model.states))
        jacobian = np.zeros((count, self.size))
        self._theta[:] = theta
        flags = np.ascontiguousarray(wanted, dtype=np.int64)
        while not linearize(self._address, flags, predicted, jacobian, gaps):
            if not (self.shots["status"] == FULL).any():
                return None
            self.task.allocate(2 * int(self.task.record["capacity"][0]))
        return predicted, gaps, jacobian

    def _evaluate(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        if theta.shape != self._theta.shape:
            raise ValueError(f"`theta` has shape {theta.shape}; expected {self._theta.shape}.")
        # On one thread the other kernel gives the same numbers, and need not be compiled, too.
        threads = self._parallel and thread_count() > 1
        return self._run(loss_kernels.evaluate_parallel if threads else loss_kernels.evaluate, theta, gradient)

    def on_one_thread(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """Value, and the gradient into its array, whatever the number of trajectories."""
        return self._run(loss_kernels.evaluate, theta, gradient)

    def _run(self, kernel: Callable, theta: np.ndarray, gradient: np.ndarray) -> float:
        # One array of our own: the kernel is compiled for exactly one type of argument.
        self._theta[:] = theta
        while True:
            value = kernel(self._address, gradient)
            if value != math.inf or not (self.shots["status"] == FULL).any():
                return value
            self._grow()

    def _grow(self) -> None:
        """Memory for twice as many steps and events."""
        if self._packed:
            capacity = 2 * int(self.task.record["pack_capacity"][0])
            self.task.allocate_packs(self._inputs.shape[1], capacity, reverse=True)
        else:
            self.task.allocate(2 * int(self.task.record["capacity"][0]))
            self.task.allocate_watches(2 * int(self.task.record["hits"][0]))


_NOTHING = np.zeros(0)


def _rebuild(positional, named) -> Loss:
    return Loss(*positional, **named)
