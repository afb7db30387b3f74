"""The accepted steps of a solve, and all outputs from them in one batched interpolation."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
        k: Stages of each step.
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
    k: list[list[Tensor]] = field(default_factory=list)

    def append(self, t, end, h, y: Tensor, k: list[Tensor]) -> None:
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
        used, step = np.unique(located.step, return_inverse=True)
        y = torch.stack([self.y[n] for n in used])
        k = torch.stack([stage for n in used for stage in self.k[n]]).view(len(used), -1, *y.shape[1:])
        index = torch.as_tensor(step.reshape(ts.shape), device=y.device)
        weights = torch.as_tensor(located.weights, dtype=y.dtype, device=y.device)
        if y.ndim == 2:
            y, k = y.index_select(0, index[0]), k.index_select(0, index[0])
            ys = torch.baddbmm(y[:, None], weights.view(len(y), 1, -1), k).view(*ts.shape, -1)
        else:
            # In pieces that stay in the cache: the gathered stages are many times larger than the outputs.
            width = max(1, GATHER // k[0].numel())
            pieces = zip(index.split(width, dim=1), weights.split(width, dim=1))
            ys = torch.cat([_gather(y, k, *piece) for piece in pieces], dim=1)
        if located.covered.all():
            return ys
        covered = torch.as_tensor(located.covered, device=y.device)
        return torch.where(covered[..., None], ys, torch.nan)


def _gather(y: Tensor, k: Tensor, index: Tensor, weights: Tensor) -> Float[Tensor, "batch time state"]:
    """Outputs of a batch from the steps `index` and the weights of their stages."""
    batch = torch.arange(len(index), device=y.device)[:, None].expand_as(index).reshape(-1)
    flat = index.reshape(-1)
    ys = torch.baddbmm(y[flat, batch][:, None], weights.reshape(len(flat), 1, -1), k[flat, :, batch])
    return ys.view(*index.shape, -1)


class Ahead:
    """The next output of each trajectory, to know which steps hold one.

    Args:
        ts: Output times, padded with NaN.
        end: Last time of each trajectory.
    """

    def __init__(self, ts: Float[np.ndarray, "batch time"], end: Float[np.ndarray, " batch"]) -> None:
        self.sign = np.where(end >= ts[:, 0], 1.0, -1.0)
        self.ts = np.pad(ts * self.sign[:, None], ((0, 0), (0, 1)), constant_values=np.nan)
        self.row, self.next = np.arange(len(ts)), np.zeros(len(ts), dtype=int)
        self.upcoming = self.ts[:, 0]

    def reached(self, end) -> bool:
        """Whether a step that ends at `end` holds an output."""
        crossed = self.upcoming <= self.sign * end
        found = bool(crossed.any())
        while crossed.any():
            self.next += crossed
            self.upcoming = self.ts[self.row, self.next]
            crossed = self.upcoming <= self.sign * end
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
    batch = np.arange(len(ts))[:, None]
    forwards = np.where(end[-1] >= start, 1.0, -1.0)
    step = np.stack([np.searchsorted(end[:, b] * forwards[b], ts[b] * forwards[b]) for b in range(len(ts))])
    distance = (ts - start[:, None]) * forwards[:, None]
    with np.errstate(invalid="ignore"):
        covered = (step < len(t)) & (distance >= 0)
        step = np.minimum(step, len(t) - 1)
        length = h[step, batch]
        theta = np.where(covered & (length != 0), (ts - t[step, batch]) / np.where(length == 0, 1, length), 0.0)
    theta = np.where(ts == end[step, batch], np.where(length == 0, 0.0, 1.0), theta)
    return Located(step, tableau.dense_weights(theta) * length[..., None], covered)


@dataclass(frozen=True, eq=False)
class March:
    """What the stepping loop hands back."""

    record: Record
    status: tuple[Status, ...]
    stats: Stats
    failures: tuple[Failure, ...]
