"""The objective of those who name none: single shooting, and shorter shots where that ends in a wrong valley."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sciml.errors import ModelError
from sciml.fitting.collocation import Collocation
from sciml.fitting.monitor import Monitor
from sciml.fitting.objectives import AbstractObjective, GrowingWindow, MultipleShooting, SingleShooting
from sciml.fitting.optimizers import Outcome
from sciml.measurement.likelihood import likelihood_of
from sciml.measurement.prediction import Predictor
from sciml.measurement.problem import Problem
from sciml.measurement.smoothing import scatter
from sciml.symbolic.distributions import LogNormal

SLIGHT = 1e-3
"""Residuals of this share of the spread of the data count as none."""


@dataclass(frozen=True)
class Automatic(AbstractObjective):
    """Single shooting; where it leaves clearly more than a smooth curve would, multiple shooting, too.

    What a smoothing spline leaves, or the scatter about lines through neighbors if that is less, is about the noise; so is
    a level that was declared with a number or a prior. A model that leaves much more has either the wrong form, or the
    fit ended in a wrong valley, as it does where a state was not measured or a period is unknown. Short trajectories have
    fewer valleys: so multiple shooting with each of the numbers of intervals, then a growing window are tried until one
    explains the data, and the vector with the lowest loss is returned. Where the form is wrong that costs time and
    changes nothing.

    Args:
        excess: How many times what a spline leaves still counts as explained, in root mean squares.
        intervals: Numbers of shots per experiment, at most a third of its rows.
        windows: Of the growing window, at most half of the rows.
        start: How to find a first vector; None starts from declared values and random weights.
    """

    excess: float = 1.5
    intervals: tuple[int, ...] = (10, 20)
    windows: int = 20
    start: Collocation | None = field(default_factory=Collocation)

    def __post_init__(self):
        if not (np.isfinite(self.excess) and self.excess > 0):
            raise ModelError(f"`Automatic(excess={self.excess!r})` must be a positive number, such as 1.5.")

    def minimize(self, problem: Problem, optimizers, monitor: Monitor, vector: Float[np.ndarray, " theta"]) -> Outcome:
        best = SingleShooting(self.start).minimize(problem, optimizers, monitor, vector)
        # A filter or a density looks at each interval by itself: there are no wrong valleys of this kind. A cost has no rows
        # to cut at.
        if problem.system.noise or problem.cost is not None:
            return best
        said = told = list(monitor.notes)  # what the others say of the start it has said, and of losers nobody asks
        for name, objective in self._others(problem):
            if self.explains(problem, best.vector):
                break
            other = objective.minimize(problem, optimizers, monitor, vector)
            if _loss(problem, other) < _loss(problem, best):
                best, told = other, [*said, f"single shooting ended in a worse valley than {name}."]
            monitor.notes[:] = told
        return best

    def _others(self, problem: Problem) -> list[tuple[str, AbstractObjective]]:
        rows = min(len(experiment.times) for experiment in problem.experiments)
        counts = dict.fromkeys(min(count, rows // 3) for count in self.intervals)
        shots = [(f"{n} shots per experiment", MultipleShooting(n, start=self.start)) for n in counts if n > 1]
        windows = min(self.windows, rows // 2)
        return [*shots, ("a growing window", GrowingWindow(windows, start=self.start))] if windows > 1 else []

    def explains(self, problem: Problem, vector: Float[np.ndarray, " theta"]) -> bool:
        """Whether a vector leaves about as little of every column as smoothing splines do, or as was declared."""
        if not np.isfinite(problem.value_and_gradient(vector)[0]):
            return False
        left, noise, spread = (_Squares(problem.columns) for _ in range(3))
        for e, experiment in enumerate(problem.experiments):
            states = Predictor(problem, experiment.times, e)(vector)[:, : len(problem.system.states)]
            means, levels = problem.loss.measure(vector, experiment.times, states, e)
            levels = np.where(_declared(problem), levels * experiment.levels, 0.0)
            for k, name in enumerate(problem.columns):
                values = experiment.column(name)
                known = int(np.isfinite(values).sum())
                if known < 2:
                    continue
                chance = 1 + 2 / np.sqrt(2 * known)  # two standard errors of a root mean square
                likelihood = likelihood_of(problem.likelihoods[name])
                left.add(name, likelihood.residuals(values, means[:, k]))
                noise.add(name, np.maximum(np.abs(self.excess * _noise(problem, e, name)), chance * levels[:, k]))
                spread.add(name, values - np.nanmean(values))
        return all(a <= max(b, SLIGHT * c) for a, b, c in zip(left.roots, noise.roots, spread.roots))


class _Squares:
    """Root mean squares of parts of columns."""

    def __init__(self, columns: Sequence[str]):
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}

    def add(self, name: str, values: np.ndarray) -> None:
        self._parts[name].append(values)

    @property
    def roots(self) -> list[float]:
        """Of each column; infinite where a value could not be computed."""
        joined = [np.concatenate(parts) if parts else np.zeros(1) for parts in self._parts.values()]
        return [float(np.sqrt(np.nanmean(x**2))) if np.isfinite(x).any() else np.inf for x in joined]


def _declared(problem: Problem) -> list[bool]:
    """For each column, whether its noise level was stated: as a number, or by parameters with a prior."""
    parameters = problem.system.parameters
    free = {x for x, p in parameters.items() if not p.fixed and p.prior is None}
    counts = [problem.likelihoods[name].counts for name in problem.columns]
    return [not many and not scale.free_symbols & free for many, scale in zip(counts, problem.scales)]


def _noise(problem: Problem, e: int, name: str) -> np.ndarray:
    """What a smoothing spline leaves of a column, or less: cross-validation smooths some series flat."""
    experiment = problem.experiments[e]
    values = experiment.column(name)
    likelihood = likelihood_of(problem.likelihoods[name])
    left = likelihood.residuals(values, problem.curve(e, name)(experiment.times)[0])
    logarithmic = isinstance(problem.likelihoods[name], LogNormal)
    size = float(np.sqrt(np.nanmean(left**2)))
    return left * min(1.0, scatter(experiment.times, np.log(values) if logarithmic else values) / size if size else 1.0)


def _loss(problem: Problem, outcome: Outcome) -> float:
    return problem.value_and_gradient(outcome.vector)[0]
