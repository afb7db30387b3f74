"""Laplace's approximation: the posterior as a Gaussian in free coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm

from sciml.measurement.problem import Problem
from sciml.uncertainty.curvature import AbstractCurvature, ExactHessian
from sciml.uncertainty.identifiability import described
from sciml.uncertainty.posterior import AbstractPosterior, checked_level, named_coordinates

FLOOR = 1e-7
"""Eigenvalues of the scaled curvature below this are noise of the differences: the direction is open."""


@dataclass(frozen=True, eq=False)
class Laplace(AbstractPosterior):
    r"""The posterior near the best fit, :math:`u \sim N(\hat u, H^{-1})` in free coordinates.

    Intervals are mapped through the bounds' change of variable, so they lie inside the bounds and need not be
    symmetric. Good where the data determine the parameters well; where a profile differs, believe the profile.

    Args:
        problem: What was fitted.
        vector: The best fit.
        curvature: H, the matrix of second derivatives.

    Reference:
        MacKay (2003), Information Theory, Inference, and Learning Algorithms, chapter 27.
    """

    problem: Problem
    vector: Float[np.ndarray, " theta"]
    curvature: Float[np.ndarray, "theta theta"]

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Units, eigenvalues and eigenvectors of the curvature with a diagonal of ones."""
        diagonal = np.abs(np.diag(self.curvature))
        units = np.maximum(diagonal, FLOOR * diagonal.max(initial=1.0)) ** 0.5
        values, vectors = np.linalg.eigh(self.curvature / np.outer(units, units))
        return units, values, vectors

    @property
    def is_minimum(self) -> bool:
        """Whether the curvature is positive in every direction (up to the accuracy of the differences)."""
        return bool(self._eigen[1].min(initial=1.0) > -1e-4)

    @cached_property
    def factor(self) -> Float[np.ndarray, "theta theta"]:
        """A matrix L with covariance L Lᵀ; columns of open directions are long."""
        units, values, vectors = self._eigen
        return vectors * np.maximum(values, FLOOR) ** -0.5 / units[:, None]

    @cached_property
    def covariance(self) -> Float[np.ndarray, "theta theta"]:
        """Of the free coordinates."""
        return self.factor @ self.factor.T

    def vectors(self, count, seed=0):
        noise = np.random.default_rng(seed).standard_normal((count, len(self.vector)))
        return self.vector + noise @ self.factor.T

    def intervals(self, level=0.9):
        z = norm.ppf(0.5 + checked_level(level) / 2)
        spread = z * np.sqrt(np.diag(self.covariance))
        coordinates = self.problem.loss.coordinates
        ends = [coordinates.values(self.vector + shift)[0] for shift in (-spread, 0.0 * spread, spread)]
        ends = np.sort(np.stack(ends), axis=0)
        rows = {name: ends[[1, 0, 2], i] for name, i in named_coordinates(self.problem).items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "lower", "upper"])

    def undetermined(self, level: float = 0.9) -> tuple[str, ...]:
        """In words: which parameters, or which combinations of them, the data do not determine."""
        places = named_coordinates(self.problem)
        indices = np.array(list(places.values()), dtype=int)
        covariance = self.covariance[np.ix_(indices, indices)]
        return described(
            list(places), self.problem.loss.coordinates.at(indices), self.vector[indices], covariance, level
        )

    def _predictions(self, predictor, draws, seed) -> tuple[np.ndarray, dict[str, Any]]:
        """Linear in the unknowns: an open direction that no trajectory feels widens no band."""
        best = predictor(self.vector)
        levels = predictor.scales(self.vector, best)
        positive = np.array([*self.problem.positive, *[False] * (best.shape[1] - len(self.problem.positive))])
        slopes, log_slopes = [], []
        for direction in self.factor.T:
            step = min(0.1, 1e-3 / np.abs(direction).max())
            up, down = self.vector + step * direction, self.vector - step * direction
            above, below = predictor(up), predictor(down)
            slopes.append((above - below) / (2 * step))
            s_up, s_down = predictor.scales(up, above), predictor.scales(down, below)
            log_slopes.append({c: np.log(s_up[c] / s_down[c]) / (2 * step) for c in levels})
        noise = np.random.default_rng(seed).standard_normal((draws, len(self.vector)))
        change = np.tensordot(noise, np.stack(slopes), 1)
        safe = np.where(positive, best, 1.0)
        means = np.where(positive, best * np.exp(change / safe), best + change)
        return means, {c: levels[c] * np.exp(noise @ [row[c] for row in log_slopes]) for c in levels}


def laplace(problem: Problem, vector: np.ndarray, curvature: AbstractCurvature | None = None) -> Laplace:
    """Laplace's approximation at the best fit."""
    problem.needs_measurements("an interval")
    return Laplace(problem, vector, (curvature or ExactHessian()).matrix(problem, vector))
