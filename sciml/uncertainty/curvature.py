"""Second derivatives of a problem's loss: exact, or by Gauss and Newton."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from sciml.errors import SolveError
from sciml.measurement.information import information
from sciml.measurement.problem import Problem

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

    J holds the exact derivatives of all modeled values and noise levels, W the Fisher information of each measurement.
    """

    def matrix(self, problem, vector):
        found = information(problem.loss, vector)
        if found is None:
            raise SolveError("the equations could not be solved at the best fit. Use `fit.bootstrap()`.")
        return found.matrix


def tightened(problem: Problem) -> Problem:
    """The same problem with tolerances a hundredth as large, so that differences see less of the steps' choice."""
    return replace(problem, rtol=problem.rtol / 100, atol=problem.atol / 100, max_steps=10 * problem.max_steps)
