"""A start for fits: match the slopes of smoothing splines, without solving the equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import LBFGS, Target, run_stage
from sciml.measurement.problem import Problem

COLLOCATION = "Collocation"
"""Name of its stage, whose evaluations solve nothing."""


@dataclass(frozen=True)
class Collocation:
    r"""Gradient matching: smooth the data, then make the right-hand side agree with the slopes.

    .. math:: \tfrac12 \sum_i \sum_k \Big( \frac{\hat x_i'(t_k) - f_i(t_k, \hat x(t_k))}{\delta\, r_i} \Big)^2
              \frac{N}{K} - \log p(\theta)

    with splines :math:`\hat x`, typical rates :math:`r_i`, N rows of data and K points; slopes of logarithms for
    states with log-normal noise. It needs every state to be measured, is fast, and is biased by the smoothing: a
    start for shooting, not a fit.

    Args:
        steps: Iterations of L-BFGS.
        points: Points per interval between measurements.
        accuracy: Relative accuracy δ that the slopes are trusted to.

    Reference:
        Varah (1982), SIAM J. Sci. Stat. Comput. 3, 28-46.
    """

    steps: int = 200
    points: int = 4
    accuracy: float = 0.1

    def reason_against(self, problem: Problem) -> str | None:
        """Why it cannot be used on this problem, or None."""
        if problem.system.noise:
            return "the System has noise, and its paths have no slopes"
        for experiment in problem.experiments:
            for x in problem.system.states:
                if not experiment.measures(str(x)):
                    return f"`{x}` is not measured in `{experiment.name}`"
        return None

    def improve(self, problem: Problem, vector: Float[np.ndarray, " theta"], monitor: Monitor):
        """The vector with parameters and weights that match the slopes, and starts on the splines."""
        times, states, slopes, numbers, inputs = self._table(problem)
        sizes = np.where(problem.positive, problem.rates / problem.sizes, problem.rates)
        positive = torch.tensor(problem.positive)
        t, y = torch.as_tensor(times)[:, None], torch.as_tensor(states)
        divisor = torch.where(positive, y, 1.0)
        target, unit = torch.as_tensor(slopes) / divisor, torch.as_tensor(self.accuracy * sizes)
        rows = sum(len(experiment.times) for experiment in problem.experiments)
        weight = rows / len(times)
        experiment, u = torch.as_tensor(numbers), torch.as_tensor(inputs) if problem.system.inputs else None

        def mismatch(rates):
            return 0.5 * weight * ((((rates(t, y, experiment, u) / divisor) - target) / unit) ** 2).sum()

        vector = self._with_starts(problem, vector)
        function = monitor.watch(Target(problem.loss.field_function(mismatch), lambda v: None))
        optimizer = LBFGS(steps=self.steps, tolerance=1e-8)
        return run_stage(COLLOCATION, optimizer, function, vector, monitor).vector

    def _table(self, problem: Problem):
        """Points of all experiments with smoothed states and slopes, the number of the experiment, and inputs."""
        parts = []
        for e, experiment in enumerate(problem.experiments):
            fractions = np.arange(self.points) / self.points
            fine = experiment.times[:-1, None] + np.diff(experiment.times)[:, None] * fractions
            grid = np.append(fine.ravel(), experiment.times[-1])
            curves = [problem.curve(e, str(x))(grid) for x in problem.system.states]
            smoothed = np.stack([c[0] for c in curves], 1), np.stack([c[1] for c in curves], 1)
            parts.append((grid, *smoothed, np.full(len(grid), e), experiment.inputs(grid)))
        return tuple(np.concatenate(column) for column in zip(*parts))

    def _with_starts(self, problem: Problem, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, " theta"]:
        values, _ = problem.loss.coordinates.values(vector)
        states = problem.system.states
        for k, start in enumerate(problem.starts):
            curve = problem.curve(start.experiment, str(states[start.state]))
            value = curve(problem.experiments[start.experiment].times[:1])[0][0]
            lower, upper = start.parameter.bounds
            # Beyond a bound the coordinate would be infinite and the fit stuck there.
            if (lower is None or value > lower) and (upper is None or value < upper):
                values[len(values) - len(problem.starts) + k] = value
        return problem.loss.coordinates.free(values)
