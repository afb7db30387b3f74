"""Supports: which few columns explain a target, by best subsets and by thresholding."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float


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
