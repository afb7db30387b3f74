"""What a solve returns: the numbers over time, how it went, and the way to evaluate it anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError
from sciml.solvers.occurrences import Occurrences
from sciml.solvers.tolerance import host


class Status(IntEnum):
    """How the solve of one trajectory ended.

    `UNSOLVED` are the equations of an implicit step of fixed length; an end at a terminal `EVENT` is no failure.
    """

    SUCCESS = 0
    MAX_STEPS = 1
    STEP_UNDERFLOW = 2
    NON_FINITE = 3
    UNSOLVED = 4
    EVENT = 5
    CHATTERING = 6
    MAX_RESETS = 7


@dataclass(frozen=True)
class Stats:
    """Work that a solve took.

    Args:
        accepted: Steps accepted, one count per trajectory.
        rejected: Steps rejected, one count per trajectory.
        evaluations: Calls of the field while stepping, each for the whole batch; those for gradients not counted.
    """

    accepted: tuple[int, ...]
    rejected: tuple[int, ...]
    evaluations: int


@dataclass(frozen=True, eq=False)
class Failure:
    """Where a trajectory ended before its time.

    Args:
        trajectory: Index in the batch; 0 when there is no batch.
        status: Why it ended.
        time: The last time reached.
        state: The state there.
        component: The state that left the finite numbers, or else the one that changes fastest in units of its
            tolerance: its name, or its index where the field has no names.
        stiffness: Length of the step that was to be taken times the spectral radius of the Jacobian; an explicit
            method that is held back by stiffness shows a number between about 1 and 5. NaN if it cannot be had.
        cause: The learned output or term that left the finite numbers, where a System is behind the field.
    """

    trajectory: int
    status: Status
    time: float
    state: Float[Tensor, "*state"]
    component: str = ""
    stiffness: float = float("nan")
    cause: str = ""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of an initial value problem at the requested times.

    Args:
        ts: The requested times; NaN pads a ragged grid.
        ys: The states there; NaN after a failure, after a terminal event and at padded times.
        status: One per trajectory; of length 1 when there is no batch.
        stats: Counts of steps and evaluations.
        failures: Where and why trajectories ended early; empty when all is well.
        interpolate: Dense output, present when `solve` was called with `dense=True`.
        events: The events met, present when `solve` was called with `events`.
    """

    ts: Float[Tensor, "*batch time"]
    ys: Float[Tensor, "..."]
    status: tuple[Status, ...]
    stats: Stats
    failures: tuple[Failure, ...] = ()
    interpolate: Callable[[np.ndarray], Tensor] | None = None
    events: Occurrences | None = None

    @property
    def successful(self) -> bool:
        """Whether every trajectory reached its last time or a terminal event."""
        return not self.failures

    def evaluate(self, t: Float[Tensor, "*batch time"] | float) -> Float[Tensor, "..."]:
        """States at any time that the solve has covered.

        Args:
            t: One time, or `(time,)` for all trajectories, or `(batch, time)`.

        Returns:
            The states; NaN outside the covered times. For one time, the axis of time is dropped.

        Raises:
            DataError: The solution holds no dense output.

        Example:
            >>> from sciml.solvers import solve
            >>> grid = torch.tensor([0.0, 1.0], dtype=torch.float64)
            >>> y0 = torch.ones(1, dtype=torch.float64)
            >>> solution = solve(lambda t, y: -y, y0, grid, dense=True)
            >>> round(float(solution.evaluate(0.5)), 4)
            0.6065
        """
        if self.interpolate is None:
            raise DataError("the solution holds no dense output. Solve again with `dense=True`.")
        times = host(torch.as_tensor(t, dtype=torch.float64))
        ys = self.interpolate(np.atleast_1d(times))
        return ys.squeeze(0 if self.ys.ndim == 2 else 1) if times.ndim == 0 else ys
