"""Paths: the states that experiments visited, on a fine grid, and what the equations say there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sciml.discovery.library import Library, columns_of
from sciml.discovery.smoother import smooth_states
from sciml.errors import DataError, ModelError, quoted
from sciml.fitting.result import Fit
from sciml.measurement.problem import Problem
from sciml.symbolic.distributions import LogNormal

SAME = 1e-12
"""Two columns whose directions differ by less cannot be told apart by any data."""


@dataclass(frozen=True)
class Path:
    """The states that one experiment visited.

    Attributes:
        times, states: A grid and the states on it: of the fitted trajectory, or of smoothing splines.
        slopes: How fast the states change there.
        known: Right-hand side without learned functions.
        linear: Derivative of the right-hand side by each library coefficient.
        parameters: Derivative of the right-hand side by each free parameter of the known part.
        weights: Inverse size of an error of each state.
        measured: Measurements where there are some, NaN elsewhere; the path itself for a state that is not seen.
    """

    times: Float[np.ndarray, " point"]
    states: Float[np.ndarray, "point state"]
    slopes: Float[np.ndarray, "point state"]
    known: Float[np.ndarray, "point state"]
    linear: Float[np.ndarray, "point state term"]
    parameters: Float[np.ndarray, "point state parameter"]
    weights: Float[np.ndarray, "point state"]
    measured: Float[np.ndarray, "point state"]


def visited(fit: Fit, library: Library, points: int = 8) -> list[Path]:
    """Paths along the trajectories of a fit, with `points` grid points between measurements."""
    names = [str(x) for x in fit.problem.system.states]
    paths = []
    for e in range(len(fit.problem.experiments)):
        times = _grid(fit.problem.experiments[e].times, points)
        states = np.stack([fit.simulate(times, e)[name] for name in names], axis=1)
        values = {name: float(value) for name, value in fit.parameters.iloc[e].items()}
        slopes = fit.rates(times, states, e)
        paths.append(_path(fit.problem, library, e, points, times, states, slopes, values, list(fit.estimates)))
    return paths


def smoothed(problem: Problem, library: Library) -> list[Path]:
    """Paths along smoothing splines through the measurements, without any solve.

    Raises:
        DataError: A state is not measured, so that there is nothing to smooth.
    """
    names = [str(x) for x in problem.system.states]
    for experiment in problem.experiments:
        unseen = [name for name in names if not experiment.measures(name)]
        if unseen:
            raise DataError(
                f"{quoted(unseen)} is not measured in `{experiment.name}`, and whole equations are read off measured states. "
                "Fit a hybrid first, which fills the gap: `sciml.discover(sciml.fit(problem), ...)`."
            )
    values = {str(x): p.value for x, p in problem.system.parameters.items()}
    free = [str(x) for x, p in problem.system.parameters.items() if not p.fixed]
    paths = []
    for e, experiment in enumerate(problem.experiments):
        points = max(1, min(8, 400 // len(experiment.times)))
        times = _grid(experiment.times, points)
        states, slopes = smooth_states(problem, e, times)
        paths.append(_path(problem, library, e, points, times, states, slopes, values, free))
    return paths


def _grid(times: Float[np.ndarray, " time"], points: int) -> Float[np.ndarray, " point"]:
    fractions = np.arange(points) / points
    return np.append((times[:-1, None] + np.diff(times)[:, None] * fractions).ravel(), times[-1])


def _path(
    problem: Problem, library: Library, e: int, points: int, times, states, slopes, values: dict, free: Sequence[str]
) -> Path:
    experiment = problem.experiments[e]
    inputs = experiment.inputs(times)
    known, linear = columns_of(library, times, states, values, inputs)
    measured = np.full(states.shape, np.nan)
    weights = np.empty(states.shape)
    for i, name in enumerate(map(str, problem.system.states)):
        seen = experiment.measures(name)
        measured[::points, i] = experiment.column(name) if seen else states[::points, i]
        logarithmic = isinstance(problem.likelihoods.get(name), LogNormal)
        weights[:, i] = 1 / states[:, i] if logarithmic else 1 / problem.sizes[i]
    columns = _parameter_columns(library, free, times, states, values, inputs)
    return Path(times, states, slopes, known, linear, columns, weights, measured)


def _parameter_columns(
    library: Library, free: Sequence[str], times, states, values: dict[str, float], inputs
) -> Float[np.ndarray, "point state parameter"]:
    """Central differences of the known part by the free parameters that occur in it."""
    columns = []
    for name in free:
        value = values.get(name)
        if value is None or not any(name in map(str, rhs.free_symbols) for rhs in library.system.equations.values()):
            continue
        step = 1e-5 * (abs(value) or 1.0)
        above, _ = columns_of(library, times, states, values | {name: value + step}, inputs)
        below, _ = columns_of(library, times, states, values | {name: value - step}, inputs)
        columns.append((above - below) / (2 * step))
    return np.stack(columns, axis=2) if columns else np.zeros((*states.shape, 0))


def check_columns(paths: Sequence[Path], library: Library) -> None:
    """Refuse terms of one function that have the same course on all that was visited, up to a factor.

    Of more than two that depend on each other, such as `1`, `sin(x)**2` and `cos(x)**2`, warn: sparse laws may do with some.

    Raises:
        ModelError: Which two terms cannot be told apart.
    """
    for function, name in enumerate(library.functions):
        terms = [k for k, term in enumerate(library.terms) if term.function == function]
        block = np.concatenate([path.linear[:, :, terms].reshape(-1, len(terms)) for path in paths])
        lengths = np.linalg.norm(block, axis=0)
        usable = np.flatnonzero(lengths > 0)
        unit = block[:, usable] / lengths[usable]
        alike = np.argwhere(np.triu(1 - np.abs(unit.T @ unit) < SAME, 1))
        if len(alike):
            a, b = (library.terms[terms[usable[k]]].expression for k in alike[0])
            course = unit[unit[:, alike[0][0]] != 0, alike[0][0]]
            constant = " (they are constant)" if np.ptp(course) < 1e-6 * np.abs(course).max() else ""
            raise ModelError(
                f"the library terms `{a}` and `{b}` of `{name}` coincide on the states that were visited, up to a "
                f"factor{constant}: no data from there tell them apart. Leave one of them out."
            )
        values, directions = np.linalg.svd(unit, full_matrices=False)[1:]
        if len(values) and values[-1] < SAME * values[0]:
            shares = np.abs(directions[-1])
            listed = quoted(
                [library.terms[terms[usable[k]]].expression for k in np.flatnonzero(shares > 1e-3 * shares.max())]
            )
            warnings.warn(
                f"the library terms {listed} of `{name}` depend on each other on the states that were visited: a law with "
                "some of them can be written with the others as well. Leave one of them out.",
                stacklevel=3,
            )
