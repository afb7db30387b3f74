"""Many starts: where they begin, and how they are spread over the cores of a machine or a cluster."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from typing import Any
from uuid import uuid4

import cloudpickle
import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend

from sciml.measurement.coordinates import Coordinates, Prior, Transform
from sciml.measurement.problem import Problem

SPREAD = 1.0  # of a value that nothing is known of: a factor of e, or of its own size


def varied(problem: Problem, seed: int) -> Float[np.ndarray, " theta"]:
    """A random start: weights by the seed, parameters and declared initial values from their priors or bounds.

    A value with a prior is drawn from it; one between two bounds uniformly; one beside a bound is multiplied by a
    log-normal factor of spread 1; any other is moved by a normal of its own size. Noise levels that the problem added
    for itself, and initial values that are read off the data, stay.
    """
    vector = problem.initial()
    coordinates = problem.loss.coordinates
    draw = np.random.default_rng([seed, 1])
    kept = {str(symbol) for symbol in problem.noise_parameters}
    moved = [i for i, name in enumerate(problem.loss.labels) if name not in kept]
    starts = len(vector) - len(problem.starts)
    states = problem.system.states
    moved += [starts + k for k, s in enumerate(problem.starts) if states[s.state] in problem.system.initial]
    for i in moved:
        vector[i] = _drawn(coordinates.at(np.array([i])), vector[i], draw)
    return vector


def _drawn(one: Coordinates, center: float, draw: np.random.Generator) -> float:
    """A free coordinate drawn from what is known of its value."""
    normal = draw.normal()
    uniform = draw.uniform(0.02, 0.98)
    heavy = float(one.freedom[0])
    spread = float(one.precision[0]) ** -0.5 if one.prior[0] != Prior.NONE else SPREAD
    if np.isfinite(heavy):
        normal *= np.sqrt(heavy / draw.chisquare(heavy))
    if one.prior[0] == Prior.LOGARITHM:
        value = np.exp(one.center + spread * normal)
    elif one.prior[0] == Prior.VALUE:
        value = one.center + spread * normal
    elif one.transform[0] == Transform.BETWEEN:
        value = one.lower + uniform * (one.upper - one.lower)
    else:
        return center + spread * normal
    if one.transform[0] == Transform.BETWEEN:
        width = one.upper - one.lower
        value = np.clip(value, one.lower + 0.01 * width, one.upper - 0.01 * width)
    elif one.transform[0] != Transform.SCALED and not one.lower < value:
        return center
    found = float(one.free(value)[0])
    return found if np.isfinite(found) else center


class Parcel:
    """A value that many calls in other processes share: packed once, and unpacked once in each process.

    Without it every call would carry the equations along, which takes longer to pack than a short fit to compute.
    """

    def __init__(self, value: Any):
        self._key, self._packed = uuid4().hex, cloudpickle.dumps(value)

    def open(self) -> Any:
        """The value; the same object for all calls in a process until another parcel is opened."""
        if _opened.get("key") != self._key:
            _spare_libraries()
            _opened.update(key=self._key, value=cloudpickle.loads(self._packed))
        return _opened["value"]


_opened: dict[str, Any] = {}


def _spare_libraries() -> None:
    """Keep what libraries made while they were loaded out of the garbage collections of a worker process.

    joblib's workers collect once a second, which takes 0.15 s of each second with them.
    """
    if parent_process() is not None and not gc.get_freeze_count():
        gc.freeze()


def in_parallel(function: Callable[[Any, int], Any], shared: Any, seeds: Sequence[int]) -> list[Any]:
    """Results of the function of something shared at all seeds, in order, by joblib.

    All cores of this machine are used, unless a `joblib.parallel_config(...)` around the call says otherwise: another
    number of workers, or a Ray or Dask cluster. Every worker computes on one thread.
    """
    _, asked = get_active_backend()
    workers = -1 if asked is None else asked
    if workers == 1:
        return [function(shared, seed) for seed in seeds]
    parcel = Parcel(shared)
    with parallel_config(n_jobs=workers):
        return Parallel()(delayed(_opening)(function, parcel, seed) for seed in seeds)


def _opening(function: Callable[[Any, int], Any], parcel: Parcel, seed: int) -> Any:
    return function(parcel.open(), seed)
