"""Euler-Maruyama paths of generated code."""

import math

import numpy as np

from sciml.native.compilation import at, call, kernel
from sciml.native.model import Model
from sciml.native.normals import TABLES, fill_normals, seeded
from sciml.native.packs import SIZE, load, store
from sciml.native.solve import PACKED, parameters_of
from sciml.native.task import aligned_copy


@kernel
def _march(address, random, tables, p, y0, times, counts, rows, columns, processes, diagonal, tape, out, states, ends):
    paths, n = y0.shape
    terms, width = rows.size, p.shape[1] * (p.shape[0] > 1)
    y, z, nothing = y0.copy(), np.empty(paths * processes), np.zeros(2)
    drift, noise = at(out, 0), at(out, n)
    for k in range(times.size - 1):
        h = (times[k + 1] - times[k]) / counts[k]
        root = math.sqrt(h)
        for step in range(counts[k]):
            t = times[k] + step * h
            # Numbers first, then paths: neither waits for the other.
            fill_normals(random, tables[0], tables[1], tables[2], z)
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


@kernel
def _march_packs(address, random, tables, q, p, y, times, counts, rows, columns, processes, tape, out, states, ends):
    """Blocks of eight paths, lane by lane; arrays of packs but the weights p."""
    blocks, n, scalars = y.shape[0], y.shape[1], q.shape[1]
    z, moment, nothing = np.empty((blocks, processes, SIZE)), np.empty(SIZE), np.zeros(SIZE)
    numbers = z.reshape(z.size)
    begin, own, motion, noise = at(y, 0), at(q, 0), at(z, 0), at(out, n * SIZE)
    for k in range(times.size - 1):
        h = (times[k + 1] - times[k]) / counts[k]
        root = math.sqrt(h)
        for step in range(counts[k]):
            store(at(moment, 0), 0, times[k] + step * h)
            fill_normals(random, tables[0], tables[1], tables[2], numbers)
            for block in range(blocks):
                here = at(begin, block * n * SIZE)
                call(
                    address,
                    (
                        at(moment, 0),
                        here,
                        at(own, block * scalars * SIZE),
                        at(p, 0),
                        at(nothing, 0),
                        at(tape, 0),
                        at(out, 0),
                    ),
                )
                for i in range(n):
                    store(here, i, load(here, i) + h * load(at(out, 0), i))
                for m in range(rows.size):
                    kick = root * load(noise, m) * load(motion, block * processes + columns[m])
                    store(here, rows[m], load(here, rows[m]) + kick)
        for path in range(ends.size):
            block, lane = path // SIZE, path % SIZE
            alive = ends[path] == times[k]
            for i in range(n):
                alive = alive and math.isfinite(y[block, i, lane])
            if alive:
                ends[path] = times[k + 1]
            for i in range(n):
                states[path, k + 1, i] = y[block, i, lane] if alive else math.nan


def _packs(rows: np.ndarray, blocks: int) -> np.ndarray:
    """Rows as blocks of packs (block, entry, lane); the last lanes repeat the last row."""
    some = rows[np.minimum(np.arange(blocks * SIZE), len(rows) - 1)]
    return np.ascontiguousarray(some.reshape(blocks, SIZE, -1).swapaxes(1, 2))


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
    """Paths of a stochastic model, eight at a time where there are enough.

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
    states[:, 0] = y0
    times = np.ascontiguousarray(times, dtype=np.float64)
    noise = (np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64), processes)
    packed, outputs = model.packed, model.outputs["field"]
    if packed is not None and len(y0) >= PACKED:
        fields, blocks = packed.fields(reverse=False), -(-len(y0) // SIZE)
        _march_packs(
            fields["pack_value"],
            seeded(seed),
            TABLES,
            _packs(numbers[:, : packed.scalars] if packed.scalars else np.zeros((1, 1)), blocks),
            aligned_copy(numbers[:1]),
            _packs(y0, blocks),
            times,
            counts,
            *noise,
            np.zeros((packed.tape + 1) * SIZE),
            np.zeros(outputs * SIZE),
            states,
            ends,
        )
        return states, ends
    _march(
        model.address("field_value"),
        seeded(seed),
        TABLES,
        numbers,
        y0,
        times,
        counts,
        *noise,
        rows == columns == tuple(range(y0.shape[1])),
        np.zeros(model.tapes.get("field", 0) + 1),
        np.zeros(outputs),
        states,
        ends,
    )
    return states, ends
