"""The simplest fraction between two numbers."""

from __future__ import annotations

from fractions import Fraction

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
