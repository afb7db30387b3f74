"""How well fits forecast measurements that were held out."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml.errors import DataError, SolveError
from sciml.fitting.result import Fit
from sciml.measurement.experiment import Experiment, read_experiments
from sciml.measurement.likelihood import likelihood_of
from sciml.measurement.problem import Problem


def read_held_out(problem: Problem, data: Any) -> tuple[Experiment, ...]:
    """Later measurements of a problem's experiments, in their order, checked.

    Raises:
        DataError: They are not as many, or begin before the experiment does.
    """
    names = [str(symbol) for symbol in (*problem.system.states, *problem.system.observed)]
    held = read_experiments(data, names, {})
    if len(held) != len(problem.experiments):
        raise DataError(
            f"`held_out` has {len(held)} series for {len(problem.experiments)} experiments: one for each is needed."
        )
    for later, experiment in zip(held, problem.experiments):
        missing = [name for name in later.columns if name not in problem.columns]
        if missing:
            raise DataError(f"column `{missing[0]}` of `held_out` was not measured in the data that are fitted.")
        if later.times[0] <= experiment.times[0]:
            raise DataError(
                f"`held_out` of `{experiment.name}` begins at {later.times[0]:g}, and the experiment at "
                f"{experiment.times[0]:g}: hold out later times."
            )
    return held


def forecast_error(fit: Fit, held: tuple[Experiment, ...], intervals: int = 1) -> float:
    """Root mean square of held-out residuals, of logarithms where noise is log-normal; infinite if there is no solution.

    Args:
        fit: Of one experiment for each that is held out, or of so many pieces of it, the last of which goes on.
        held: What is to be forecast.
        intervals: Number of pieces.
    """
    squares = []
    for e, later in enumerate(held):
        number = (e + 1) * intervals - 1
        first = fit.problem.experiments[number].times[0]
        try:
            means, _ = fit.predicted([first, *later.times], number)
        except SolveError:
            return float("inf")
        for name in later.columns:
            likelihood = likelihood_of(fit.problem.likelihoods[name])
            rest = likelihood.residuals(later.column(name), means[name].to_numpy()[1:])
            squares.append(rest[np.isfinite(later.column(name))] ** 2)
    mean = float(np.mean(np.concatenate(squares)))
    return float(np.sqrt(mean)) if np.isfinite(mean) else float("inf")
