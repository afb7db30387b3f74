"""Looks for events in the steps that a solver has accepted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.errors import ModelError
from sciml.event import Event
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.record import Record
from sciml.solvers.roots import bracketed_roots

# Fractions of a step at which conditions are looked at: two changes of sign between them go unseen.
SAMPLES = np.array([0.25, 0.5, 0.75, 1.0])
# Events are located to this fraction of their step, or to what the clock resolves.
LOCATED = 1e-13
CLOCK = 4 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Hit:
    """An event of one trajectory.

    Args:
        trajectory: Its index in the batch.
        event: Index of the event in the list.
        time: When; the condition has its old sign there still, or is zero.
        size: Largest value of the condition nearby, as a scale for zero.
    """

    trajectory: int
    event: int
    time: float
    size: float


def clock(t: Float[np.ndarray, " batch"], like: Tensor) -> Tensor:
    """Times as fields and conditions see them: no dimension for one trajectory, else they broadcast over `like`."""
    times = torch.as_tensor(t, dtype=like.dtype.to_real(), device=like.device)
    return times.reshape(()) if like.ndim == 1 else times.view(-1, *(1 for _ in like.shape[1:]))


def condition_values(condition: Callable, t: Tensor, y: Tensor) -> Float[Tensor, " batch"]:
    """The condition, one number per trajectory.

    Raises:
        ModelError: It returns something else.
    """
    value = condition(t, y)
    expected = () if y.ndim == 1 else (len(y),)
    if not isinstance(value, Tensor) or tuple(value.shape) not in (expected, tuple(t.shape)):
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a `{type(value).__name__}`"
        raise ModelError(
            f"the condition of an `Event` returns {found}. Expected a tensor of shape {expected}, one number per "
            "trajectory, such as `lambda t, y: y[..., 0]`."
        )
    return value.reshape(-1)


class Watch:
    """Finds the events of a stretch of all trajectories; what it has found is in `hits`.

    Args:
        events: What to look for.
        like: A tensor of the shape and kind of the state.
        sides: Sign of each condition before the first step; 0 where it has none.
    """

    def __init__(self, events: Sequence[Event], like: Tensor, sides: Int[np.ndarray, "event batch"]) -> None:
        self.events, self.like, self.sides = events, like, sides.copy()
        self.hits: list[Hit] = []

    def look(self, tableau: Tableau, t, end, h, y: Tensor, k: list[Tensor]) -> Bool[np.ndarray, " batch"]:
        """Look into one step.

        Args:
            tableau: The method's coefficients.
            t: Times at the beginning, numbers or arrays `(batch,)`.
            end: Times at the end.
            h: Lengths; 0 for a trajectory that did not move.
            y: States at the beginning.
            k: Stages.

        Returns:
            Which trajectories have met an event that stops their flow.
        """
        t, end, h = np.atleast_1d(t), np.atleast_1d(end), np.atleast_1d(h)
        step = Record(tableau, t)
        step.append(t, end, h, y.detach(), [stage.detach() for stage in k])

        def values(e: int, theta: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
            times = np.where(theta == 1.0, end, t + theta * h)
            states = step.interpolate(times[:, None])[:, 0].view(self.like.shape)
            return self._evaluate(e, times, states)

        grid = np.where(SAMPLES == 1.0, end[:, None], t[:, None] + SAMPLES * h[:, None])
        with torch.no_grad():
            states = step.interpolate(grid)
            found = [
                hit for e in range(len(self.events)) for hit in self._crossings(e, t, end, h, grid, states, values)
            ]
        return self._keep(found, h)

    def _evaluate(self, e: int, times: np.ndarray, states: Tensor) -> Float[np.ndarray, " batch"]:
        found = condition_values(self.events[e].condition, clock(times, self.like), states)
        return found.cpu().numpy().astype(np.float64)

    def _crossings(self, e: int, t, end, h, grid: np.ndarray, states: Tensor, values: Callable):
        """Changes of sign of one condition, from sample to sample."""
        moving = h != 0
        tolerance = np.maximum(LOCATED, CLOCK * np.maximum(np.abs(t), np.abs(end)) / np.where(moving, np.abs(h), 1.0))
        left, at_left = np.zeros(len(t)), np.zeros(len(t))
        for j, right in enumerate(SAMPLES):
            at_right = self._evaluate(e, grid[:, j], states[:, j].reshape(self.like.shape))
            side = self.sides[e]
            crossed = moving & (side * np.sign(at_right) < 0) & np.isin(side, self.events[e].signs)
            if crossed.any():
                # A value that is zero, or has the other sign by rounding, still stands on the side it came from.
                begin = np.where(np.sign(at_left) == side, at_left, side * np.finfo(np.float64).tiny)
                ends = np.where(crossed, right, left)
                roots = bracketed_roots(lambda theta: values(e, theta), left, ends, begin, at_right, tolerance)
                size = np.maximum(np.abs(at_left), np.abs(at_right))
                times = np.where(roots == 1.0, end, t + roots * h)
                yield from (Hit(int(i), e, float(times[i]), float(size[i])) for i in np.flatnonzero(crossed))
            known = moving & (at_right != 0) & ~np.isnan(at_right)
            self.sides[e] = np.where(known, np.sign(at_right), side)
            left, at_left = np.where(moving, right, left), at_right

    def _keep(self, found: list[Hit], h: np.ndarray) -> Bool[np.ndarray, " batch"]:
        """Keep what each trajectory meets up to the first event that stops it."""
        stopped = np.zeros(len(h), dtype=bool)
        for hit in sorted(found, key=lambda hit: (hit.trajectory, hit.time * np.sign(h[hit.trajectory]), hit.event)):
            if not stopped[hit.trajectory]:
                self.hits.append(hit)
                stopped[hit.trajectory] = self.events[hit.event].stops
        return stopped
