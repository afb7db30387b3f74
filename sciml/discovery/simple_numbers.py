"""Numbers that are simple, where the data do not mind: fractions with small denominators in place of fitted constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy as sp
from jaxtyping import Float, Int

from sciml.native.scorer import Scorer

LARGEST = 12
"""Denominators up to here count as simple."""


def simplest(low: float, high: float) -> Fraction | None:
    """The fraction with the smallest denominator in an interval; None if that is not small, or zero lies inside.

    Example:
        >>> simplest(0.4998, 0.5003), simplest(-1.34, -1.33), simplest(0.1231, 0.1232)
        (Fraction(1, 2), Fraction(-4, 3), None)
    """
    if not low <= high or low <= 0 <= high:
        return None
    if high < 0:
        found = simplest(-high, -low)
        return None if found is None else -found
    for denominator in range(1, LARGEST + 1):
        numerator = -(-Fraction(low) * denominator // 1)  # the first one not below
        if Fraction(int(numerator), denominator) <= Fraction(high):
            return Fraction(int(numerator), denominator)
    return None


@dataclass(frozen=True, eq=False)
class Rounded:
    """A fit with some constants rounded and the others fitted again.

    Attributes:
        theta: Free coordinates of everything.
        value: Negative log-posterior.
        exact: Coordinate -> the number that it was rounded to.
    """

    theta: Float[np.ndarray, " theta"]
    value: float
    exact: dict[int, sp.Rational]


def rounded_off(
    scorer: Scorer,
    theta: Float[np.ndarray, " theta"],
    value: float,
    moving: Int[np.ndarray, " moving"],
    errors: Mapping[int, float],
    scales: Float[np.ndarray, " theta"],
    loss: float,
) -> Rounded:
    """Round constants one after another, the least certain first, the rest fitted again each time.

    Args:
        scorer: Fits.
        theta, value: Where to begin.
        moving: All coordinates that are fitted.
        errors: Coordinate that may be rounded -> standard error of its number; NaN: leave it.
        scales: Number that a coordinate stands for, over the coordinate.
        loss: By how much twice the negative log-posterior may rise in all.
    """
    best = Rounded(theta, value, {})
    for k in sorted(errors, key=lambda k: -errors[k]):
        # A rounding by w standard errors costs about w² when the others may follow.
        width, number = np.sqrt(loss) * errors[k], float(best.theta[k] * scales[k])
        found = simplest(number - width, number + width) if np.isfinite(width) else None
        if found is None:
            continue
        start = best.theta.copy()
        start[k] = float(found) / scales[k]
        rest = [j for j in moving.tolist() if j != k and j not in best.exact]
        descent = scorer.descend(start, np.array(rest, dtype=int), 200, 1e-8)
        if 2 * (descent.value - value) <= loss:
            exact = best.exact | {k: sp.Rational(found.numerator, found.denominator)}
            best = Rounded(descent.theta, descent.value, exact)
    return best
