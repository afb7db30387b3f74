"""Sparse regression: which few terms of a library explain a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import sympy as sp
from jaxtyping import Float

from sciml.errors import ModelError
from sciml.symbolic.checks import expression


@dataclass(frozen=True)
class SparseRegression:
    """Few terms of a library for every learned function.

    Supports (sets of active terms) are proposed by best subsets and by thresholded least squares on the integral form of
    the equations; the fits through the solver alone decide, and lead to others (see `discover`).

    Args:
        degree: Library of all monomials of the function's arguments up to this total degree.
        library: Terms of your own, SymPy expressions in the states (besides those of `degree`, if given).
        terms: Most terms per learned function (for functions that share an equation: together).
        keep: Supports of each size that go into combinations.
        refits: Combinations that are fitted through the solver before the search goes on, and laws in the report.
        beam: How many of the best laws the search goes on from.
        shared: Price a term once that stands in several functions: what one state loses, another gains.

    Reference:
        Brunton, Proctor, Kutz (2016), PNAS 113, 3932 (thresholded least squares); Schaeffer and McCalla (2017),
        Phys. Rev. E 96, 023302 (integral form).
    """

    degree: int | None = None
    library: Sequence[sp.Expr] = ()
    terms: int = 3
    keep: int = 6
    refits: int = 40
    beam: int = 4
    shared: bool = False

    def __post_init__(self):
        library = self.library if np.iterable(self.library) else [self.library]
        terms = tuple(expression(term, "a term of `library`") for term in library if term is not None)
        object.__setattr__(self, "library", terms)
        if self.degree is None and not terms:
            raise ModelError("`SparseRegression` needs terms: `degree=2`, or `library=[x, x*y, ...]`.")
        if self.degree is not None and (not isinstance(self.degree, int) or not 0 <= self.degree <= 10):
            raise ModelError(f"`degree={self.degree!r}` must be a whole number from 0 to 10.")
        for name in ("terms", "keep", "refits", "beam"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ModelError(f"`{name}={getattr(self, name)!r}` must be a positive whole number.")


@dataclass(frozen=True)
class Support:
    """A set of active columns with what least squares gives on them.

    Attributes:
        active: Indices of columns.
        coefficients: One per active column.
        misfit: Residual sum of squares over that without any term.
    """

    active: tuple[int, ...]
    coefficients: tuple[float, ...]
    misfit: float


def propose(
    target: Float[np.ndarray, " row"],
    columns: Float[np.ndarray, "row column"],
    nuisance: Float[np.ndarray, "row other"],
    *,
    terms: int,
    keep: int,
) -> list[Support]:
    """The best few supports of every size, by best subsets and by thresholding.

    Args:
        target: What to explain.
        columns: Candidate terms; scaled to unit norm here.
        nuisance: Columns that are always active and not counted: constants of integration, free known parameters.
        terms: Largest size.
        keep: How many of each size.
    """
    basis = np.linalg.qr(nuisance)[0] if nuisance.shape[1] else nuisance
    rest = target - basis @ (basis.T @ target)
    projected = columns - basis @ (basis.T @ columns)
    lengths, projected_lengths = np.linalg.norm(columns, axis=0), np.linalg.norm(projected, axis=0)
    # A column that the nuisance explains (such as `hare` beside a free birth rate) cannot be told from it.
    usable = np.flatnonzero(projected_lengths > 1e-6 * np.maximum(lengths, 1e-300))
    scaled = projected[:, usable] / projected_lengths[usable]
    supports = subsets(scaled.T @ scaled, scaled.T @ rest, float(rest @ rest), terms=terms, keep=keep)
    supports += thresholded(scaled, rest, terms=terms)
    return [
        Support(
            tuple(int(usable[k]) for k in support.active),
            tuple(c / projected_lengths[usable[k]] for k, c in zip(support.active, support.coefficients)),
            support.misfit,
        )
        for support in supports
    ]


def subsets(
    gram: Float[np.ndarray, "column column"],
    moments: Float[np.ndarray, " column"],
    total: float,
    *,
    terms: int,
    keep: int,
) -> list[Support]:
    """Best subsets of each size from none to `terms`: all of them, or a beam where they are too many to try."""
    count = len(moments)
    gram = gram + 1e-12 * np.eye(count)
    found = [Support((), (), 1.0)]
    best = np.zeros((1, 0), dtype=int)
    for size in range(1, min(terms, count) + 1):
        if comb(count, size) <= 50_000:
            trials = np.array(list(combinations(range(count), size)))
        else:
            grown = {tuple(sorted((*row, k))) for row in best.tolist() for k in range(count) if k not in row}
            trials = np.array(sorted(grown))
        solved = np.linalg.solve(gram[trials[:, :, None], trials[:, None, :]], moments[trials][..., None])[..., 0]
        misfits = total - (solved * moments[trials]).sum(axis=1)
        order = np.argsort(misfits)
        best = trials[order[:200]]
        found += [
            Support(tuple(map(int, trials[i])), tuple(solved[i]), max(float(misfits[i]) / max(total, 1e-300), 0.0))
            for i in order[:keep]
        ]
    return found


def thresholded(
    columns: Float[np.ndarray, "row column"], target: Float[np.ndarray, " row"], *, terms: int
) -> list[Support]:
    """Sequentially thresholded least squares over a range of thresholds; supports of at most `terms` columns."""
    found: dict[tuple[int, ...], Support] = {}
    total = float(target @ target)
    if columns.shape[1] == 0 or total == 0:
        return []
    largest = np.max(np.abs(columns.T @ target))
    for threshold in largest * np.logspace(-3, 0, 20):
        active = np.arange(columns.shape[1])
        coefficients = np.zeros(0)
        while len(active):
            coefficients = np.linalg.lstsq(columns[:, active], target, rcond=None)[0]
            kept = np.abs(coefficients) >= threshold
            if kept.all():
                break
            active = active[kept]
        key = tuple(map(int, active))
        if 0 < len(key) <= terms and key not in found:
            residual = target - columns[:, active] @ coefficients
            found[key] = Support(key, tuple(coefficients), float(residual @ residual) / total)
    return list(found.values())
