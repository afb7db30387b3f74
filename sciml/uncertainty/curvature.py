"""Second derivatives of a problem's loss: exact, or by Gauss and Newton."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from sciml.errors import SolveError
from sciml.measurement.prediction import Predictor
from sciml.measurement.problem import Problem
from sciml.symbolic.declarations import LogNormal

Matrix = Float[np.ndarray, "theta theta"]


class AbstractCurvature(ABC):
    """A way to the matrix of second derivatives at the best fit."""

    @abstractmethod
    def matrix(self, problem: Problem, vector: Float[np.ndarray, " theta"]) -> Matrix:
        """In free coordinates, symmetric."""


@dataclass(frozen=True)
class ExactHessian(AbstractCurvature):
    """Central differences of the exact gradient, solved a hundred times as accurately as in the fit.

    Steps are a twentieth of each coordinate's own standard deviation, the others held fixed.

    Args:
        step: First step, in free coordinates.
    """

    step: float = 1e-3

    def matrix(self, problem, vector):
        exact = tightened(problem)
        steps = np.full(len(vector), self.step)
        hessian = self._differences(exact, vector, steps, np.arange(len(vector)))
        deviations = np.maximum(np.diag(hessian), 1e-12) ** -0.5
        again = np.flatnonzero(steps > 0.2 * deviations)
        steps[again] = 0.05 * deviations[again]
        hessian[again] = self._differences(exact, vector, steps, again)
        return 0.5 * (hessian + hessian.T)

    @staticmethod
    def _differences(problem, vector, steps, indices):
        rows = np.empty((len(indices), len(vector)))
        for row, i in zip(rows, indices):
            shift = np.zeros(len(vector))
            shift[i] = steps[i]
            (above, up), (below, down) = (problem.value_and_gradient(vector + s) for s in (shift, -shift))
            if not (np.isfinite(above) and np.isfinite(below)):
                raise SolveError(
                    f"the equations could not be solved beside the best fit (coordinate {i}, step {steps[i]:.1e}). Use "
                    "profiles or `fit.bootstrap()`, which need no derivatives there."
                )
            row[:] = (up - down) / (2 * steps[i])
        return rows


@dataclass(frozen=True)
class GaussNewton(AbstractCurvature):
    r"""The expected curvature :math:`J^T W J`: never negative, and free of the residuals' second derivatives.

    J holds the derivatives of all modeled values and noise levels, by central differences, W the Fisher information
    of each measurement.

    Args:
        step: In free coordinates.
    """

    step: float = 1e-4

    def matrix(self, problem, vector):
        exact = tightened(problem)
        coordinates = problem.loss.coordinates
        total = np.diag(_prior_curvature(coordinates, vector))
        for e, experiment in enumerate(problem.experiments):
            predictor = Predictor(exact, experiment.times, e)
            places = [predictor.names.index(c) for c in problem.columns]
            means, logs = self._values(predictor, vector, places)
            columns = []
            for i in range(len(vector)):
                shift = np.zeros(len(vector))
                shift[i] = self.step
                (up, s_up), (down, s_down) = (self._values(predictor, vector + s, places) for s in (shift, -shift))
                columns.append(((up - down) / (2 * self.step), (s_up - s_down) / (2 * self.step)))
            slopes = np.stack([c[0] for c in columns], -1)
            log_slopes = np.stack([c[1] for c in columns], -1)
            if not np.isfinite(slopes).all():
                raise SolveError("the equations could not be solved beside the best fit. Use `fit.bootstrap()`.")
            for k, column in enumerate(problem.columns):
                known = np.isfinite(experiment.values[:, experiment.columns.index(column)])
                unit = np.exp(logs[k]) * (means[known, k] if _logarithmic(problem, column) else 1.0)
                J = slopes[known, k] / np.reshape(unit, (-1, 1))
                total += J.T @ J + 2 * known.sum() * np.outer(log_slopes[k], log_slopes[k])
        return total

    @staticmethod
    def _values(predictor, vector, places):
        return predictor(vector)[:, places], np.log(list(predictor.scales(vector).values()))


def _logarithmic(problem: Problem, column: str) -> bool:
    return isinstance(problem.likelihoods[column], LogNormal)


def _prior_curvature(coordinates, vector, step: float = 1e-4):
    """Second derivatives of the priors by each coordinate."""

    def gradient(free):
        values, slopes = coordinates.values(free)
        return coordinates.penalty(values)[1] * slopes

    return (gradient(vector + step) - gradient(vector - step)) / (2 * step)


def tightened(problem: Problem) -> Problem:
    """The same problem with tolerances a hundredth as large, so that differences see less of the steps' choice."""
    return replace(problem, rtol=problem.rtol / 100, atol=problem.atol / 100, max_steps=10 * problem.max_steps)
