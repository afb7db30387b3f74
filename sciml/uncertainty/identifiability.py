"""Practical identifiability in words: which parameters, or combinations of them, the data leave open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from sciml.errors import quoted
from sciml.measurement.coordinates import Coordinates, Transform

WIDE = 0.5 * np.log(10.0)
"""Half-width in free coordinates from which on a parameter counts as open: an interval over a factor of ten."""

MEMBER = 0.1
"""A parameter takes part in an open direction if its share is this large, relative to the largest."""


def described(
    names: Sequence[str],
    coordinates: Coordinates,
    free: Float[np.ndarray, " n"],
    covariance: Float[np.ndarray, "n n"],
    level: float,
) -> tuple[str, ...]:
    """One sentence for each open direction.

    A parameter is open if its interval spans more than a factor of ten (with a bound on one side), more than a range
    of that length on the logistic scale (between two bounds), or more than 1.15 times its declared size on either
    side (without bounds).

    Args:
        names: Of the parameters and initial values.
        coordinates, free: Their coordinates at the best fit.
        covariance: Of the free coordinates.
        level: Of the intervals.
    """
    z = norm.ppf(0.5 + level / 2)
    values, directions = np.linalg.eigh(covariance)
    sentences = []
    told: set[int] = set()
    for value, direction in sorted(zip(values, directions.T), key=lambda pair: -pair[0]):
        reach = z * np.sqrt(max(value, 0.0)) * np.abs(direction)
        if reach.max(initial=0.0) < WIDE:
            break
        members = np.flatnonzero(np.abs(direction) > MEMBER * np.abs(direction).max())
        told |= set(members.tolist())
        sentences.append(_sentence(names, coordinates, free, direction, members))
    spread = z * np.sqrt(np.diag(covariance))
    for i in np.flatnonzero(spread >= WIDE):
        if i not in told:
            sentences.append(_alone(names[i]))
    return tuple(sentences)


def _alone(name: str) -> str:
    return f"`{name}` is not determined by the data: fix it, state a prior, or measure more."


def _sentence(names, coordinates, free, direction, members) -> str:
    if len(members) == 1:
        return _alone(names[members[0]])
    logarithmic = np.isin(coordinates.transform[members], (Transform.ABOVE,)) & (coordinates.lower[members] == 0)
    listed = quoted([names[i] for i in members])
    if logarithmic.all():
        what = _product([names[i] for i in members], direction[members])
    else:
        _, slopes = coordinates.values(free)
        what = _sum([names[i] for i in members], (direction * slopes)[members])
    return (
        f"{listed} are not determined one by one: the data leave the direction {what[0]} open"
        + (f" and fix only {what[1]}" if what[1] else "")
        + ". Fix one of them, or state a prior."
    )


def _product(names: list[str], direction: np.ndarray) -> tuple[str, str]:
    """Along the direction logarithms change together, and powers of their products with the foremost one stay."""
    first = int(np.argmax(np.abs(direction)))
    scaled = direction / direction[first]
    text = ", ".join(f"{name} ∝ e^({c:.2g} s)" for name, c in zip(names, scaled))
    kept = [f"`{n}*{names[first]}**({_number(-c)})`" for n, c in zip(names, scaled) if n != names[first]]
    return f"({text})", " and ".join(kept)


def _sum(names: list[str], direction: np.ndarray) -> tuple[str, str]:
    first = int(np.argmax(np.abs(direction)))
    scaled = direction / direction[first]
    text = ", ".join(f"{name} {'-' if c < 0 else '+'} {_factor(c)}s" for name, c in zip(names, scaled))
    kept = [
        f"`{name} {'-' if c > 0 else '+'} {_factor(c)}{names[first]}`"
        for name, c in zip(names, scaled)
        if name != names[first]
    ]
    return f"({text})", " and ".join(kept)


def _factor(value: float) -> str:
    number = _number(abs(value))
    return "" if number == "1" else f"{number}*"


def _number(value: float) -> str:
    nearest = round(value)
    return str(int(nearest)) if nearest and abs(value - nearest) < 0.02 * abs(nearest) else f"{value:.2g}"
