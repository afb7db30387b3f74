"""Profile likelihood: how well the rest can make up for a parameter that is held somewhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import chi2

from sciml.errors import ModelError, quoted, suggestion
from sciml.uncertainty.descent import descend
from sciml.uncertainty.laplace import Laplace
from sciml.uncertainty.posterior import checked_level, named_coordinates


@dataclass(frozen=True)
class Profile:
    """The profile of one parameter.

    Attributes:
        name: Of the parameter or initial value.
        level: Of the interval.
        estimate: Best value.
        interval: Where the loss stays within half the χ² quantile of its minimum; -inf, inf or a bound where it
            never leaves.
        table: Rise of the loss above its minimum, the rest re-optimized; the index is the parameter's value.
        closed: Whether the interval ends on the lower and on the upper side.
        vectors: The re-optimized vector of each row.
    """

    name: str
    level: float
    estimate: float
    interval: tuple[float, float]
    table: pd.Series
    closed: tuple[bool, bool]
    vectors: Float[np.ndarray, "row theta"]

    @property
    def threshold(self) -> float:
        """Rise of the loss at the ends of the interval."""
        return 0.5 * float(chi2.ppf(self.level, 1))

    def __str__(self) -> str:
        low, high = self.interval
        text = f"`{self.name}` = {self.estimate:.4g}, {self.level:.0%} interval {low:.4g} to {high:.4g}"
        if self.closed == (True, True):
            return text
        side = {(False, True): "below", (True, False): "above", (False, False): "either side"}[self.closed]
        return f"{text}; the data do not bound it on {side}" if side == "either side" else f"{text}; open {side}"


def profile(laplace: Laplace, name: str, level: float = 0.9, reach: float = 10.0, points: int = 40) -> Profile:
    """Walk from the best fit to both sides, re-optimizing the rest, until the loss has risen far enough.

    Args:
        laplace: The approximation at the best fit, for step lengths and for the coordinates of the re-optimization.
        name: A free parameter, or an initial value as `intervals()` calls it.
        level: Of the interval.
        reach: How far to walk, in free coordinates: 10 is a factor of 22 000 for a positive parameter.
        points: At most so many on either side.

    Raises:
        ModelError: There is no such parameter.

    Reference:
        Raue et al. (2009), Bioinformatics 25, 1923-1929.
    """
    problem, vector = laplace.problem, laplace.vector
    places = named_coordinates(problem)
    if str(name) not in places:
        raise ModelError(f"`{name}` is not fitted. There are {quoted(places)}.{suggestion(name, places)}")
    index = places[str(name)]
    threshold = 0.5 * float(chi2.ppf(checked_level(level), 1))
    rest = _Rest(laplace, index)
    base = problem.value_and_gradient(vector)[0]
    sides = [rest.walk(sign, base, threshold, reach, points) for sign in (-1.0, 1.0)]
    rows = sorted([(vector[index], 0.0, vector), *sides[0][0], *sides[1][0]], key=lambda row: row[0])
    coordinates = problem.loss.coordinates.at(np.full(len(rows), index))
    values = coordinates.values(np.array([row[0] for row in rows]))[0]
    ends, closed = [], []
    for _, end in sides:
        closed.append(end is not None)
        if end is not None:
            ends.append(float(problem.loss.coordinates.at(np.array([index])).values(np.array([end]))[0][0]))
    low, high = _limits(problem.loss.coordinates, index)
    if not closed[0]:
        ends.insert(0, low)
    if not closed[1]:
        ends.append(high)
    estimate = float(problem.loss.coordinates.values(vector)[0][index])
    table = pd.Series([row[1] for row in rows], index=pd.Index(values, name=str(name)), name="rise").sort_index()
    order = np.argsort(values)
    vectors = np.stack([rows[k][2] for k in order])
    return Profile(str(name), level, estimate, (min(ends), max(ends)), table, (closed[0], closed[1]), vectors)


def _limits(coordinates, index) -> tuple[float, float]:
    far = coordinates.at(np.array([index, index]))
    ends = far.values(np.array([-700.0, 700.0]))[0]
    low, high = float(ends.min()), float(ends.max())
    unbounded = far.transform[0] == 0
    return (-np.inf if unbounded or low < -1e100 else low), (np.inf if unbounded or high > 1e100 else high)


class _Rest:
    """All coordinates but one, re-optimized for given values of that one."""

    def __init__(self, laplace: Laplace, index: int):
        self.problem, self.best, self.index = laplace.problem, laplace.vector, index
        self.others = np.delete(np.arange(len(self.best)), index)
        H = laplace.curvature[np.ix_(self.others, self.others)]
        inner = Laplace(self.problem, self.best[self.others], H) if len(H) else None
        self.factor = inner.factor if inner else np.zeros((0, 0))
        self.deviation = float(np.sqrt(laplace.covariance[index, index]))
        # An open direction has a long deviation; the walk then begins with its conditional one.
        self.deviation = min(self.deviation, 1.0)

    def at(self, value: float, guess: np.ndarray) -> tuple[float, np.ndarray]:
        def restricted(part):
            whole = guess.copy()
            whole[self.index], whole[self.others] = value, part
            loss, gradient = self.problem.value_and_gradient(whole)
            return loss, gradient[self.others]

        whole = guess.copy()
        whole[self.index] = value
        if not len(self.others):
            return self.problem.value_and_gradient(whole)[0], whole
        loss, whole[self.others] = descend(restricted, guess[self.others], self.factor)
        return loss, whole

    def walk(self, sign: float, base: float, threshold: float, reach: float, points: int):
        """Rows (coordinate, rise, vector) on one side, and where the rise meets the threshold (None: nowhere)."""
        rows: list[tuple[float, float, np.ndarray]] = []
        before = (self.best[self.index], 0.0, self.best)
        step = 0.5 * self.deviation
        last, slope = before, np.zeros_like(self.best)
        while len(rows) < points and abs(last[0] - self.best[self.index]) < reach:
            value = last[0] + sign * step
            loss, vector = self.at(value, last[2] + slope * (value - last[0]))
            rise = loss - base
            if not np.isfinite(rise):
                step *= 0.5
                if step < 1e-3 * self.deviation:
                    break
                points -= 1
                continue
            row = (value, max(rise, 0.0), vector)
            rows.append(row)
            if rise >= threshold:
                return rows, self._crossing(last, row, base, threshold, rows)
            slope = (vector - last[2]) / (value - last[0])
            gained = np.sqrt(row[1]) - np.sqrt(last[1])
            step *= np.clip(0.3 * np.sqrt(threshold) / max(gained, 1e-9), 0.5, 2.0)
            last = row
        return rows, None

    def _crossing(self, inside, outside, base, threshold, rows) -> float:
        """Where the rise equals the threshold, by false position on its square root."""
        goal = np.sqrt(threshold)
        for _ in range(3):
            a, b = np.sqrt(inside[1]), np.sqrt(outside[1])
            part = (goal - a) / (b - a)
            value = inside[0] + part * (outside[0] - inside[0])
            loss, vector = self.at(value, inside[2] + part * (outside[2] - inside[2]))
            row = (value, max(loss - base, 0.0), vector)
            if not np.isfinite(loss):
                break
            rows.append(row)
            if abs(np.sqrt(row[1]) - goal) < 1e-3 * goal:
                return value
            inside, outside = (row, outside) if row[1] < threshold else (inside, row)
        a, b = np.sqrt(inside[1]), np.sqrt(outside[1])
        return inside[0] + (goal - a) / (b - a) * (outside[0] - inside[0])
