"""What laws are read off: a fit, a problem that is not fitted, or measurements alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import sympy as sp

from sciml.discovery.search import Origin
from sciml.discovery.smoother import smooth_states
from sciml.errors import DataError, ModelError
from sciml.fitting.result import Fit
from sciml.measurement.experiment import Experiment, column_names
from sciml.measurement.problem import Problem
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

Source = Fit | Problem | pd.DataFrame | Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame]


def problem_of(source: Source) -> tuple[Problem, tuple[str, ...] | None]:
    """The Problem with functions to be found, and what these are called in laws if not by their own names.

    Of measurements alone every column is a state whose whole right-hand side is to be found.

    Raises:
        ModelError: It is none of these.
    """
    if isinstance(source, Fit | Problem):
        problem = source.problem if isinstance(source, Fit) else source
        problem.needs_measurements("`discover`")
        return problem, None
    if not isinstance(source, pd.DataFrame | Sequence | Mapping) or isinstance(source, str | System):
        raise ModelError(
            f"`discover` takes a Fit, a Problem or a DataFrame, not `{type(source).__name__}`: "
            "`discover(sciml.fit(problem), ...)`."
        )
    first = source if isinstance(source, pd.DataFrame) else next(iter(_frames(source)))
    columns = column_names(source)
    states = [sp.Symbol(str(name), real=True) for name in first.columns if str(name) in columns]
    functions = [sp.Function(f"rate_{x}") for x in states]
    equations = {x: f(*states) for x, f in zip(states, functions)}
    # Stand-ins, never fitted; their scales are given so that none are read off the data.
    network = MLP(hidden=(1,), input_scale=(1.0,) * len(states), output_scale=(1.0,))
    system = System(equations, learned=dict.fromkeys(functions, network))
    return Problem(system, source), tuple(map(str, states))


def _frames(source: Sequence | Mapping) -> list[pd.DataFrame]:
    frames = list(source.values() if isinstance(source, Mapping) else source)
    if not frames or not all(isinstance(frame, pd.DataFrame) for frame in frames):
        raise DataError(
            "`discover` needs measurements: a pandas DataFrame whose index is time and whose columns are the states, or a "
            "list of them."
        )
    return frames


def origin_of(source: Source, problem: Problem, intervals: int) -> Origin:
    """Where the search starts: estimates and states of the fit, or splines through the measurements."""
    names = [str(x) for x in problem.system.states]
    if isinstance(source, Fit):
        values = source.estimates
        simulated = [source.simulate(experiment=e) for e in range(len(problem.experiments))]
        paths = [np.stack([simulation[name] for name in names], axis=1) for simulation in simulated]
    else:
        values = {}
        paths = [smooth_states(problem, e, own.times)[0] for e, own in enumerate(problem.experiments)]
    prune = not isinstance(source, Fit)
    if intervals == 1:
        return Origin(problem, values, tuple(paths), prune)
    pieces = [piece for experiment in problem.experiments for piece in _cut(experiment, intervals)]
    states = [block for path in paths for block in np.array_split(path, intervals)]
    # A piece starts where the last one ended, wherever the whole series started.
    free = problem.with_system(replace(problem.system, initial={}))
    return Origin(free.with_experiments(pieces), values, tuple(states), prune)


def _cut(experiment: Experiment, intervals: int) -> list[Experiment]:
    rows = np.array_split(np.arange(len(experiment.times)), intervals)
    if len(rows[-1]) < 2:
        raise DataError(
            f"`intervals={intervals}` is too many for `{experiment.name}` with {len(experiment.times)} rows: a piece has two "
            "at least."
        )
    return [
        replace(
            experiment,
            name=f"{experiment.name} {i + 1}",
            times=experiment.times[part],
            values=experiment.values[part],
            levels=experiment.levels[part],
        )
        for i, part in enumerate(rows)
    ]
