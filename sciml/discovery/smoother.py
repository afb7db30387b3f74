r"""Quintic splines through measured series, as smooth as the series themselves say: states and slopes without any solve.

.. math:: \min_\alpha \|y - B \alpha\|^2 + \lambda \|D_3 \alpha\|^2

with third differences of the coefficients of a B-spline on equal knots; λ by restricted maximum likelihood, which errs less
towards rough curves than cross-validation does. One decomposition serves every λ and every series with the same times.

Reference:
    Eilers and Marx (1996), Stat. Sci. 11, 89; Wood (2011), J. R. Stat. Soc. B 73, 3 (restricted likelihood).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline, make_interp_spline
from scipy.linalg import cholesky, solve_triangular, svd

from sciml.measurement.problem import Problem
from sciml.symbolic.distributions import LogNormal

DEGREE, DIFFERENCE, MOST = 5, 3, 400
LEAST = 10
"""With fewer values a spline goes through all of them."""


@dataclass(frozen=True, eq=False)
class Smoother:
    """What smooths any series measured at the same times.

    Attributes:
        knots: Of the B-spline.
        basis: Its values at the times.
        modes: Directions of coefficients that are orthonormal on the data, from smooth to rough.
        roughness: Of each mode; the first three are zero, quadratic functions.
    """

    knots: Float[np.ndarray, " knot"]
    basis: Float[np.ndarray, "time coefficient"]
    modes: Float[np.ndarray, "coefficient mode"]
    roughness: Float[np.ndarray, " mode"]

    @classmethod
    def of(cls, times: Float[np.ndarray, " time"]) -> Smoother:
        """For these times."""
        count = min(max(len(times) - DEGREE, 2), MOST)
        inner = np.linspace(times[0], times[-1], count + 1)
        step = inner[1] - inner[0]
        ends = step * np.arange(1, DEGREE + 1)
        knots = np.concatenate([times[0] - ends[::-1], inner, times[-1] + ends])
        basis = BSpline.design_matrix(times, knots, DEGREE).toarray()
        differences = np.diff(np.eye(basis.shape[1]), DIFFERENCE, axis=0)
        gram = basis.T @ basis
        # Where measurements have gaps the data say nothing of some coefficients; the penalty alone fills them.
        gram += 1e-10 * np.trace(gram) / len(gram) * np.eye(len(gram))
        # Singular values of the differences, not eigenvalues of their squares: smooth modes are a trillion times smoother
        # than rough ones, and would drown in rounding.
        root = cholesky(gram)
        _, sizes, modes = svd(solve_triangular(root, differences.T, trans="T").T)
        roughness = np.concatenate([np.zeros(DIFFERENCE), sizes[::-1] ** 2])
        return cls(knots, basis, solve_triangular(root, modes[::-1].T), roughness)

    def spline(self, values: Float[np.ndarray, " time"]) -> BSpline:
        """The spline through a series, its smoothness chosen."""
        level = values.mean()
        amplitudes = self.modes.T @ (self.basis.T @ (values - level))
        total = float(np.sum((values - level) ** 2))
        smooth = self.roughness[DIFFERENCE:]
        exponents = np.linspace(-4, 16, 161) - np.log10(smooth[len(smooth) // 2])

        def criterion(exponent: float) -> float:
            weight = 10.0**exponent * smooth
            explained = np.sum(amplitudes[:DIFFERENCE] ** 2) + np.sum(amplitudes[DIFFERENCE:] ** 2 / (1 + weight))
            left = max(total - explained, 1e-14 * total, 1e-300)
            return (len(values) - DIFFERENCE) * np.log(left) + np.sum(np.log1p(1 / weight))

        penalty = 10.0 ** min(exponents - 8, key=criterion)
        coefficients = self.modes @ (amplitudes / (1 + penalty * self.roughness)) + level
        return BSpline(self.knots, coefficients, DEGREE)


def smooth_states(
    problem: Problem, experiment: int, grid: Float[np.ndarray, " point"]
) -> tuple[Float[np.ndarray, "point state"], Float[np.ndarray, "point state"]]:
    """Smoothed states of one experiment and their slopes, on a grid; logarithms are smoothed where noise is log-normal."""
    measured = problem.experiments[experiment]
    smoothers: dict[bytes, Smoother] = {}
    columns = []
    for name in map(str, problem.system.states):
        values = measured.column(name)
        known = np.isfinite(values)
        times, values = measured.times[known], values[known]
        logarithmic = isinstance(problem.likelihoods[name], LogNormal)
        series = np.log(values) if logarithmic else values
        if len(times) < LEAST:
            spline = make_interp_spline(times, series, k=min(3, len(times) - 1))
        else:
            key = times.tobytes()
            smoothers[key] = smoothers.get(key) or Smoother.of(times)
            spline = smoothers[key].spline(series)
        inside = np.clip(grid, times[0], times[-1])  # beyond the measurements a polynomial runs away
        level, slope = spline(inside), np.where(inside == grid, spline.derivative()(inside), 0.0)
        columns.append((np.exp(level), np.exp(level) * slope) if logarithmic else (level, slope))
    return np.stack([c[0] for c in columns], axis=1), np.stack([c[1] for c in columns], axis=1)
