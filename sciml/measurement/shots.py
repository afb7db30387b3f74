"""Shots: the pieces of trajectory that a fit solves, each with its own start, times and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from sciml.errors import DataError
from sciml.measurement.experiment import Experiment


@dataclass(frozen=True)
class Shot:
    """One trajectory to solve.

    Attributes:
        experiment: Which experiment it belongs to.
        times: Start, times of measurements, and the start of the next shot (if there is one).
        values: Measurements at these times, NaN where there are none.
        levels: What multiplies their noise levels.
        first: It starts at the experiment's initial value, rather than at a node of its own.
        last: No shot follows in this experiment.
    """

    experiment: int
    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time column"]
    levels: Float[np.ndarray, "time column"]
    first: bool
    last: bool

    def refined(self, points: int) -> Shot:
        """The same with so many points per interval, those between measurements without values."""
        fractions = np.arange(points) / points
        times = np.append(self.times[:-1, None] + np.diff(self.times)[:, None] * fractions, self.times[-1])
        values = np.full((len(times), self.values.shape[1]), np.nan)
        levels = np.ones_like(values)
        values[::points], levels[::points] = self.values, self.levels
        return replace(self, times=times, values=values, levels=levels)

    @property
    def weights(self) -> Float[np.ndarray, " time"]:
        """Weights of the trapezoidal rule, for an integral over the shot."""
        steps = np.diff(self.times, prepend=self.times[0], append=self.times[-1])
        return 0.5 * (steps[:-1] + steps[1:])


def cut(experiments: Sequence[Experiment], intervals: int) -> tuple[Shot, ...]:
    """Cut every experiment into the same number of intervals, at measured times, with about equal numbers of rows.

    A measurement at a cut belongs to the shot that starts there.
    """
    shots = []
    for index, experiment in enumerate(experiments):
        rows = len(experiment.times)
        if intervals > rows - 1:
            raise DataError(
                f"`intervals={intervals}` are more than `{experiment.name}` with {rows} rows can be cut into: "
                f"at most {rows - 1}."
            )
        edges = np.linspace(0, rows - 1, intervals + 1).round().astype(int)
        for k in range(intervals):
            start, stop = edges[k], edges[k + 1] + 1
            values = experiment.values[start:stop].copy()
            if k < intervals - 1:
                values[-1] = np.nan
            times, levels = experiment.times[start:stop], experiment.levels[start:stop]
            shots.append(Shot(index, times, values, levels, k == 0, k == intervals - 1))
    return tuple(shots)


def padded(parts: Sequence[np.ndarray]) -> Float[np.ndarray, "shot time ..."]:
    """Arrays of all shots in one rectangular array, the ends of shorter ones filled with NaN."""
    longest = max(len(part) for part in parts)
    joined = np.full((len(parts), longest, *parts[0].shape[1:]), np.nan)
    for i, part in enumerate(parts):
        joined[i, : len(part)] = part
    return joined
