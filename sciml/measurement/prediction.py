"""Trajectories of a problem's model at any vector of its unknowns."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.lowering.networks import set_all_weights
from sciml.lowering.vector_field import VectorField, compile
from sciml.measurement.problem import Problem
from sciml.simulation import Simulation, along, simulate


def load(field: VectorField, problem: Problem, vector: Float[np.ndarray, " theta"], experiment: int = 0) -> VectorField:
    """Put the weights of a vector, and the parameters of an experiment, into a compiled model."""
    parameters, weights, _ = problem.loss.physical(vector)
    with torch.no_grad():
        field.p.copy_(torch.as_tensor(parameters[experiment if len(parameters) > 1 else 0]))
    set_all_weights(field.networks, weights)
    return field


def predict(
    field: VectorField,
    problem: Problem,
    vector: Float[np.ndarray, " theta"],
    times: Float[np.ndarray, " time"],
    experiment: int = 0,
    throw: bool = True,
) -> Simulation:
    """The trajectory of one experiment.

    Args:
        field: The compiled model with the vector loaded.
        problem: Equations and measurements.
        vector: Free coordinates of everything unknown.
        times: Output times, the first being the experiment's first.
        experiment: Whose initial values, parameters and inputs to take.
        throw: Raise where the equations cannot be solved; otherwise the states are NaN from there.
    """
    if problem.system.noise:
        raise ModelError(
            "a fit of a stochastic System has paths, no single trajectory: `sciml.simulate(fit.system, ts, paths=1000)`."
        )
    start = problem.loss.initial_states(vector)[experiment]
    states = problem.loss.trajectory(vector, start, times, experiment)
    given = problem.experiments[experiment].signals
    signals = () if given is None else (given,)
    rows = problem.loss.physical(vector)[0]
    values = rows[experiment if len(rows) > 1 else 0]
    if states is not None:
        return along(field, times, states, values, signals)
    initial = {str(x): value for x, value in zip(problem.system.states, start)}
    inputs, parameters = signals or None, dict(zip(problem.system.parameters, values))
    options = {"solver": problem.solver, "rtol": problem.rtol, "atol": problem.atol, "max_steps": problem.max_steps}
    return simulate(field, times, initial=initial, parameters=parameters, inputs=inputs, throw=throw, **options)


def number_of(problem: Problem, experiment: int | str) -> int:
    """The number of an experiment, given by its number or name.

    Raises:
        DataError: There is none such.
    """
    names = [e.name for e in problem.experiments]
    if isinstance(experiment, str):
        if experiment not in names:
            raise DataError(
                f"there is no experiment `{experiment}`. There are {quoted(names)}.{suggestion(experiment, names)}"
            )
        return names.index(experiment)
    if not 0 <= experiment < len(names):
        raise DataError(f"there is no experiment {experiment}: the problem has {len(names)}, counted from 0.")
    return int(experiment)


def output_times(problem: Problem, ts, experiment: int) -> Float[np.ndarray, " time"]:
    """Times asked for, checked; by default the measured ones.

    Raises:
        DataError: They start elsewhere than the experiment, or go on behind the end of its inputs.
    """
    measured = problem.experiments[number_of(problem, experiment)]
    times = measured.times if ts is None else np.asarray(ts, dtype=float)
    if times.ndim != 1 or not len(times) or times[0] != measured.times[0]:
        raise DataError(
            f"`ts` must be a list of times that starts at {measured.times[0]:g}, where `{measured.name}` has its "
            "initial values. Put that time in front."
        )
    end = np.inf if measured.signals is None else measured.signals.end
    if times.max() > end:
        raise DataError(
            f"the inputs of `{measured.name}` are known up to {end:g}, but `ts` goes on to {times.max():g}. To go on with "
            f'others: `sciml.simulate(fit.system_of("{measured.name}"), ts, inputs=...)`.'
        )
    return times


class Predictor:
    """Model values over time at any vector, of one experiment: states, then observables.

    Args:
        problem: Equations and measurements.
        times: Output times, the first being the experiment's first.
        experiment: Which one.
    """

    def __init__(self, problem: Problem, times: Float[np.ndarray, " time"], experiment: int = 0):
        self.problem, self.times, self.experiment = problem, times, experiment
        self._field = compile(problem.system)
        self.names = tuple(str(x) for x in (*problem.system.states, *problem.system.observed))

    def __call__(self, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, "time column"]:
        """NaN where the equations could not be solved."""
        field = load(self._field, self.problem, vector)
        return predict(field, self.problem, vector, self.times, self.experiment, throw=False).values

    def scales(
        self, vector: Float[np.ndarray, " theta"], values: Float[np.ndarray, "time column"]
    ) -> dict[str, Float[np.ndarray, " time"]]:
        """Noise level of every measured column over time, before a column of the data multiplies it.

        Args:
            vector: Free coordinates.
            values: What calling this gave at the vector, for levels that depend on states.
        """
        states = values[:, : len(self.problem.system.states)]
        _, scales = self.problem.loss.measure(vector, self.times, states, self.experiment)
        return dict(zip(self.problem.columns, scales.T))
