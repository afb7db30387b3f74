"""Scoring for a `Loss`: the memory that the kernels of `scoring` work in, and what Python asks of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciml.native import scoring
from sciml.native.explicit import FULL, SUCCESS
from sciml.native.likelihood import LOGNORMAL, NORMAL
from sciml.native.loss import Loss
from sciml.native.sensitivities import sweep_size
from sciml.native.transforms import inverse


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a descent ended.

    Attributes:
        theta: All coordinates, profiled noise levels filled in.
        value: Negative log-posterior there; infinite where the equations could not be solved at the start.
        steps: Steps taken.
        converged: Whether it stopped because nothing more was to be gained.
    """

    theta: np.ndarray
    value: float
    steps: int
    converged: bool


@dataclass(frozen=True, eq=False)
class Priors:
    """Gaussian priors of all coordinates, on the numbers that they stand for.

    Attributes:
        kind: `scoring.NO_PRIOR`, `OF_VALUE` or `OF_LOGARITHM` for each coordinate.
        center: Mean of the number or of its logarithm.
        precision: Inverse variance.
    """

    kind: np.ndarray
    center: np.ndarray
    precision: np.ndarray


class Scorer:
    """Descents and weighted derivatives of a fit by some of its coordinates, the others held.

    It works in the memory of the loss, so that only one of both may be called at a time. Methods are explicit or
    diagonally implicit ones.

    Args:
        loss: What is to be minimized; its own priors must be left out of it.
        priors: Of all coordinates.
        noise: For each measured column, the coordinate of its noise level if that is to be profiled, else -1.
        limits: Largest absolute value that a prediction (observables, in their order) may take.
    """

    def __init__(self, loss: Loss, priors: Priors, noise: Sequence[int], limits: np.ndarray) -> None:
        if loss.task.linear:
            raise ValueError(
                "a linearly implicit method has no forward sensitivities here; a diagonally implicit one has."
            )
        self.loss, self._priors, self.noise = loss, np.stack([priors.kind, priors.center, priors.precision], 1), noise
        codes = loss.columns["code"]
        assert all(k < 0 or codes[i] in (NORMAL, LOGNORMAL) for i, k in enumerate(noise)), (
            "only these have a closed form"
        )
        self._profiled = np.array([-1 if k < 0 else loss.places[k] for k in noise], dtype=np.int64)
        record = loss.task.record[0]
        self._rows = len(loss.task.arrays["times"])
        self._width = int(record["observables_outputs"])
        self._limits = np.ascontiguousarray(np.broadcast_to(limits, (self._width,)), dtype=np.float64)
        self._predicted = np.zeros((self._rows, self._width))
        self._levels = np.zeros(len(self._profiled))
        self._columns = -1

    def descend(self, theta: np.ndarray, moving: np.ndarray, steps: int = 40, tolerance: float = 1e-3) -> Descent:
        """Scoring steps from `theta` over the moving coordinates.

        Args:
            theta: All coordinates.
            moving: Which of them move; profiled noise levels are not among them.
            steps: Most steps.
            tolerance: It stops after two decreases of twice the negative log-posterior that are smaller.
        """
        theta, moving = np.array(theta, dtype=np.float64), np.asarray(moving, dtype=np.int64)
        self._lay_out(len(moving))
        outcome, taken = np.zeros(3, dtype=np.int64), 0
        self._levels[:] = 0.0
        while True:
            value = scoring.descend(
                self.loss.task.address, theta, moving, *self._of(moving), self._priors[moving], self._profiled,
                self._limits, self._predicted, self._slopes, self._states, self._memory, self._matrix, self._factors,
                self._vectors, self._levels, steps - taken, tolerance, outcome,
            )  # fmt: skip
            taken += int(outcome[1])
            if outcome[0] != FULL:
                break
            self._enlarge()
        self._fill_noise(theta)
        return Descent(theta, value, taken, bool(outcome[2]))

    def tangents(self, theta: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Weighted derivatives (row, coordinate) of the measurements, and what is left of them to explain.

        Rows are the means of all measurements, then their scales. `rows.T @ rest` is minus the gradient of the negative
        log-likelihood, `rows.T @ rows` its expected second derivative. None where the equations cannot be solved.
        """
        theta, moving = np.array(theta, dtype=np.float64), np.asarray(moving, dtype=np.int64)
        self._lay_out(len(moving))
        count = 2 * self._rows * len(self.loss.columns)
        rows, rest = np.empty((count, len(moving))), np.empty(count)
        while True:
            status = scoring.tangents(
                self.loss.task.address, theta, moving, *self._of(moving), self._profiled, self._limits,
                self._predicted, self._slopes, self._states, self._memory, rows, rest,
            )  # fmt: skip
            if status != FULL:
                return (rows, rest) if status == SUCCESS else None
            self._enlarge()

    def _of(self, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.loss.places[moving], self.loss.codes[moving], self.loss.scales[moving]

    def _fill_noise(self, theta: np.ndarray) -> None:
        for level, k in zip(self._levels, self.noise):
            if k >= 0 and level > 0.0:
                code, a, b = self.loss.codes[k], self.loss.shifts[k], self.loss.scales[k]
                theta[k] = inverse(code, a, b, level)

    def _enlarge(self) -> None:
        self.loss.task.allocate(2 * int(self.loss.task.record["capacity"][0]))

    def _lay_out(self, columns: int) -> None:
        """Scratch for that many moving coordinates."""
        if columns == self._columns:
            return
        record, model = self.loss.task.record[0], self.loss.model
        states, rows = model.states, int(record["rows"])
        size = sweep_size(states, model.parameters, model.free, self._width, self.loss.task.stages, columns)
        self._columns = columns
        self._memory = np.zeros(size)
        self._states = np.zeros(rows * states * columns)
        self._slopes = np.zeros((self._rows, self._width, columns))
        self._matrix, self._factors = np.zeros((columns, columns)), np.zeros((columns, columns))
        self._vectors = np.zeros((3, max(self.loss.size, columns)))
