"""Where steps must end because the field jumps: each step then sees one smooth piece of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from sciml.solvers.field import Field

# A stage belongs to the piece that it is computed in, whatever rounding does to its time.
MARGIN = 8 * np.finfo(np.float64).eps


class Stops:
    """Jumps of a field along a solve, and its end, for each trajectory.

    A field is taken to be continuous from the right. So forwards in time a step ends a margin of a few roundings before
    a jump, and the next begins at it; backwards one ends at the jump, and the next begins a margin before.

    Args:
        field: Its `jumps`, of shape `(jump,)` or `(batch, jump)`, padded with NaN, are what is looked for.
        start: Initial times.
        end: Final times.
    """

    def __init__(self, field: Field, start: Float[np.ndarray, " batch"], end: Float[np.ndarray, " batch"]) -> None:
        jumps = getattr(field, "jumps", None)
        self.any = jumps is not None and np.size(jumps) > 0
        self.end, self.begin = end, start
        self._row, self._next = np.arange(len(start)), np.zeros(len(start), dtype=int)
        self._landings = self._resumes = end[:, None]
        if not self.any:
            return
        self.margin = MARGIN * np.maximum(np.abs(start), np.abs(end))
        self.sign = np.where(end >= start, 1.0, -1.0)
        table = np.asarray(jumps, dtype=float)
        self.rows = [row[~np.isnan(row)] for row in np.broadcast_to(table, (len(start), table.shape[-1]))]
        self.begin = np.where(start == end, start, self.resumed(start))
        self.inside = [self._between(i, a, b) for i, (a, b) in enumerate(zip(start, end))]
        longest = 1 + max(map(len, self.inside))
        marks = np.stack([np.append(row, [last] * (longest - len(row))) for row, last in zip(self.inside, end)])
        self._landings = np.stack([self.landed(column) for column in marks.T], axis=1)
        self._resumes = np.stack([self.resumed(column) for column in marks.T], axis=1)
        self._resumes = np.where(marks == end[:, None], marks, self._resumes)

    def _between(self, i: int, start: float, end: float) -> Float[np.ndarray, " jump"]:
        """The jumps of one trajectory between two times, in the order in which they are met."""
        row, margin = self.rows[i], self.margin[i]
        row = row[(row > min(start, end) + margin) & (row < max(start, end) - margin)]
        # Of jumps that the clock cannot tell apart, the last.
        row = row[np.append(np.diff(row) > 4 * margin, True)[: len(row)]]
        return row[:: int(self.sign[i])]

    def jumping(self, times: Float[np.ndarray, " batch"]) -> Bool[np.ndarray, " batch"]:
        """For each trajectory, whether the field jumps at its time."""
        if not self.any:
            return np.zeros(len(times), dtype=bool)
        return np.abs(self._nearest(times) - times) <= self.margin

    def landed(self, times: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
        """Where a step ends that is to end at these times."""
        if not self.any:
            return times
        jump = self._nearest(times)
        moved = np.where(self.sign > 0, np.minimum(jump, times) - self.margin, np.maximum(jump, times))
        return np.where(self.jumping(times), moved, times)

    def resumed(self, times: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
        """Where a step begins that is to begin at these times."""
        if not self.any:
            return times
        jump = self._nearest(times)
        moved = np.where(self.sign > 0, np.maximum(jump, times), np.minimum(jump, times) - self.margin)
        return np.where(self.jumping(times), moved, times)

    def _nearest(self, times: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
        """The jump next to each time; infinite where there is none."""
        return np.array([row[np.abs(row - t).argmin()] if len(row) else np.inf for row, t in zip(self.rows, times)])

    def merged(self, ts: Float[np.ndarray, "batch time"]) -> list[Float[np.ndarray, " time"]]:
        """Output times and the jumps between them."""
        grids = [row[~np.isnan(row)] for row in ts]
        if not self.any:
            return grids
        found = []
        for grid, jumps, margin, sign in zip(grids, self.inside, self.margin, self.sign):
            own = [jump for jump in jumps if np.abs(grid - jump).min() > margin]
            found.append(np.unique(np.append(grid, own))[:: int(sign)])
        return found

    @property
    def landing(self) -> Float[np.ndarray, " batch"]:
        """Where the field is smooth up to: the next jump, or the end."""
        return self._landings[self._row, self._next] if self.any else self.end

    @property
    def resume(self) -> Float[np.ndarray, " batch"]:
        """Where to go on from there; the end itself behind the last jump."""
        return self._resumes[self._row, self._next] if self.any else self.end

    def advance(self, arrived: Bool[np.ndarray, " batch"]) -> None:
        """Look for the next stop of trajectories that have arrived at theirs."""
        self._next = np.minimum(self._next + arrived, self._landings.shape[1] - 1)
