"""Sparse regressions on a table of columns, and the choice of how sparse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from sciml.discovery.candidate import price
from sciml.discovery.inequalities import least_squares_above, not_below
from sciml.discovery.supports import Support, subsets
from sciml.errors import ModelError

ACCURACY = 1e-4
"""Part of the target that no term is believed for: errors of quadrature and smoothing are that large without noise."""

SELECTIONS = ("familywise", "bic", "aicc", "cross-validation")
FOLDS = 5
STILL = 20
"""Iterations without a change of the support after which `SR3` ends."""


@dataclass(frozen=True)
class Columns:
    """Candidate columns of unit norm, constants of integration and the like projected out.

    Attributes:
        matrix, target: What is left of columns and target.
        lengths: Norms that the columns had.
        names: Index of each column in the library.
        above: Linear forms of the coefficients that must not be negative.
        others: How many columns were projected out.
        size: Norm of the target before that.
    """

    matrix: Float[np.ndarray, "row column"]
    target: Float[np.ndarray, " row"]
    lengths: Float[np.ndarray, " column"]
    names: tuple[int, ...]
    above: Float[np.ndarray, "constraint column"]
    others: int
    size: float

    @classmethod
    def of(
        cls, target, columns, nuisance, names: Sequence[int], above: Float[np.ndarray, "constraint term"] | None = None
    ) -> Columns:
        """From a table as measured; columns that the nuisance explains are left out.

        Args:
            target, columns, nuisance: What is to be explained, by what, and what else explains it.
            names: Index of each column in the library.
            above: Linear forms of all coefficients of the library that must not be negative.
        """
        basis = np.linalg.qr(nuisance)[0] if nuisance.shape[1] else nuisance
        projected = columns - basis @ (basis.T @ columns)
        lengths, before = np.linalg.norm(projected, axis=0), np.linalg.norm(columns, axis=0)
        kept = np.flatnonzero(lengths > 1e-6 * np.maximum(before, 1e-300))
        rest = target - basis @ (basis.T @ target)
        own = tuple(names[k] for k in kept)
        size = float(np.linalg.norm(target))
        forms = np.zeros((0, len(own))) if above is None else above[:, list(own)] / lengths[kept]
        forms = forms[forms.any(axis=1)]
        return cls(projected[:, kept] / lengths[kept], rest, lengths[kept], own, forms, basis.shape[1], size)

    def rows(self, chosen: np.ndarray) -> Columns:
        """Some of the rows, with repetitions."""
        return Columns(
            self.matrix[chosen], self.target[chosen], self.lengths, self.names, self.above, self.others, self.size
        )

    @cached_property
    def gram(self) -> Float[np.ndarray, "column column"]:
        return self.matrix.T @ self.matrix

    @cached_property
    def moments(self) -> Float[np.ndarray, " column"]:
        return self.matrix.T @ self.target

    def solve(self, active: Sequence[int]) -> Float[np.ndarray, " active"]:
        """Least squares on some columns, the others at zero, with coefficients as they may be."""
        return least_squares_above(self.matrix[:, list(active)], self.target, self.above[:, list(active)])

    def allowed(self, support: Support) -> bool:
        """Whether coefficients are as they may be."""
        return not_below(self.above[:, list(support.active)], np.array(support.coefficients))

    def misfit(self, active: Sequence[int], coefficients: Float[np.ndarray, " active"]) -> float:
        """Residual sum of squares."""
        return float(np.sum((self.target - self.matrix[:, list(active)] @ coefficients) ** 2))


class AbstractRegression(ABC):
    """A way to propose supports of growing size for one table."""

    @abstractmethod
    def supports(self, columns: Columns, terms: int) -> list[tuple[int, ...]]:
        """Positions of active columns; at most `terms` of them, unless a threshold was given."""


@dataclass(frozen=True)
class BestSubset(AbstractRegression):
    """The best subset of every size: all are tried where they are fewer than 50 000, else a beam of 200 grows."""

    def supports(self, columns: Columns, terms: int) -> list[tuple[int, ...]]:
        total = float(columns.target @ columns.target)
        found = subsets(columns.gram, columns.moments, total, terms=terms, keep=20)
        # Where the best coefficients are forbidden, the best allowed ones lie at a border: they are a smaller subset's.
        best = {len(s.active): s.active for s in reversed(found) if columns.allowed(s)}
        return [best[size] for size in sorted(best)]


@dataclass(frozen=True)
class STLSQ(AbstractRegression):
    """Sequentially thresholded least squares: small coefficients are set to zero and the others fitted again, until none is.

    Args:
        threshold: Least size of a coefficient, in its own unit. None: forty thresholds between 1e-3 and 1 of the
            largest contribution (coefficient times norm of the term) are tried.

    Reference:
        Brunton, Proctor, Kutz (2016), PNAS 113, 3932.
    """

    threshold: float | None = None

    def __post_init__(self):
        _check_threshold(self.threshold, self)

    def supports(self, columns: Columns, terms: int) -> list[tuple[int, ...]]:
        return _over_thresholds(columns, self.threshold, terms, self._support)

    def _support(self, columns: Columns, thresholds: Float[np.ndarray, " column"]) -> tuple[int, ...]:
        active = tuple(range(len(columns.names)))
        while active:
            large = np.abs(columns.solve(active)) >= thresholds[list(active)]
            if large.all():
                break
            active = tuple(k for k, kept in zip(active, large) if kept)
        return active


@dataclass(frozen=True)
class SR3(AbstractRegression):
    r"""Sparse relaxed regularized regression with a hard threshold.

    .. math:: \min_{\xi, w} \tfrac12 \|A\xi - b\|^2 + \tfrac{\nu}{2} \|\xi - w\|^2 + \lambda \|w\|_0

    on columns of unit norm; the coefficients are least squares on the support of w.

    Args:
        threshold: As for `STLSQ`.
        relaxation: ν. Large values come close to the problem without relaxation.

    Reference:
        Zheng, Askham, Brunton, Kutz, Aravkin (2019), IEEE Access 7, 1404.
    """

    threshold: float | None = None
    relaxation: float = 1.0

    def __post_init__(self):
        _check_threshold(self.threshold, self)
        if not np.isfinite(self.relaxation) or self.relaxation <= 0:
            raise ModelError(f"`SR3(relaxation={self.relaxation!r})` must be a positive number.")

    def supports(self, columns: Columns, terms: int) -> list[tuple[int, ...]]:
        return _over_thresholds(columns, self.threshold, terms, self._support)

    def _support(self, columns: Columns, thresholds: Float[np.ndarray, " column"]) -> tuple[int, ...]:
        count = len(columns.names)
        inverse = np.linalg.inv(columns.gram + self.relaxation * np.eye(count))
        w = columns.solve(range(count))
        # Signs of single coefficients are kept in every iteration, sums of several in the coefficients at the end.
        single = columns.above[np.count_nonzero(columns.above, axis=1) == 1]
        lower, upper = (single > 0).any(axis=0), (single < 0).any(axis=0)
        still = 0
        while still < STILL:
            free = inverse @ (columns.moments + self.relaxation * w)
            forbidden = (lower & (free < 0)) | (upper & (free > 0))
            after = np.where((np.abs(free) >= thresholds) & ~forbidden, free, 0.0)
            still = still + 1 if np.array_equal(after != 0, w != 0) else 0
            w = after
        return tuple(np.flatnonzero(w).tolist())


def _over_thresholds(columns: Columns, threshold: float | None, terms: int, support) -> list[tuple[int, ...]]:
    """Supports for one threshold on coefficients, or for many on contributions."""
    if not len(columns.names):
        return [()]
    if threshold is not None:
        return [support(columns, threshold * columns.lengths)]
    largest = np.max(np.abs(columns.solve(range(len(columns.names)))), initial=0.0)
    found = {support(columns, np.full(len(columns.names), largest * part)) for part in np.logspace(-3, 0, 40)}
    return sorted((s for s in found | {()} if len(s) <= terms), key=len)


@dataclass(frozen=True)
class Chosen:
    """What a regression chose for one group of equations.

    Attributes:
        active: Library indices of the active terms.
        coefficients: Of the active terms.
        path: All supports that were compared: their terms, residual sum of squares, and criterion (less is better).
    """

    active: tuple[int, ...]
    coefficients: tuple[float, ...]
    path: tuple[tuple[tuple[int, ...], float, float], ...]


def choose(regression: AbstractRegression, columns: Columns, terms: int, select: str) -> Chosen:
    """The support with the best criterion among those that a regression proposes."""
    proposed = regression.supports(columns, terms)
    solved = [columns.solve(support) for support in proposed]
    misfits = [columns.misfit(support, c) for support, c in zip(proposed, solved)]
    if select == "cross-validation":
        scores = _cross_validated(columns, proposed)
    else:
        scores = [criterion(columns, len(support), misfit, select) for support, misfit in zip(proposed, misfits)]
    best = int(np.argmin(scores))
    named = [tuple(columns.names[k] for k in support) for support in proposed]
    values = tuple(float(c) for c in solved[best] / columns.lengths[list(proposed[best])])
    return Chosen(named[best], values, tuple(zip(named, misfits, map(float, scores))))


def criterion(columns: Columns, count: int, misfit: float, select: str) -> float:
    """n log(RSS / n) and the price of the terms."""
    n = len(columns.target)
    floor = (ACCURACY * columns.size) ** 2
    value = n * float(np.log((misfit + floor) / n))
    others = count + columns.others
    if select == "bic":
        return value + float(np.log(n)) * count
    if select == "aicc":
        return value + 2 * count + 2 * others * (others + 1) / max(n - others - 1, 1)
    return value + price(count, len(columns.names), n, columns.others)


def _cross_validated(columns: Columns, supports: Sequence[tuple[int, ...]]) -> list[float]:
    """Mean squared error on stretches that were left out; the smallest support within a standard error is preferred."""
    folds = np.array_split(np.arange(len(columns.target)), FOLDS)
    errors = np.zeros((len(supports), FOLDS))
    for f, fold in enumerate(folds):
        rest = columns.rows(np.setdiff1d(np.arange(len(columns.target)), fold))
        for i, support in enumerate(supports):
            left = columns.target[fold] - columns.matrix[np.ix_(fold, list(support))] @ rest.solve(support)
            errors[i, f] = np.mean(left**2) + (ACCURACY * columns.size) ** 2 / len(columns.target)
    means = errors.mean(axis=1)
    best = int(np.argmin(means))
    bound = means[best] + errors[best].std(ddof=1) / np.sqrt(FOLDS)
    near = [i for i in range(len(supports)) if means[i] <= bound]
    first = min(near, key=lambda i: (len(supports[i]), means[i]))
    return [float(m) if i != first else float(min(means[best], m)) - 1e-12 for i, m in enumerate(means)]


def bagged(
    regression: AbstractRegression, columns: Columns, terms: int, select: str, bags: int, seed: int = 0
) -> dict[int, float]:
    """How often each term is chosen when the rows are drawn anew, in blocks, with repetitions.

    Reference:
        Fasel, Kutz, Brunton, Brunton (2022), Proc. R. Soc. A 478, 20210904.
    """
    draw = np.random.default_rng(seed)
    n = len(columns.target)
    length = max(1, round(n ** (1 / 3)))
    counts = dict.fromkeys(columns.names, 0)
    for _ in range(bags):
        starts = draw.integers(0, n, -(-n // length))
        rows = ((starts[:, None] + np.arange(length)) % n).ravel()[:n]
        for k in choose(regression, columns.rows(rows), terms, select).active:
            counts[k] += 1
    return {k: count / bags for k, count in counts.items()}


def _check_threshold(threshold: float | None, regression: AbstractRegression) -> None:
    if threshold is not None and not (np.isfinite(threshold) and threshold >= 0):
        raise ModelError(f"the threshold of `{regression}` must be a number from 0, or None to have it chosen.")
