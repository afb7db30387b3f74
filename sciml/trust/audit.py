"""The gradient of a loss against finite differences, along a random direction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from sciml.measurement.problem import Problem
from sciml.solvers import Direct

LIMIT = 0.05
"""Relative error from which on a gradient is not believed."""

STEPS = (1e-3, 1e-4, 1e-5)
"""Of the differences: the best of them counts, since adaptive steps spoil short ones and curvature long ones."""

ASIDE = 1e-2
"""How far beside the vector it is looked at: at a minimum itself there is no slope."""


@dataclass(frozen=True)
class Audit:
    """One comparison.

    Attributes:
        engine: What computed the loss.
        slope: The gradient along the direction.
        difference: The finite difference that is closest.
        error: Their difference, relative to the larger one.
    """

    engine: str
    slope: float
    difference: float
    error: float

    @property
    def passed(self) -> bool:
        """Whether the gradient can be believed."""
        return self.error <= LIMIT


def audit(problem: Problem, vector: Float[np.ndarray, " theta"], seed: int = 0) -> Audit | None:
    """Compare along a random direction beside a vector; None where the equations cannot be solved there.

    Args:
        problem: Whose loss.
        vector: Free coordinates.
        seed: Of the direction.
    """
    direction = np.random.default_rng(seed).standard_normal(len(vector))
    direction /= np.linalg.norm(direction)
    here = vector + ASIDE * direction
    value, gradient = problem.value_and_gradient(here)
    if not np.isfinite(value):
        here = vector
        value, gradient = problem.value_and_gradient(here)
    if not np.isfinite(value):
        return None
    slope = float(gradient @ direction)
    found = []
    for step in STEPS:
        above, below = (problem.value_and_gradient(here + s * step * direction)[0] for s in (1.0, -1.0))
        difference = (above - below) / (2 * step)
        floor = 1e-9 * (1 + abs(value)) / step  # what rounding and the solver's tolerance leave
        if np.isfinite(difference):
            found.append((abs(slope - difference) / max(abs(slope), abs(difference), floor), difference))
    if not found:
        return None
    error, difference = min(found)
    return Audit(problem.engine, slope, difference, error)


def believed(problem: Problem, vector: Float[np.ndarray, " theta"]) -> tuple[Problem, Audit | None, str | None]:
    """The problem with a gradient that passes: its own, or by another engine or method, and what to say of the change."""
    own = audit(problem, vector)
    if own is None or own.passed:
        return problem, own, None
    for other in _alternatives(problem):
        second = audit(other, vector)
        if second is not None and second.passed:
            text = (
                f"the gradient by {problem.engine} with {problem.gradients!r} is off by {own.error:.1%} against finite "
                f"differences: {other.engine.split()[0]} with {other.gradients!r} was taken ({second.error:.1e})."
            )
            return other, second, text
    text = (
        f"the gradient is off by {own.error:.1%} against finite differences at the start, in every engine: the trajectory "
        "may be chaotic or too long. Try `MultipleShooting(intervals=...)`, or smaller `rtol` and `atol`."
    )
    return problem, own, text


def _alternatives(problem: Problem) -> list[Problem]:
    direct = replace(problem, gradients=Direct())
    others = [] if problem.gradients == Direct() else [direct]
    return [*others, *([replace(direct, backend="torch")] if problem.engine == "native" else [])]
