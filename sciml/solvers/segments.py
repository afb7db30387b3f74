"""Solves with events: from one reset to the next, each stretch a solve of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.event import Event
from sciml.solvers.captured import differentiable
from sciml.solvers.control import CLOCK, LOCATED, smallest_step
from sciml.solvers.crossings import Crossing, after, crossing, sides, spread
from sciml.solvers.field import Field
from sciml.solvers.gradients import Gradients, outputs
from sciml.solvers.loop import Settings, march
from sciml.solvers.occurrences import Occurrences
from sciml.solvers.record import March, Record
from sciml.solvers.solution import Failure, Stats, Status
from sciml.solvers.watch import Hit, Watch


@dataclass
class Pieces:
    """Dense output of consecutive stretches."""

    parts: list[tuple[Record, np.ndarray, np.ndarray]] = field(default_factory=list)

    def interpolate(self, ts: Float[np.ndarray, "batch time"]) -> Float[Tensor, "batch time state"]:
        """States at the times `ts`: at an event those before it, NaN where no stretch holds the time."""
        found = None
        for record, start, reached in self.parts:
            forwards = np.where(reached >= start, 1.0, -1.0)[:, None]
            with np.errstate(invalid="ignore"):
                behind, ahead = (ts - start[:, None]) * forwards, (reached[:, None] - ts) * forwards
                inside = (behind >= 0 if found is None else behind > 0) & (ahead >= 0)
            states = record.interpolate(np.where(inside, ts, start[:, None]))
            mask = torch.as_tensor(inside, device=states.device)[..., None]
            found = torch.where(mask, states, torch.nan if found is None else found)
        assert found is not None, "a solve has at least one stretch"
        return found


def solve_segments(
    vector_field: Field,
    y0: Tensor,
    ts: Float[np.ndarray, "batch time"],
    events: Sequence[Event],
    gradients: Gradients,
    settings: Settings,
    dense: bool,
    max_resets: int,
) -> tuple[Tensor, March, Occurrences]:
    """Solve from stretch to stretch until every trajectory has met its end.

    A stretch is stepped without a graph first, to find its events. Where derivatives are wanted it is then solved
    again, by `gradients`, to the times of outputs and events, which are constants in that solve; the implicit
    function theorem adds what is lost by that.

    Args:
        vector_field: The field.
        y0: Initial state.
        ts: Output times on the host, padded with NaN.
        events: What to look for.
        gradients: How each stretch is differentiated.
        settings: Solver, tolerances and limits.
        dense: Keep all steps.
        max_resets: Resets allowed per trajectory.

    Returns:
        States at the output times, how the solve went, and the events.
    """
    run = _Run(vector_field, y0, ts, events, gradients, settings, dense, max_resets)
    while run.active.any():
        run.advance()
    return run.result()


class _Run:
    """The state of a solve between two stretches."""

    def __init__(self, vector_field, y0, ts, events, gradients, settings, dense, max_resets) -> None:
        self.field, self.ts, self.events = vector_field, ts, tuple(events)
        self.gradients, self.settings, self.dense, self.max_resets = gradients, settings, dense, max_resets
        batch = len(ts)
        self.start, self.y = ts[:, 0].copy(), y0
        self.end = np.array([row[~np.isnan(row)][-1] for row in ts])
        self.direction = np.where(self.end >= self.start, 1.0, -1.0)
        self.ys = y0.reshape(batch, 1, -1)
        if ts.shape[1] > 1:
            self.ys = torch.cat([self.ys, torch.full_like(self.ys, torch.nan).expand(-1, ts.shape[1] - 1, -1)], dim=1)
        # One stretch at least, so that bad conditions and states without a field are found.
        self.active = np.ones(batch, dtype=bool)
        self.fired = np.full((len(self.events), batch), np.nan)
        self.status = np.full(batch, Status.SUCCESS)
        self.counts, self.evaluations = np.zeros((2, batch), dtype=int), 0
        self.resets = np.zeros(batch, dtype=int)
        # Which events have reset a trajectory since time passed last: none of them can do so twice.
        self.instant = np.zeros((len(self.events), batch), dtype=bool)
        self.failures: list[Failure] = []
        self.rows: list[tuple[int, int, Tensor, Tensor]] = []
        self.pieces = Pieces()

    def advance(self) -> None:
        """One stretch of all active trajectories, to their next reset or to their end."""
        with np.errstate(invalid="ignore"):
            ahead = self.active[:, None] & ((self.ts - self.start[:, None]) * self.direction[:, None] > 0)
        grid = _padded([[t, *row[mask]] for t, row, mask in zip(self.start, self.ts, ahead)])
        graph = torch.is_grad_enabled() and differentiable(self.field, grid, self.y)
        watch = Watch(
            self.events,
            self.y.detach(),
            sides(self.field, self.events, self.start, self.y, self.direction, self.fired, self._close(self.start)),
        )
        with torch.no_grad():
            found = march(self.field, self.y, grid, self.settings, dense=not graph, watch=watch)
        self.counts += np.array([found.stats.accepted, found.stats.rejected]) * self.active
        self.evaluations += found.stats.evaluations
        hits = [self._snapped(hit) for hit in watch.hits]
        reached = self._reached(found, hits)
        self._fail(found)
        with np.errstate(invalid="ignore"):
            inside = ahead & ((reached[:, None] - self.ts) * self.direction[:, None] >= 0)
        marks = [[*row[mask]] for row, mask in zip(self.ts, inside)]
        for hit in hits:
            marks[hit.trajectory].append(hit.time)
        order = [np.unique(np.array(row) * s) * s for row, s in zip(marks, self.direction)]
        grid = _padded([[t, *row[(row - t) * s > 0]] for t, row, s in zip(self.start, order, self.direction)])
        record = found.record
        if graph:
            states, result = self.gradients.solve(self.field, self.y, grid, self.settings, self.dense)
            record = result.record
            self._fail(result)
        else:
            states = outputs(found, self.y, grid)
        if self.dense:
            self.pieces.parts.append((record, self.start.copy(), reached))
        self._collect(states, _columns(grid, self.ts, self.direction), inside)
        self._meet(hits, states, grid)

    def _fail(self, found: March) -> None:
        """End what has failed; trajectories that have come to their end before stand still and cannot."""
        for failure in found.failures:
            if self.active[failure.trajectory]:
                self.active[failure.trajectory], self.status[failure.trajectory] = False, failure.status
                self.failures.append(failure)

    def _end(self, i: int, status: Status, time: float, state: Tensor) -> None:
        self.active[i], self.status[i] = False, status
        if status != Status.EVENT:
            self.failures.append(Failure(i, status, time, state.detach()))

    def _snapped(self, hit: Hit) -> Hit:
        """The event at the time of an output that it cannot be told apart from."""
        i = hit.trajectory
        close, distance = self._close(hit.time)[i], np.abs(self.ts[i] - hit.time)
        return replace(hit, time=float(self.ts[i, np.nanargmin(distance)])) if np.nanmin(distance) <= close else hit

    def _close(self, time: Float[np.ndarray, " batch"] | float) -> Float[np.ndarray, " batch"]:
        """Times this close cannot be told apart, in a stretch from here to the end."""
        return 2 * LOCATED * np.abs(self.end - self.start) + CLOCK * np.abs(time)

    def _reached(self, found: March, hits: list[Hit]) -> Float[np.ndarray, " batch"]:
        """Where this stretch of each trajectory ends."""
        reached = np.where(self.active, self.end, self.start)
        for failure in found.failures:
            reached[failure.trajectory] = failure.time
        for hit in hits:
            if self.events[hit.event].stops:
                reached[hit.trajectory] = hit.time
        return reached

    def _collect(self, states: Tensor, columns: Int[np.ndarray, "batch time"], inside: Bool[np.ndarray, "batch time"]):
        index = torch.as_tensor(np.where(inside, columns, 0), device=states.device)
        gathered = states.gather(1, index[..., None].expand(-1, -1, states.shape[-1]))
        self.ys = torch.where(torch.as_tensor(inside, device=states.device)[..., None], gathered, self.ys)

    def _meet(self, hits: list[Hit], states: Tensor, grid: np.ndarray) -> None:
        """Enter the events of this stretch, and start the next one behind the resets."""
        batch = len(grid)
        new, self.fired = self.y, np.full_like(self.fired, np.nan)
        turns: dict[tuple[int, int], list[Hit]] = {}
        count: dict[tuple[int, int], int] = {}
        for hit in hits:
            key = (hit.event, hit.trajectory)
            count[key] = count.get(key, 0) + 1
            turns.setdefault((hit.event, count[key]), []).append(hit)
        met: dict[Hit, Crossing] = {}
        for (e, _), group in turns.items():
            event = self.events[e]
            here, times = np.zeros(batch, dtype=bool), self.start.copy()
            for hit in group:
                here[hit.trajectory], times[hit.trajectory] = True, hit.time
            column = torch.as_tensor(_columns(grid, times[:, None], self.direction), device=states.device)
            there = states.gather(1, column[..., None].expand(-1, -1, states.shape[-1]))[:, 0].reshape(self.y.shape)
            cross = crossing(self.field, event, times, there, here)
            met |= dict.fromkeys(group, cross)
            if event.reset is not None:
                mask = torch.as_tensor(here, device=states.device)
                new = torch.where(spread(mask, new), after(self.field, event, cross), new)
            for hit in group:
                self.fired[e, hit.trajectory] = hit.size
        for hit in hits:
            i, cross = hit.trajectory, met[hit]
            time = cross.time.reshape(-1)[i if batch > 1 else 0]
            self.rows.append((hit.event, i, time, cross.state if self.y.ndim == 1 else cross.state[i]))
        self._restart(hits, new)

    def _restart(self, hits: list[Hit], new: Tensor) -> None:
        """Go on behind the resets; end what has met a terminal event, chatters, or has come to its end."""
        span = np.abs(self.end - self.start)
        # An event that comes again within what it is located to may be met on its way back.
        limit = np.maximum(smallest_step(self.start, self.end, self.settings.min_step, span), self._close(self.start))
        finite = torch.isfinite(new.detach()).reshape(len(self.start), -1).all(dim=1).cpu().numpy()
        again = np.zeros(len(self.start), dtype=bool)
        for hit in (hit for hit in hits if self.events[hit.event].stops):
            i = hit.trajectory
            state = new if new.ndim == 1 else new[i]
            if not self.active[i]:
                continue
            if self.events[hit.event].terminal:
                self._end(i, Status.EVENT, hit.time, state)
                continue
            again[i] = True
            self.instant[:, i] &= abs(hit.time - self.start[i]) <= limit[i]
            chatters = self.instant[hit.event, i]
            self.instant[hit.event, i] = True
            self.resets[i] += 1
            self.start[i] = hit.time
            if not finite[i]:
                self._end(i, Status.NON_FINITE, hit.time, state)
            elif chatters:
                self._end(i, Status.CHATTERING, hit.time, state)
            elif self.resets[i] >= self.max_resets:
                self._end(i, Status.MAX_RESETS, hit.time, state)
        # Who has met no reset has come to its end; and nothing is left to do where the reset is at the very end.
        self.active &= again & (self.start != self.end)
        self.y = new

    def result(self) -> tuple[Tensor, March, Occurrences]:
        """All of the solve."""
        order = sorted(range(len(self.rows)), key=lambda r: self.rows[r][1])
        rows = [self.rows[r] for r in order]
        shape = self.y.shape if self.y.ndim == 1 else self.y.shape[1:]
        kind = {"dtype": self.y.dtype, "device": self.y.device}
        occurrences = Occurrences(
            event=np.array([row[0] for row in rows], dtype=int),
            trajectory=np.array([row[1] for row in rows], dtype=int),
            times=torch.stack([row[2] for row in rows]) if rows else torch.zeros(0, **kind),
            states=torch.stack([row[3] for row in rows]) if rows else torch.zeros(0, *shape, **kind),
        )
        stats = Stats(tuple(self.counts[0].tolist()), tuple(self.counts[1].tolist()), self.evaluations)
        failures = tuple(sorted(self.failures, key=lambda failure: failure.trajectory))
        return self.ys, March(self.pieces, tuple(Status(s) for s in self.status), stats, failures), occurrences


def _padded(rows: list[list[float]]) -> Float[np.ndarray, "batch time"]:
    grid = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, row in zip(grid, rows):
        line[: len(row)] = row
    return grid


def _columns(
    grid: Float[np.ndarray, "batch mark"], ts: np.ndarray, direction: np.ndarray
) -> Int[np.ndarray, "batch time"]:
    """Where each time stands in the grid; what is not in it gets some column."""
    found = [np.searchsorted(row * s, times * s) for row, times, s in zip(grid, ts, direction)]
    return np.minimum(np.stack(found), grid.shape[1] - 1)
