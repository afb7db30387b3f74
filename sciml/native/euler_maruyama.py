"""Euler-Maruyama paths of generated code."""

import math

import numpy as np

from sciml.native.compilation import at, call, kernel
from sciml.native.model import Model
from sciml.native.solve import parameters_of


@kernel
def _march(address, random, p, y0, times, counts, rows, columns, processes, diagonal, tape, out, states, ends):
    paths, n = y0.shape
    terms, width = rows.size, p.shape[1] * (p.shape[0] > 1)
    y, z, nothing = y0.copy(), np.empty(paths * processes), np.zeros(2)
    drift, noise = at(out, 0), at(out, n)
    states[:, 0] = y0
    for k in range(times.size - 1):
        h = (times[k + 1] - times[k]) / counts[k]
        root = math.sqrt(h)
        for step in range(counts[k]):
            t = times[k] + step * h
            # Numbers first, then paths: neither waits for the other.
            for j in range(z.size):
                z[j] = random.standard_normal()
            for path in range(paths):
                own, motion = at(y, path * n), at(z, path * processes)
                call(address, (t, own, at(p, path * width), at(nothing, 0), at(tape, 0), drift))
                if diagonal:
                    for i in range(n):
                        own[i] += h * drift[i] + root * noise[i] * motion[i]
                else:
                    for i in range(n):
                        own[i] += h * drift[i]
                    for m in range(terms):
                        own[rows[m]] += root * noise[m] * motion[columns[m]]
        for path in range(paths):
            alive = ends[path] == times[k]
            for i in range(n):
                alive = alive and math.isfinite(y[path, i])
            if alive:
                ends[path] = times[k + 1]
            for i in range(n):
                states[path, k + 1, i] = y[path, i] if alive else math.nan


def euler_maruyama(
    model: Model,
    rows: tuple[int, ...],
    columns: tuple[int, ...],
    processes: int,
    p: np.ndarray,
    y0: np.ndarray,
    times: np.ndarray,
    step: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Paths of a stochastic model.

    Every path draws its numbers whether or not it has left the finite ones, so that the others do not depend on it.

    Args:
        model: One routine, `field`, that gives the drift and then the coefficients of the noise.
        rows, columns: State and Wiener process of each coefficient.
        processes: Number of Wiener processes.
        p: Parameters and weights; one row, or one for each path.
        y0: Initial states, a row for each path.
        times: Increasing; the first is the initial time.
        step: Longest step; those between two times are equal.
        seed: Of the random numbers.

    Returns:
        States (path, time, state), NaN from where they left the finite numbers, and the last time of each that is good.
    """
    counts = np.maximum(1, np.ceil(np.diff(times) / step - 1e-9)).astype(np.int64)
    y0 = np.ascontiguousarray(y0, dtype=np.float64)
    numbers = np.stack([parameters_of(model, row) for row in np.atleast_2d(p)]) if np.size(p) else np.zeros((1, 1))
    states, ends = np.empty((len(y0), len(times), y0.shape[1])), np.full(len(y0), times[0])
    tape, out = np.zeros(model.tapes.get("field", 0) + 1), np.zeros(model.outputs["field"])
    _march(
        model.address("field_value"),
        np.random.Generator(np.random.SFC64(seed)),  # the fastest of NumPy's in compiled code
        numbers,
        y0,
        np.ascontiguousarray(times, dtype=np.float64),
        counts,
        np.array(rows, dtype=np.int64),
        np.array(columns, dtype=np.int64),
        processes,
        rows == columns == tuple(range(y0.shape[1])),
        tape,
        out,
        states,
        ends,
    )
    return states, ends
