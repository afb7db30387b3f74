"""Looks for events in the steps that a solver has accepted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.errors import ModelError
from sciml.event import Event
from sciml.solvers.control import CLOCK, LOCATED, LOOKS
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.record import stacked
from sciml.solvers.roots import bracketed_roots

SAMPLES = np.array(LOOKS)


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


class _Step:
    """One accepted step, to be looked into anywhere.

    Args:
        tableau: The method's coefficients.
        t: Times at the beginning.
        end: Times at the end.
        h: Lengths; 0 for a trajectory that did not move.
        y: States at the beginning.
        k: Stages.
    """

    def __init__(self, tableau: Tableau, t, end, h, y: Tensor, k: Sequence[Tensor]) -> None:
        self.tableau, self.t, self.end, self.h = tableau, t, end, h
        self.y = y.detach().reshape(len(t), -1)
        self.k = stacked([k])[0].detach().reshape(-1, *self.y.shape)

    def times(self, theta: Float[np.ndarray, "sample batch"]) -> Float[np.ndarray, "sample batch"]:
        """Times at fractions of the step."""
        return np.where(theta == 1.0, self.end, self.t + theta * self.h)

    def states(self, theta: Float[np.ndarray, "sample batch"]) -> Float[Tensor, "sample batch state"]:
        """States at fractions of the step."""
        weights = self.tableau.dense_weights(theta) * self.h[:, None]
        weights = torch.as_tensor(weights, dtype=self.y.dtype, device=self.y.device)
        return self.y + torch.einsum("pbs,sbn->pbn", weights, self.k)


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

    def look(self, tableau: Tableau, t, end, h, y: Tensor, k: Sequence[Tensor]) -> Bool[np.ndarray, " batch"]:
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
        step = _Step(tableau, t, end, h, y, k)
        found = [hit for e in range(len(self.events)) for hit in self._crossings(e, step)]
        return self._keep(found, h)

    @torch.no_grad()
    def _values(self, e: int, step: "_Step", theta: Float[np.ndarray, "sample batch"]) -> np.ndarray:
        """One condition at fractions of a step, `(sample, batch)`."""
        times, states = step.times(theta), step.states(theta)
        clocks = torch.as_tensor(times, dtype=self.like.dtype.to_real(), device=self.like.device)
        shape = () if self.like.ndim == 1 else (-1, *(1 for _ in self.like.shape[1:]))
        pairs = zip(clocks.unbind(), states.view(len(theta), *self.like.shape).unbind())
        condition = self.events[e].condition
        found = torch.stack([condition_values(condition, at.reshape(shape), state) for at, state in pairs])
        return found.numpy(force=True).astype(np.float64)

    def _crossings(self, e: int, step: "_Step"):
        """Changes of sign of one condition, from sample to sample."""
        t, end, h = step.t, step.end, step.h
        samples = self._values(e, step, np.broadcast_to(SAMPLES[:, None], (len(SAMPLES), len(t))))
        moving = h != 0
        if (self.sides[e] * samples > 0)[:, moving].all():
            return
        tolerance = np.maximum(LOCATED, CLOCK * np.maximum(np.abs(t), np.abs(end)) / np.where(moving, np.abs(h), 1.0))
        left, at_left = np.zeros(len(t)), np.zeros(len(t))
        for right, at_right in zip(SAMPLES, samples):
            side = self.sides[e]
            crossed = moving & (side * np.sign(at_right) < 0) & np.isin(side, self.events[e].signs)
            if crossed.any():
                # A value that is zero, or has the other sign by rounding, still stands on the side it came from.
                begin = np.where(np.sign(at_left) == side, at_left, side * np.finfo(np.float64).tiny)
                ends = np.where(crossed, right, left)
                roots = bracketed_roots(
                    lambda theta: self._values(e, step, theta[None])[0], left, ends, begin, at_right, tolerance
                )
                size = np.maximum(np.abs(at_left), np.abs(at_right))
                times = step.times(roots[None])[0]
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
