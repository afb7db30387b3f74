"""Trajectories of a problem's model at any vector of its unknowns."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from sciml.errors import DataError
from sciml.lowering.networks import set_all_weights
from sciml.lowering.vector_field import VectorField, compile
from sciml.measurement.experiment import Experiment
from sciml.measurement.problem import Problem
from sciml.simulation import Simulation, along, simulate


def load(field: VectorField, problem: Problem, vector: Float[np.ndarray, " theta"]) -> VectorField:
    """Put the parameters and weights of a vector into a compiled model."""
    parameters, weights, _ = problem.loss.physical(vector)
    with torch.no_grad():
        field.p.copy_(torch.as_tensor(parameters))
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
        experiment: Whose initial values to start from.
        throw: Raise where the equations cannot be solved; otherwise the states are NaN from there.
    """
    start = problem.loss.initial_states(vector)[experiment]
    states = problem.loss.trajectory(vector, start, times)
    if states is not None:
        return along(field, times, states)
    initial = {str(x): value for x, value in zip(problem.system.states, start)}
    options = {"solver": problem.solver, "rtol": problem.rtol, "atol": problem.atol, "max_steps": problem.max_steps}
    return simulate(field, times, initial=initial, throw=throw, **options)


def experiment_at(problem: Problem, index: int) -> Experiment:
    """One experiment by its number.

    Raises:
        DataError: There is none of that number.
    """
    count = len(problem.experiments)
    if not 0 <= index < count:
        raise DataError(f"there is no experiment {index}: the problem has {count}, counted from 0.")
    return problem.experiments[index]


def output_times(problem: Problem, ts, experiment: int) -> Float[np.ndarray, " time"]:
    """Times asked for, checked; by default the measured ones.

    Raises:
        DataError: They start elsewhere than the experiment.
    """
    measured = experiment_at(problem, experiment)
    times = measured.times if ts is None else np.asarray(ts, dtype=float)
    if times.ndim != 1 or not len(times) or times[0] != measured.times[0]:
        raise DataError(
            f"`ts` must be a list of times that starts at {measured.times[0]:g}, where `{measured.name}` has its "
            "initial values. Put that time in front."
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

    def scales(self, vector: Float[np.ndarray, " theta"]) -> dict[str, float]:
        """Noise level of every measured column, before a column of the data multiplies it."""
        parameters, _, _ = self.problem.loss.physical(vector)
        values = dict(zip(self.problem.system.parameters, parameters))
        return {c: float(scale.subs(values)) for c, scale in zip(self.problem.columns, self.problem.scales)}
