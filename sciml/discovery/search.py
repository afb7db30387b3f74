r"""The search among laws: every support is fitted through the solver, and good ones lead to others.

A *support* is the set of terms that a law has. Fits are descents by scoring over its coefficients together with free
parameters and initial values, noise levels profiled, all natively on one compiled model of the whole library. From the best
supports the search goes on to those with one term less, one more, or one exchanged; which terms are worth trying the
score test says, from one simulation with the sensitivities of all coefficients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import sympy as sp
from jaxtyping import Float

from sciml.discovery.candidate import price
from sciml.discovery.inequalities import not_below
from sciml.discovery.library import Library
from sciml.discovery.simple_numbers import rounded_off
from sciml.discovery.sparse_regression import SparseRegression
from sciml.discovery.standard_errors import standard_errors
from sciml.measurement.problem import Problem
from sciml.native.scorer import Scorer

LIMIT = 10.0
"""A trajectory that goes beyond this many times the largest measurement is no candidate."""

PIECES = 10
"""Where a law cannot be solved from its first coefficients, they are improved on so many short pieces of the path."""

ADDS, SWAPS = 12, 4

HOPELESS = 200.0
"""Twice the log-likelihood that an exchange may lose by its linearization, where hopeless ones are left out."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a search starts: from a fit, or from smoothed measurements.

    Attributes:
        problem: With the learned functions.
        values: Parameters by name; those that are missing start as declared.
        paths: States at the measured times, for each experiment.
        prune: Leave out exchanges that lose much even before they are fitted: with thousands of measurements most do.
    """

    problem: Problem
    values: dict[str, float]
    paths: tuple[Float[np.ndarray, "time state"], ...]
    prune: bool = False


@dataclass(frozen=True, eq=False)
class Trial:
    """One support at its best coefficients.

    Attributes:
        active: Its terms.
        theta: Free coordinates of everything.
        value: Negative log-posterior.
        criterion: Twice the value plus the price of the terms.
        converged: Whether the descent ended because nothing more was to be gained.
    """

    active: tuple[int, ...]
    theta: Float[np.ndarray, " theta"]
    value: float
    criterion: float
    converged: bool


class Search:
    """All supports tried so far, and where to go from them.

    Args:
        origin: Where to start.
        library: The terms.
        groups: Terms that share equations; each group has at most `method.terms` active ones.
        method: How to search.
        above: Linear forms of the coefficients that must not be negative. A law whose best coefficients make one negative is
            no candidate: its best allowed ones make it zero, and that is a law with a term less.

    Attributes:
        trials: Support -> its fit; None where it could not be solved.
        rescued: How many were solved only after a start on short pieces.
        forbidden: How many had a coefficient of the wrong sign.
    """

    def __init__(
        self,
        origin: Origin,
        library: Library,
        groups: Sequence[Sequence[int]],
        method: SparseRegression,
        above: Float[np.ndarray, "constraint term"],
    ):
        self.library, self._origin, self._terms, self._shared = library, origin, method.terms, method.shared
        self._above = above
        self.problem: Problem = origin.problem.with_system(library.system)
        self.loss = self.problem.loss
        self._scorer = self.loss.scorer(LIMIT)
        names = [str(x) for x, p in self.problem.system.parameters.items() if not p.fixed]
        self._names = names
        self.places = np.array([names.index(str(term.coefficient)) for term in library.terms], dtype=int)
        self._group = {k: g for g, group in enumerate(groups) for k in group}
        values = self.loss.coordinates.values(self.loss.initial())[0]
        for k, name in enumerate(names):
            values[k] = origin.values.get(name, values[k])
        values[self.places] = 0.0
        starts = [origin.paths[s.experiment][0, s.state] for s in self.problem.starts]
        values[len(values) - len(starts) :] = starts
        self.start = self.loss.coordinates.free(values)
        self._scales = self.loss.coordinates.scale[self.places]
        held = {*self.places.tolist(), *self._scorer.noise}
        self.others = np.array([k for k in range(len(values)) if k not in held], dtype=int)
        self.trials: dict[tuple[int, ...], Trial | None] = {}
        self.rescued = self.forbidden = 0
        self._expanded: set[tuple[int, ...]] = set()

    def price(self, active: Sequence[int]) -> float:
        """Of a support, see `report.price`."""
        distinct = {self.library.terms[k].expression for k in active} if self._shared else active
        return price(len(distinct), len(self.library.terms), self.problem.observations, len(self.others))

    def try_support(self, active: Sequence[int], starts: Sequence[Float[np.ndarray, " theta"]]) -> Trial | None:
        """Fit a support from several starts, once; the better result counts."""
        key = tuple(sorted(int(k) for k in active))
        if key not in self.trials:
            moving = np.concatenate([self.others, self.places[list(key)]])
            found = [self._scorer.descend(theta, moving) for theta in starts]
            if not any(np.isfinite(d.value) for d in found):
                found = [self._scorer.descend(self._on_pieces(theta, moving), moving) for theta in starts[:1]]
                self.rescued += bool(np.isfinite(found[0].value))
            self.trials[key] = self._best(key, found)
        return self.trials[key]

    def _best(self, key: tuple[int, ...], descents) -> Trial | None:
        best = min(descents, key=lambda d: d.value)
        if not np.isfinite(best.value):
            return None
        active = list(key)
        if not not_below(self._above[:, active], best.theta[self.places[active]] * self._scales[active]):
            self.forbidden += 1
            return None
        return Trial(key, best.theta, best.value, 2 * best.value + self.price(key), best.converged)

    def coefficients(self, active: Sequence[int], values: Sequence[float]) -> Float[np.ndarray, " theta"]:
        """The start with these coefficients."""
        theta = self.start.copy()
        theta[self.places[list(active)]] = np.asarray(values) / self._scales[list(active)]
        return theta

    def _on_pieces(self, theta: np.ndarray, moving: np.ndarray) -> np.ndarray:
        """Coefficients from short pieces that start on the hybrid's trajectory, which cannot run away."""
        scorer, nodes = self._pieces
        return scorer.descend(np.concatenate([theta, nodes]), moving).theta[: len(theta)]

    @cached_property
    def _pieces(self) -> tuple[Scorer, np.ndarray]:
        """The loss over short pieces, and the free coordinates of their starts on the hybrid's trajectory."""
        experiments = self.problem.experiments
        loss = self.loss.in_pieces(min(PIECES, *(len(experiment.times) - 1 for experiment in experiments)))
        inner = [shot for shot in loss.shots if not shot.first]
        rows = [np.searchsorted(experiments[shot.experiment].times, shot.times[0]) for shot in inner]
        nodes = [value for shot, row in zip(inner, rows) for value in self._origin.paths[shot.experiment][row]]
        free = loss.coordinates.at(np.arange(len(self.start), len(loss.coordinates))).free(np.array(nodes))
        return loss.scorer(LIMIT), free

    def ranked(self) -> list[Trial]:
        """Best criterion first."""
        return sorted((t for t in self.trials.values() if t is not None), key=lambda t: t.criterion)

    def round(self, beam: int) -> bool:
        """Expand those of the best that have not been; whether there were any."""
        todo = [trial for trial in self.ranked()[:beam] if trial.active not in self._expanded]
        for trial in todo:
            self._expanded.add(trial.active)
            self.expand(trial)
        return bool(todo)

    def expand(self, trial: Trial) -> None:
        """Try every drop, the best adds and the best exchanges of a support."""
        tangents = self._scorer.tangents(trial.theta, np.concatenate([self.others, self.places]))
        if tangents is None:
            return
        rows, rest = tangents
        kept = np.any(rows != 0.0, axis=1)
        rows, rest = rows[kept], rest[kept]
        base = list(range(len(self.others)))
        for out in (None, *trial.active):
            stay = [k for k in trial.active if k != out]
            columns = base + [len(base) + k for k in stay]
            left = rest if out is None else rest + rows[:, len(base) + out] * trial.theta[self.places[out]]
            if out is not None:
                self._step(trial, stay, out, rows, left)
            if self._room(stay):
                for k in self._promising(rows, left, columns, trial.active)[: ADDS if out is None else SWAPS]:
                    if self._allowed([*stay, k]):
                        self._step(trial, [*stay, k], out, rows, left)

    def _room(self, stay: Sequence[int]) -> bool:
        return len(stay) < self._terms * len(set(self._group.values()))

    def _allowed(self, active: Sequence[int]) -> bool:
        """Whether no group has more terms than it may."""
        counts = np.bincount([self._group[k] for k in active])
        return bool(counts.max(initial=0) <= self._terms)

    def _promising(self, rows, left, columns, active) -> list[int]:
        """Terms by what they would gain, as far as the linearized model tells, best first."""
        offset = len(self.others)
        basis = np.linalg.qr(rows[:, columns])[0]
        candidates = [k for k in range(len(self.places)) if k not in active]
        block = rows[:, [offset + k for k in candidates]]
        lengths = np.sum(block**2, axis=0)
        block = block - basis @ (basis.T @ block)
        squares = np.sum(block**2, axis=0)
        usable = squares > 1e-8 * np.maximum(lengths, 1e-300)
        gains = np.where(usable, (block.T @ left) ** 2 / np.where(usable, squares, 1.0), -1.0)
        order = np.argsort(-gains)
        return [candidates[i] for i in order if gains[i] >= 0]

    def _step(self, trial: Trial, active: Sequence[int], out: int | None, rows, left) -> None:
        """Try a neighbor from the trial's own numbers, moved by the linearized model, and as they are."""
        if tuple(sorted(active)) in self.trials:
            return
        offset = len(self.others)
        columns = [*range(offset), *(offset + k for k in active)]
        change = np.linalg.lstsq(rows[:, columns], left, rcond=1e-10)[0]
        if self._origin.prune and self._hopeless(rows[:, columns] @ change - left, trial, out, rows, left):
            return
        plain = trial.theta.copy()
        if out is not None:
            plain[self.places[out]] = 0.0
        moved = plain.copy()
        moved[np.concatenate([self.others, self.places[list(active)]])] += change
        self.try_support(active, [moved, plain])

    def _hopeless(self, after: np.ndarray, trial: Trial, out: int | None, rows: np.ndarray, left: np.ndarray) -> bool:
        """Whether the linearized law loses so much by the change that a fit of it is not worth its time."""
        offset = len(self.others)
        before = left if out is None else left - rows[:, offset + out] * trial.theta[self.places[out]]
        return len(left) * np.log(np.sum(after**2) / max(np.sum(before**2), 1e-300)) > HOPELESS

    def errors(self, trial: Trial, exact: Collection[int] = ()) -> dict[str, float]:
        """Standard error of each coefficient and free parameter, from the expected information at the fit.

        NaN where the data do not determine them; none of coefficients that are exact.
        """
        moving = np.concatenate([self.others, self.places[[k for k in trial.active if k not in exact]]])
        found = standard_errors(self.loss, self._scorer, trial.theta, moving)
        return {name: found[k] for k, name in enumerate(self._names) if k in found}

    def simplified(self, trial: Trial, loss: float) -> tuple[Trial, dict[int, sp.Rational]]:
        """The trial with coefficients rounded to simple fractions, one after another, the rest fitted again each time.

        Args:
            trial: What to simplify.
            loss: By how much twice the negative log-posterior may rise in all.
        """
        own = self.places[list(trial.active)]
        moving = np.concatenate([self.others, own])
        errors = standard_errors(self.loss, self._scorer, trial.theta, moving)
        errors = {k: errors.get(k, np.nan) for k in own.tolist()}
        found = rounded_off(self._scorer, trial.theta, trial.value, moving, errors, self.loss.coordinates.scale, loss)
        exact = {k: found.exact[int(self.places[k])] for k in trial.active if int(self.places[k]) in found.exact}
        criterion = 2 * found.value + self.price(trial.active)
        return replace(trial, theta=found.theta, value=found.value, criterion=criterion), exact

    def polish(self, trial: Trial) -> Trial:
        """The trial after a longer descent."""
        moving = np.concatenate([self.others, self.places[list(trial.active)]])
        # The sum over many measurements is not known to more digits than the solver's errors leave.
        tolerance = 1e-8 * max(1.0, self.problem.observations / 100) ** 2
        better = self._best(trial.active, [self._scorer.descend(trial.theta, moving, 200, tolerance)])
        self.trials[trial.active] = better if better is not None and better.value <= trial.value else trial
        return self.trials[trial.active] or trial
