"""What a cost is taken over instead of measurements: trajectories from given or random initial states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
from scipy.stats import qmc

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.measurement.experiment import Experiment
from sciml.symbolic.cost import Cost
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Box:
    """Initial states drawn at random between limits, evenly spread (a Latin hypercube).

    Args:
        ranges: State -> smallest and largest initial value, in its unit.
        count: How many.
        seed: Of the draw.

    Example:
        >>> x, v = sp.symbols("x v", real=True)
        >>> Box({x: (-1, 1), v: (0, 2)}, count=3, seed=1).draw().round(2)
              x     v
        0  0.66  0.70
        1  0.24  0.03
        2 -0.54  1.72
    """

    ranges: Mapping[sp.Symbol | str, tuple[float, float]]
    count: int = 64
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.ranges, Mapping) or not self.ranges:
            raise ModelError(f"`Box({self.ranges!r})`: give state -> (smallest, largest), as in `Box({{x: (-1, 1)}})`.")
        for state, limits in self.ranges.items():
            pair = (
                np.asarray(limits, dtype=float)
                if np.iterable(limits) and len(tuple(limits)) == 2
                else np.full(2, np.nan)
            )
            if not (np.isfinite(pair).all() and pair[0] < pair[1]):
                raise ModelError(
                    f"the range of `{state}` in a `Box` is {limits!r}: give the smallest and the largest value."
                )
        if not isinstance(self.count, int) or self.count < 1:
            raise ModelError(f"`Box(count={self.count!r})` must be a whole number from 1.")

    def draw(self) -> pd.DataFrame:
        """The initial states, a row each."""
        low, high = np.array([tuple(limits) for limits in self.ranges.values()], dtype=float).T
        unit = qmc.LatinHypercube(len(low), seed=self.seed).random(self.count)
        return pd.DataFrame(low + unit * (high - low), columns=[str(x) for x in self.ranges])


def episodes(system: System, cost: Cost, initial: Any) -> tuple[Experiment, ...]:
    """One experiment without measurements for each initial state, as long as the horizon of the cost.

    Args:
        system: Whose states.
        cost: Tells when they begin and end.
        initial: A `Box`, or a DataFrame or dict of columns, a row for each initial state; None leaves all to the System.

    Raises:
        ModelError, DataError: A column is no state, a value is missing, or a state has no initial value.
    """
    table = _table(initial)
    names = [str(x) for x in system.states]
    for column in table.columns:
        if column not in names:
            raise DataError(
                f"`initial_states` names `{column}`, which is no state. The System has {quoted(names)}."
                f"{suggestion(column, names)}"
            )
    for x in system.states:
        if str(x) not in table.columns and x not in system.initial:
            raise ModelError(
                f"`{x}` has no initial value. Give it in `initial_states`, such as `Box({{{x}: (-1, 1)}})`, or for all "
                f"trajectories by `System(initial={{{x}: 0.0}})`."
            )
    times, empty = np.array([cost.begin, cost.end]), np.zeros((2, 0))
    rows = table.to_dict("records") if len(table.columns) else [{}]
    return tuple(
        Experiment(f"start {k}", (), times, empty, empty, initial={str(x): float(v) for x, v in row.items()})
        for k, row in enumerate(rows)
    )


def _table(initial: Any) -> pd.DataFrame:
    if isinstance(initial, Box):
        return initial.draw()
    if initial is None:
        return pd.DataFrame()
    if not isinstance(initial, pd.DataFrame | Mapping):
        raise ModelError(
            f"`initial_states` of type `{type(initial).__name__}` cannot be read: give a `Box`, or a DataFrame with a column "
            "for each state and a row for each trajectory."
        )
    try:
        table = pd.DataFrame({str(x): np.atleast_1d(values) for x, values in initial.items()}).astype(float)
    except (TypeError, ValueError) as error:
        raise DataError(f"`initial_states` is not a table of numbers with equally long columns ({error}).") from error
    wrong = np.argwhere(~np.isfinite(table.to_numpy()))
    if len(wrong) or not len(table):
        what = f"row {wrong[0][0]} of `{table.columns[wrong[0][1]]}` is not finite" if len(wrong) else "there is no row"
        raise DataError(f"`initial_states` has no number everywhere: {what}. Give a row for each trajectory.")
    return table
