"""What every description of the unknowns offers: intervals of parameters and bands of trajectories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from sciml.errors import ModelError, SolveError
from sciml.measurement.likelihood import likelihood_of
from sciml.measurement.prediction import Predictor, output_times
from sciml.measurement.problem import Problem
from sciml.symbolic.distributions import LogNormal, Normal


@dataclass(frozen=True)
class Bands:
    """Where trajectories lie, and where new measurements would.

    Attributes:
        names: States, observables.
        times: When.
        level: Probability that a band holds, at each time for itself.
        median: Of the model's value, (time, name).
        lower, upper: Ends of the band of the model's value.
        measured_lower, measured_upper: Ends of the band of a new measurement; NaN for what was not measured.
    """

    names: tuple[str, ...]
    times: Float[np.ndarray, " time"]
    level: float
    median: Float[np.ndarray, "time name"]
    lower: Float[np.ndarray, "time name"]
    upper: Float[np.ndarray, "time name"]
    measured_lower: Float[np.ndarray, "time name"]
    measured_upper: Float[np.ndarray, "time name"]

    def of(self, name: str) -> pd.DataFrame:
        """The bands of one state or observable; the index is time."""
        column = self.names.index(str(name))
        parts = ("median", "lower", "upper", "measured_lower", "measured_upper")
        return pd.DataFrame({part: getattr(self, part)[:, column] for part in parts}, index=self.times)


class AbstractPosterior(ABC):
    """A description of what the data leave open.

    Attributes:
        problem: Equations and measurements.
        vector: The best fit, in free coordinates.
    """

    problem: Problem
    vector: Float[np.ndarray, " theta"]

    @abstractmethod
    def vectors(self, count: int, seed: int = 0) -> Float[np.ndarray, "count theta"]:
        """Draws of everything unknown, in free coordinates."""

    @abstractmethod
    def intervals(self, level: float = 0.9) -> pd.DataFrame:
        """Estimate, lower and upper end for every free parameter and initial value, in physical units."""

    def bands(
        self,
        ts: Sequence[float] | None = None,
        experiment: int = 0,
        *,
        level: float = 0.9,
        draws: int = 1000,
        seed: int = 0,
    ) -> Bands:
        """Bands of the model's values and of new measurements.

        Args:
            ts: Output times, the first being the experiment's first; by default its measured times.
            experiment: Which.
            level: Probability, between 0 and 1.
            draws: Trajectories, and noise for them, to take quantiles of.
            seed: Of the draws.

        Raises:
            SolveError: The equations could not be solved for a tenth of the draws.
        """
        checked_level(level)
        times = output_times(self.problem, ts, experiment)
        predictor = Predictor(self.problem, times, experiment)
        means, scales = self._predictions(predictor, draws, seed)
        solved = np.isfinite(means).all(axis=(1, 2))
        if solved.mean() < 0.9:
            raise SolveError(
                f"the equations could not be solved up to t = {times[-1]:g} for {np.mean(~solved):.0%} of the draws: the "
                "data leave too much open. Ask for an earlier end, or state priors."
            )
        means, scales = means[solved], {c: s[solved] for c, s in scales.items()}
        ends = np.array([0.5 - level / 2, 0.5, 0.5 + level / 2])
        lower, median, upper = np.quantile(means, ends, axis=0)
        new = np.full((2, *median.shape), np.nan)
        generator = np.random.default_rng(seed + 1)
        for column, noise in self.problem.likelihoods.items():
            k = predictor.names.index(column)
            values = scattered(noise, means[..., k], scales[column], generator)
            new[..., k] = np.quantile(values, ends[[0, 2]], axis=0)
        return Bands(predictor.names, times, level, median, lower, upper, *new)

    def _predictions(self, predictor: Predictor, draws: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Model values (draw, time, column), and the noise level of each measured column (draw, time)."""
        vectors = self.vectors(draws, seed)
        means = np.stack([predictor(vector) for vector in vectors])
        scales = [predictor.scales(vector, values) for vector, values in zip(vectors, means)]
        return means, {c: np.array([s[c] for s in scales]) for c in self.problem.likelihoods}


def scattered(noise, means: np.ndarray, scales: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Measurements as a noise model would give them."""
    if not isinstance(noise, Normal | LogNormal):
        return likelihood_of(noise).frozen(*np.broadcast_arrays(means, scales)).rvs(random_state=generator)
    draws = generator.standard_normal(np.broadcast_shapes(np.shape(means), np.shape(scales)))
    return means * np.exp(scales * draws) if isinstance(noise, LogNormal) else means + scales * draws


def named_coordinates(problem: Problem) -> dict[str, int]:
    """Place in the vector of every free parameter and initial value, by name."""
    system = problem.system
    names = {name: i for i, name in enumerate(problem.loss.labels)}
    first = len(problem.loss.coordinates) - len(problem.starts)
    several = len(problem.experiments) > 1
    for k, start in enumerate(problem.starts):
        experiment = problem.experiments[start.experiment]
        where = f", {experiment.name}" if several else ""
        names[f"{system.states[start.state]}({experiment.times[0]:g}{where})"] = first + k
    return names


def checked_level(level: float) -> float:
    """A probability strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ModelError(f"`level={level}` is a probability: give a number between 0 and 1, such as 0.9.")
    return level
