"""How well fits forecast what they have not seen: errors, scores of probability, rolling origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from sciml.errors import DataError
from sciml.fitting.fit import fit
from sciml.fitting.result import Fit
from sciml.measurement.likelihood import likelihood_of
from sciml.measurement.problem import Problem
from sciml.uncertainty.posterior import scattered

DRAWS = 400


def crps(samples: Float[np.ndarray, "draw value"], values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    r"""Continuous ranked probability score :math:`E|X - y| - \tfrac12 E|X - X'|` of each value, in its unit.

    It is the absolute error of a forecast without spread, and smallest on average for the true distribution.

    Args:
        samples: Draws of the forecast.
        values: What was measured.

    Example:
        >>> crps(np.array([[1.0], [1.0]]), np.array([3.0]))
        array([2.])

    Reference:
        Gneiting and Raftery (2007), J. Am. Stat. Assoc. 102, 359-378, eq. 21.
    """
    ordered = np.sort(samples, axis=0)
    count = len(ordered)
    weights = (2 * np.arange(1, count + 1) - count - 1)[:, None]
    spread = (weights * ordered).sum(axis=0) / count**2  # half the mean absolute difference of two draws
    return np.abs(ordered - values).mean(axis=0) - spread


def scores(found: Fit, later: pd.DataFrame, experiment: int | str = 0, seed: int = 0) -> pd.DataFrame:
    """Errors of a fit on measurements that it has not seen; a row per column of the data.

    `rmse` is that of residuals (of logarithms where the noise is log-normal), `crps` the mean score of the noise around
    the fitted trajectory, in the column's unit: what is uncertain in the parameters does not widen it.

    Args:
        found: The fit.
        later: Measurements, their index behind the first time of the experiment.
        experiment: Whose initial values, parameters and inputs hold.
        seed: Of the draws of the noise.

    Raises:
        DataError: A time does not lie behind the experiment's first, or a column was not fitted.
    """
    problem = found.problem
    names = [e.name for e in problem.experiments]
    first = problem.experiments[names.index(experiment) if isinstance(experiment, str) else experiment].times[0]
    times = later.index.to_numpy(dtype=float)
    if not len(times) or times.min() <= first or (np.diff(times) <= 0).any():
        raise DataError(f"times to be forecast must increase and lie behind {first:g}, the first of the experiment.")
    unknown = [str(c) for c in later.columns if str(c) not in problem.columns]
    if unknown:
        raise DataError(f"column `{unknown[0]}` was not fitted, so that it has no noise to be scored by.")
    means, scales = found.predicted(np.concatenate([[first], times]), experiment)
    generator, rows = np.random.default_rng(seed), {}
    for name in map(str, later.columns):
        values, known = later[name].to_numpy(dtype=float), later[name].notna().to_numpy()
        center, level = means[name].to_numpy()[1:], scales[name].to_numpy()[1:]
        noise = problem.likelihoods[name]
        left = likelihood_of(noise).residuals(values, center)[known]
        draws = scattered(noise, np.tile(center, (DRAWS, 1)), np.tile(level, (DRAWS, 1)), generator)
        rows[name] = {
            "rmse": float(np.sqrt(np.mean(left**2))),
            "crps": float(crps(draws[:, known], values[known]).mean()),
            "values": int(known.sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def rolling(problem: Problem, origins: Sequence[float], horizon: float | None = None, **options: Any) -> pd.DataFrame:
    """Fit up to each origin and forecast what follows: the errors that choose between models.

    Args:
        problem: Of one experiment.
        origins: Last times of the training parts.
        horizon: How far to forecast, in the unit of time; None to the end of the data.
        options: Of `fit`.

    Returns:
        A row for each origin and column: `rmse`, `crps` and the number of values forecast.

    Raises:
        DataError: Nothing was measured behind an origin, or there are several experiments.
    """
    if len(problem.experiments) != 1:
        raise DataError(
            f"a rolling origin is for one experiment, not for {len(problem.experiments)}: hold some out instead."
        )
    experiment = problem.experiments[0]
    frame, parts = experiment.to_frame(), {}
    for origin in origins:
        end = np.inf if horizon is None else origin + horizon
        later = frame[(frame.index > origin) & (frame.index <= end)]
        before = int((experiment.times <= origin).sum())
        if not later.notna().any(axis=None) or before < 2:
            raise DataError(
                f"the origin {origin:g} leaves {before} rows to fit and {len(later)} to forecast: times run from "
                f"{experiment.times[0]:g} to {experiment.times[-1]:g}."
            )
        found = fit(problem.with_experiments([experiment.first(before)]), progress=False, **options)
        parts[origin] = scores(found, later)
    return pd.concat(parts, names=["origin", "column"])
