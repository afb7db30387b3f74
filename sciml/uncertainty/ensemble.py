"""Ensembles: many vectors that are as good as the best one, from starts or from the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from sciml.errors import ModelError, SolveError
from sciml.measurement.prediction import Predictor
from sciml.measurement.problem import Problem
from sciml.uncertainty.descent import descend
from sciml.uncertainty.laplace import Laplace
from sciml.uncertainty.posterior import AbstractPosterior, checked_level, named_coordinates, scattered


@dataclass(frozen=True, eq=False)
class Ensemble(AbstractPosterior):
    """Vectors of equal weight.

    Args:
        problem: What was fitted.
        vector: The best fit.
        members: The vectors, a row each.
        failures: How many could not be computed.
    """

    problem: Problem
    vector: Float[np.ndarray, " theta"]
    members: Float[np.ndarray, "member theta"]
    failures: int = 0

    @classmethod
    def of(cls, fits: Sequence, within: float = np.inf) -> Ensemble:
        """Fits of one problem, from several starts.

        The spread over starts says how far the optimizer can be trusted, and of networks how far equally good ones
        differ away from the data; of well determined parameters it is no error bar.

        Args:
            fits: What `fit` returned, of the same problem.
            within: Those whose loss is at most this far above the best are members.
        """
        if not len(fits):
            raise ModelError("an ensemble of no fits: give a list of at least one.")
        sizes = {len(fit.vector) for fit in fits}
        if len(sizes) > 1:
            raise ModelError(f"fits with {sorted(sizes)} unknowns are of different problems: give fits of one.")
        best = min(fits, key=lambda fit: fit.loss)
        kept = [fit.vector for fit in fits if fit.loss <= best.loss + within]
        return cls(best.problem, best.vector, np.stack(kept), len(fits) - len(kept))

    def vectors(self, count, seed=0):
        if count >= len(self.members):
            return self.members
        return self.members[np.random.default_rng(seed).choice(len(self.members), count, replace=False)]

    def intervals(self, level=0.9):
        ends = np.array([0.5 - checked_level(level) / 2, 0.5 + level / 2])
        coordinates = self.problem.loss.coordinates
        values = np.stack([coordinates.values(vector)[0] for vector in self.members])
        best = coordinates.values(self.vector)[0]
        rows = {n: (best[i], *np.quantile(values[:, i], ends)) for n, i in named_coordinates(self.problem).items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "lower", "upper"])

    def __len__(self) -> int:
        return len(self.members)


def bootstrap(laplace: Laplace, samples: int = 100, seed: int = 0, jobs: int = -1) -> Ensemble:
    """Parametric bootstrap: new noise around the fitted trajectory, fitted again from the best fit.

    Args:
        laplace: The approximation at the best fit, which rounds the valley for the fits.
        samples: How many.
        seed: Of the noise; the result does not depend on the number of workers.
        jobs: Processes, as joblib counts them; under `joblib.parallel_config` any of its backends.

    Raises:
        SolveError: Fewer than half of the samples could be fitted.

    Reference:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 6.
    """
    if samples < 2:
        raise ModelError(f"`samples={samples}`: a bootstrap needs at least 2, for intervals a hundred or more.")
    problem, vector = laplace.problem, laplace.vector
    expected, levels = [], []
    for e, experiment in enumerate(problem.experiments):
        predictor = Predictor(problem, experiment.times, e)
        means = predictor(vector)
        expected.append(np.stack([means[:, predictor.names.index(c)] for c in problem.columns], 1))
        levels.append(np.stack(list(predictor.scales(vector, means).values()), axis=1) * experiment.levels)
    seeds = np.random.SeedSequence(seed).spawn(samples)
    work = (joblib.delayed(_refit)(problem, vector, laplace.factor, expected, levels, s) for s in seeds)
    found = joblib.Parallel(n_jobs=jobs)(work)
    members = [member for member in found if member is not None]
    if len(members) < samples / 2:
        raise SolveError(
            f"{samples - len(members)} of {samples} bootstrap samples could not be fitted: the equations cannot be solved "
            "near the best fit, or the problem has other valleys. Fit from several starts, `starts=16`."
        )
    return Ensemble(problem, vector, np.stack(members), samples - len(members))


def _refit(problem: Problem, vector, factor, expected, levels, seed) -> np.ndarray | None:
    """The vector fitted to new measurements, in the coordinates of the original problem."""
    generator = np.random.default_rng(seed)
    drawn = []
    for experiment, means, scales in zip(problem.experiments, expected, levels):
        values = np.full_like(experiment.values, np.nan)
        for k, column in enumerate(problem.columns):
            values[:, k] = scattered(problem.likelihoods[column], means[:, k], scales[:, k], generator)
        values[~np.isfinite(experiment.values)] = np.nan
        drawn.append(values)
    new = problem.with_values(drawn)
    here, there = problem.loss.coordinates, new.loss.coordinates
    start = there.free(here.values(vector)[0])
    units = np.where(here.transform == 0, here.scale / there.scale, 1.0)  # starts are measured in sizes of the data
    with threadpool_limits(1):
        value, found = descend(new.value_and_gradient, start, units[:, None] * factor)
    return here.free(there.values(found)[0]) if np.isfinite(value) else None
