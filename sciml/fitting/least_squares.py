"""Levenberg's and Marquardt's method for any likelihood: damped Fisher scoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from sciml.errors import ModelError
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import AbstractOptimizer, Outcome, Target, check_steps
from sciml.measurement.information import Information

LEAST = 1e-12
"""Damping never falls below this: far above what rounding does to columns of length one."""


@dataclass(frozen=True)
class LevenbergMarquardt(AbstractOptimizer):
    r"""Steps :math:`\delta = -(H + \lambda \operatorname{diag} H)^{-1} \nabla L` with the expected information H.

    For normal noise of known level that is the method of Levenberg and Marquardt on residuals; by the Fisher information
    it serves every likelihood, fitted noise levels, priors, penalties and gaps alike. The Jacobian is exact: one reverse
    pass for each predicted value. An iteration costs as many passes as there are measurements, so it is the method of
    choice for a few hundred of them; few iterations are needed where residuals are small or the model nearly linear.

    Args:
        steps: Largest number of iterations.
        damping: First λ.
        tolerance: Stops when an iteration gains less than this, relative to 1 + |loss|.

    Reference:
        Marquardt (1963), J. SIAM 11, 431-441; Nielsen (1999), IMM-REP-1999-05, for λ; Osborne (1992), Int. Stat. Rev.
        60, 99-117, for scoring.
    """

    steps: int = 200
    damping: float = 1e-2
    tolerance: float = 1e-10

    def __post_init__(self):
        check_steps(self)
        if not (np.isfinite(self.damping) and self.damping > 0):
            raise ModelError(f"`LevenbergMarquardt(damping={self.damping})`: the damping must be a positive number.")

    def minimize(self, function: Target, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        value, gradient = function(vector)
        known = function.information(vector) if np.isfinite(value) else None
        if known is None:
            return Outcome(vector, False, "the equations could not be solved at the start of this stage")
        damping, growth = self.damping, 2.0
        for _ in range(self.steps):
            step, gain = damped_step(known, gradient, damping)
            trial = vector + step
            found, slopes = function(trial)
            ahead = function.information(trial) if found < value else None
            if ahead is None:
                if not gain > self.tolerance * (1 + abs(value)) or damping > 1e20:
                    return Outcome(vector, True, "no step promises a gain above the tolerance")
                damping, growth = damping * growth, 2 * growth
                monitor.step(value, gradient, vector)
                continue
            gained = value - found
            vector, value, gradient, known = trial, found, slopes, ahead
            damping, growth = max(LEAST, damping * max(1 / 3, 1 - (2 * gained / gain - 1) ** 3)), 2.0
            monitor.step(value, gradient, vector)
            if gained < self.tolerance * (1 + abs(value)):
                return Outcome(vector, True, "the gain of an iteration fell below the tolerance")
        return Outcome(vector, False, f"all {self.steps} steps used")


def damped_step(known: Information, gradient: Float[np.ndarray, " n"], damping: float) -> tuple[np.ndarray, float]:
    """The step, and how much the model of second order gains by it."""
    jacobian, priors = known.jacobian, known.priors
    diagonal = (jacobian**2).sum(axis=0) + priors
    # What the data do not see moves at the pace of what they see least.
    diagonal = np.maximum(diagonal, 1e-8 * diagonal.max(initial=0.0) + np.finfo(float).tiny)
    rows, n = jacobian.shape
    if rows < n:
        # Woodbury: a system as large as the number of measurements instead of the number of unknowns.
        inverse = 1 / (priors + damping * diagonal)
        small = np.eye(rows) + (jacobian * inverse) @ jacobian.T
        along = inverse * gradient
        step = inverse * (jacobian.T @ cho_solve(cho_factor(small), jacobian @ along)) - along
    else:
        # Columns of length one: rounding then stays below the least damping, and the matrix positive definite.
        sizes = np.sqrt(diagonal)
        columns = jacobian / sizes
        matrix = columns.T @ columns + np.diag(priors / diagonal + damping)
        step = -cho_solve(cho_factor(matrix), gradient / sizes) / sizes
    return step, 0.5 * float(step @ (damping * diagonal * step - gradient))
