"""Measured series: DataFrames checked and turned into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from sciml.errors import DataError, quoted, suggestion


@dataclass(frozen=True)
class Experiment:
    """One measured series.

    Attributes:
        name: How messages and plots call it.
        columns: Names of what was measured.
        times: When, strictly increasing, in the model's time unit.
        values: What, NaN where nothing was measured.
        levels: What multiplies the noise level of each value: 1, or what another column of the data says.
    """

    name: str
    columns: tuple[str, ...]
    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time column"]
    levels: Float[np.ndarray, "time column"]

    @property
    def observations(self) -> int:
        """Number of measured values."""
        return int(np.isfinite(self.values).sum())

    def measures(self, name: str) -> bool:
        """Whether it holds at least one value of that column."""
        return name in self.columns and bool(np.isfinite(self.column(name)).any())

    def column(self, name: str) -> Float[np.ndarray, " time"]:
        """Values of one column; all NaN if this experiment did not measure it."""
        return self.values[:, self.columns.index(name)]

    def only(self, kept: Bool[np.ndarray, "time column"]) -> Experiment:
        """The same experiment with gaps where values are not kept."""
        return replace(self, values=np.where(kept, self.values, np.nan))

    def first(self, rows: int) -> Experiment:
        """Its beginning."""
        return replace(self, times=self.times[:rows], values=self.values[:rows], levels=self.levels[:rows])

    def to_frame(self) -> pd.DataFrame:
        """The series as the DataFrame it came from."""
        return pd.DataFrame(self.values, index=pd.Index(self.times, name="time"), columns=list(self.columns))


def read_experiments(data: Any, known: Sequence[str], levels: Mapping[str, str]) -> tuple[Experiment, ...]:
    """Check one DataFrame, a list or a dict of them, and return experiments with the same columns.

    Args:
        data: Index = time; columns named like states or observables; NaN = not measured.
        known: Names of states and observables.
        levels: Measured column -> column that multiplies its noise level.

    Raises:
        DataError: What is wrong with which experiment, column and row, and what to do.
    """
    frames = _named_frames(data)
    columns = tuple(name for name in known if any(name in map(str, frame.columns) for frame in frames.values()))
    for name, frame in frames.items():
        _check_frame(name, frame, known, set(levels.values()))
    experiments = tuple(_experiment(name, frame, columns, levels) for name, frame in frames.items())
    for column in columns:
        if not any(np.isfinite(experiment.column(column)).any() for experiment in experiments):
            raise DataError(f"column `{column}` holds no value at all, only gaps. Drop it: `data.drop(columns=...)`.")
    return experiments


def column_names(data: Any) -> set[str]:
    """Names of the columns of all experiments."""
    return {str(column) for frame in _named_frames(data).values() for column in frame.columns}


def _named_frames(data: Any) -> dict[str, pd.DataFrame]:
    if isinstance(data, pd.DataFrame):
        frames = {"data": data}
    elif isinstance(data, Mapping):
        frames = {str(name): frame for name, frame in data.items()}
    elif isinstance(data, Sequence) and not isinstance(data, str):
        frames = {f"experiment {i}": frame for i, frame in enumerate(data)}
    else:
        frames = {}
    if not frames or not all(isinstance(frame, pd.DataFrame) for frame in frames.values()):
        raise DataError(
            f"data of type `{type(data).__name__}` cannot be read: give a pandas DataFrame whose index is time and "
            "whose columns are named like the states, or a list of them."
        )
    return frames


def _check_frame(name: str, frame: pd.DataFrame, known: Sequence[str], others: set[str]) -> None:
    for column in frame.columns:
        if str(column) not in known and str(column) not in others:
            raise DataError(
                f"column `{column}` matches no state or observable. The system has {quoted(known)}."
                f"{suggestion(column, known)} Rename it, or leave it out."
            )
    if frame.columns.has_duplicates:
        raise DataError(f"column {quoted(frame.columns[frame.columns.duplicated()])} of `{name}` stands twice.")
    if frame.shape[0] < 2 or frame.shape[1] == 0:
        raise DataError(f"`{name}` has {frame.shape[0]} rows, {frame.shape[1]} columns: at least 2 and 1 are needed.")
    _check_times(name, frame.index)
    for column in frame.columns:
        _check_values(name, frame[column])


def _check_times(name: str, index: pd.Index) -> None:
    if not pd.api.types.is_numeric_dtype(index) or pd.api.types.is_bool_dtype(index):
        hint = "; convert dates to numbers, such as days since the start" if "datetime" in str(index.dtype) else ""
        raise DataError(f"the index of `{name}` is time and must hold numbers, not `{index.dtype}`{hint}.")
    times = index.to_numpy(dtype=float)
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        raise DataError(f"the time in row {row} of `{name}` is `{times[row]}`. Drop the row or give its time.")
    steps = np.diff(times)
    if (steps == 0).any():
        row = int(np.flatnonzero(steps == 0)[0])
        raise DataError(
            f"the time `{times[row]:g}` stands twice in `{name}`. Average repeated measurements "
            "(`data.groupby(level=0).mean()`), or give them as experiments of their own."
        )
    if (steps < 0).any():
        row = int(np.flatnonzero(steps < 0)[0])
        raise DataError(
            f"times in `{name}` are not sorted: {times[row]:g} is followed by {times[row + 1]:g}. "
            "Use `data.sort_index()`."
        )


def _check_values(name: str, column: pd.Series) -> None:
    try:
        values = pd.to_numeric(column, errors="raise").to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        number = pd.to_numeric(column, errors="coerce")
        text = column[number.isna() & column.notna()]
        raise DataError(
            f"column `{column.name}` of `{name}` holds text: {text.iloc[0]!r} at time {text.index[0]}. "
            "Give numbers, and NaN for a gap."
        ) from error
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(f"column `{column.name}` of `{name}` is infinite at {column.index[row]}. Use NaN for a gap.")


def _experiment(name: str, frame: pd.DataFrame, columns: tuple[str, ...], levels: Mapping[str, str]) -> Experiment:
    frame = frame.rename(columns=str)
    values, factors = (
        frame.reindex(columns=list(names)).apply(pd.to_numeric).to_numpy(dtype=float, na_value=np.nan)
        for names in (columns, [levels.get(column, column) for column in columns])
    )
    given = np.array([column in levels for column in columns])
    factors = np.where(given & np.isfinite(values), factors, 1.0)
    wrong = np.argwhere(~(factors > 0))
    if len(wrong):
        row, k = wrong[0]
        raise DataError(
            f"the noise level `{levels[columns[k]]}` of `{columns[k]}` in `{name}` is {factors[row, k]:g} at time "
            f"{frame.index[row]:g}: give a positive number wherever `{columns[k]}` was measured, or drop that value."
        )
    return Experiment(name, columns, frame.index.to_numpy(dtype=float), values, factors)
