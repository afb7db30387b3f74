"""The accepted steps of a solve, and all outputs from them in one batched interpolation."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.solvers.captured import transformed
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.solution import Failure, Stats, Status

# Numbers gathered at once for the outputs of a batch.
GATHER = 2**18


@dataclass
class Record:
    """Accepted steps, in order; a trajectory that did not move in a step has length 0 there.

    States are flat, `(state,)` or `(batch, state)`; times and lengths are floats or arrays `(batch,)`.

    Args:
        tableau: The method's coefficients.
        start: Initial times.
        t: Time at the beginning of each step.
        end: Time at its end; exact where a step lands on an output.
        h: Length of each step.
        y: State at its beginning.
        k: Stages of each step, a list or stacked in one tensor.
        ahead: If given, only the steps that hold one of its outputs are kept.
        masks: Which components each stage counts for; None for all.
        trace: If given, it is told of every step.
    """

    tableau: Tableau
    start: Float[np.ndarray, " batch"]
    ahead: "Ahead | None" = None
    masks: Bool[Tensor, "stages state"] | None = None
    trace: "Trace | None" = None
    t: list = field(default_factory=list)
    end: list = field(default_factory=list)
    h: list = field(default_factory=list)
    y: list[Tensor] = field(default_factory=list)
    k: list[Sequence[Tensor]] = field(default_factory=list)

    def append(self, t, end, h, y: Tensor, k: Sequence[Tensor]) -> None:
        """Add one step, unless it holds no output and only outputs are wanted."""
        if self.trace is not None:
            self.trace.append(t, end, h, y, k[0])
        if self.ahead is not None and not self.ahead.reached(end):
            return
        self.t.append(t)
        self.end.append(end)
        self.h.append(h)
        self.y.append(y)
        self.k.append(k)

    def close(self, y: Tensor) -> None:
        """Give a record without steps one of length 0, so that the first output has its place."""
        if not self.t:
            self.ahead = self.trace = None
            rest = [torch.zeros_like(y)] * self.tableau.stages
            self.append(self.start, self.start, np.zeros_like(self.start), y, rest)

    def column(self, name: str) -> Float[np.ndarray, "step batch"]:
        """Times or lengths of all steps as one array."""
        return column(getattr(self, name))

    def locate(self, ts: Float[np.ndarray, "batch time"]) -> "Located":
        """Find the step that holds each time, and the weights of its stages there."""
        return locate(self.tableau, self.start, self, ts)

    def interpolate(self, ts: Float[np.ndarray, "batch time"]) -> Float[Tensor, "batch time state"]:
        """States at the times `ts`; NaN where no step holds the time."""
        located = self.locate(ts)
        # Only the steps that hold an output enter: the graph and the memory follow the outputs.
        used = np.flatnonzero(np.bincount(located.step.ravel(), minlength=len(self.t)))
        step = np.searchsorted(used, located.step) if len(used) < len(self.t) else located.step
        # One row for each trajectory and step.
        y = torch.stack([self.y[n] for n in used], dim=-2)
        k = stacked([self.k[n] for n in used])
        k = k.movedim((0, 1), (-3, -2))
        rows = torch.as_tensor(step + len(used) * np.arange(len(step))[:, None], device=y.device)
        weights = torch.as_tensor(located.weights, dtype=y.dtype, device=y.device)
        y, k = y.reshape(-1, y.shape[-1]), k.reshape(-1, *k.shape[-2:])
        # In pieces that stay in the cache: the gathered stages are many times larger than the outputs.
        width = max(1, GATHER // (k[0].numel() * len(ts)))
        pieces = [_gather(y, k, *piece) for piece in zip(rows.split(width, dim=1), weights.split(width, dim=1))]
        ys = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
        if located.covered.all():
            return ys
        covered = torch.as_tensor(located.covered, device=y.device)
        return torch.where(covered[..., None], ys, torch.nan)


def stacked(k: Sequence[Sequence[Tensor]] | Sequence[Tensor]) -> Float[Tensor, "step stages *state"]:
    """The stages of all steps, whose stages are in a list or stacked already."""
    whole = [stages for stages in k if isinstance(stages, Tensor)]
    if len(whole) == len(k):
        return torch.stack(whole)
    return torch.stack([stage for stages in k for stage in stages]).unflatten(0, (len(k), -1))


def _gather(y: Tensor, k: Tensor, index: Tensor, weights: Tensor) -> Float[Tensor, "batch time state"]:
    """Outputs from the rows `index` of the states and stages, and the weights of their stages."""
    flat = index.reshape(-1)
    ys = torch.baddbmm(y.index_select(0, flat)[:, None], weights.reshape(len(flat), 1, -1), k.index_select(0, flat))
    return ys.view(*index.shape, -1)


class Ahead:
    """The next output of each trajectory, to know which steps hold one.

    Args:
        ts: Output times, padded with NaN.
        end: Last time of each trajectory.
    """

    def __init__(self, ts: Float[np.ndarray, "batch time"], end: Float[np.ndarray, " batch"]) -> None:
        self.sign = np.where(end >= ts[:, 0], 1.0, -1.0)
        self.ts = np.full((len(ts), ts.shape[1] + 1), np.nan)
        self.ts[:, :-1] = ts * self.sign[:, None]
        self.row, self.next = np.arange(len(ts)), np.zeros(len(ts), dtype=int)
        self.upcoming = self.ts[:, 0]
        # One trajectory goes in plain numbers: arrays of one take ten times as long.
        self.single = self.ts[0][~np.isnan(self.ts[0])].tolist() if len(ts) == 1 else None
        self.passed = 0

    def reached(self, end) -> bool:
        """Whether a step that ends at `end` holds an output."""
        if self.single is not None:
            last = self.sign[0] * (end if isinstance(end, float) else end[0])
            before, self.passed = self.passed, bisect_right(self.single, float(last))
            return self.passed > before
        end, found = self.sign * end, False
        while np.count_nonzero(crossed := self.upcoming <= end):
            self.next += crossed
            self.upcoming, found = self.ts[self.row, self.next], True
        return found


@dataclass
class Trace:
    """The lengths of all steps, and the states at about as many of them as the square root of their number.

    Args:
        segments: Number of states to keep; None keeps every `stride`-th and doubles the stride as they become many.
        t: Time at the beginning of each step.
        end: Time at its end.
        h: Length of each step.
        states: State and rate at the beginning of every `stride`-th step.
        stride: Steps between kept states.
    """

    segments: int | None = None
    t: list = field(default_factory=list)
    end: list = field(default_factory=list)
    h: list = field(default_factory=list)
    states: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    stride: int = 1

    def append(self, t, end, h, y: Tensor, rate: Tensor) -> None:
        """Add one step."""
        if len(self.t) % self.stride == 0:
            if len(self.states) >= (self.segments or max(8, 2 * self.stride)):
                self.states, self.stride = self.states[::2], 2 * self.stride
            if len(self.t) % self.stride == 0:
                self.states.append((y, rate))
        self.t.append(t)
        self.end.append(end)
        self.h.append(h)


@dataclass(frozen=True, eq=False)
class Located:
    """For each output, the step that holds it and the weights of the stages, times the length of the step."""

    step: np.ndarray
    weights: Float[np.ndarray, "batch time stages"]
    covered: Bool[np.ndarray, "batch time"]


def column(values: list) -> Float[np.ndarray, "step batch"]:
    """Times or lengths of all steps as one array."""
    return np.array(values, dtype=np.float64).reshape(len(values), -1)


def locate(
    tableau: Tableau, start: Float[np.ndarray, " batch"], steps: Record | Trace, ts: Float[np.ndarray, "batch time"]
) -> Located:
    """Find the step that holds each time, and the weights of its stages there.

    Args:
        tableau: The method's coefficients.
        start: Initial times.
        steps: Times and lengths of the steps.
        ts: The times to find.
    """
    t, end, h = column(steps.t), column(steps.end), column(steps.h)
    forwards = np.where(end[-1] >= start, 1.0, -1.0)
    step = searched(end * forwards, ts * forwards[:, None])
    with np.errstate(invalid="ignore"):
        covered = (step < len(t)) & ((ts - start[:, None]) * forwards[:, None] >= 0)
        step = np.minimum(step, len(t) - 1)
        place = step * len(ts) + np.arange(len(ts))[:, None]
        begin, finish, length = t.take(place), end.take(place), h.take(place)
        still = length == 0
        theta = np.where(covered & ~still, (ts - begin) / np.where(still, 1.0, length), 0.0)
    theta = np.where((ts == finish) & ~still, 1.0, theta)
    return Located(step, tableau.dense_weights(theta) * length[..., None], covered)


def searched(
    ends: Float[np.ndarray, "step batch"], ts: Float[np.ndarray, "batch time"]
) -> Int[np.ndarray, "batch time"]:
    """For each trajectory the number of the first step that ends at the time or behind it; NaN is behind all.

    Example:
        >>> searched(np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([[0.5, 1.0, 1.5], [5.0, 15.0, np.nan]])).tolist()
        [[0, 0, 1], [0, 1, 2]]
    """
    if len(ts) == 1 or transformed():
        return np.stack([np.searchsorted(column, row) for column, row in zip(ends.T, ts)])
    rows = torch.from_numpy(np.ascontiguousarray(ends.T))
    return torch.searchsorted(rows, torch.from_numpy(np.ascontiguousarray(ts))).numpy()


@dataclass(frozen=True, eq=False)
class March:
    """What the stepping loop hands back."""

    record: Record
    status: tuple[Status, ...]
    stats: Stats
    failures: tuple[Failure, ...]
