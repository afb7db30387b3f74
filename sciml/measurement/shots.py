"""Shots: the pieces of trajectory that a fit solves, each with its own start, times and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        first: It starts at the experiment's initial value, rather than at a node of its own.
        last: No shot follows in this experiment.
    """

    experiment: int
    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time column"]
    first: bool
    last: bool


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
            shots.append(Shot(index, experiment.times[start:stop], values, k == 0, k == intervals - 1))
    return tuple(shots)


def padded(shots: Sequence[Shot]) -> tuple[Float[np.ndarray, "shot time"], Float[np.ndarray, "shot time column"]]:
    """Times and values of all shots in rectangular arrays, the ends of shorter ones filled with NaN."""
    longest = max(len(shot.times) for shot in shots)
    times = np.full((len(shots), longest), np.nan)
    values = np.full((len(shots), longest, shots[0].values.shape[1]), np.nan)
    for i, shot in enumerate(shots):
        times[i, : len(shot.times)] = shot.times
        values[i, : len(shot.times)] = shot.values
    return times, values
