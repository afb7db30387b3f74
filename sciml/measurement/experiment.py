"""Measured series: DataFrames checked and turned into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.signals import Signals, check_times, numbers, read_signals


@dataclass(frozen=True)
class Experiment:
    """One measured series.

    Attributes:
        name: How messages and plots call it.
        columns: Names of what was measured.
        times: When, strictly increasing, in the model's time unit.
        values: What, NaN where nothing was measured.
        levels: What multiplies the noise level of each value: 1, or what another column of the data says.
        signals: The inputs over its time, of a System that has any.
        initial: States whose initial values are given for it alone.
    """

    name: str
    columns: tuple[str, ...]
    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "time column"]
    levels: Float[np.ndarray, "time column"]
    signals: Signals | None = None
    initial: Mapping[str, float] = field(default_factory=dict)

    @property
    def observations(self) -> int:
        """Number of measured values."""
        return int(np.isfinite(self.values).sum())

    def measures(self, name: str) -> bool:
        """Whether it holds at least one value of that column."""
        return name in self.columns and bool(np.isfinite(self.column(name)).any())

    def inputs(self, times: Float[np.ndarray, " time"]) -> Float[np.ndarray, "time input"]:
        """Values of the inputs at given times; no columns where there are none."""
        return np.zeros((len(times), 0)) if self.signals is None else self.signals(times)

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


def read_experiments(
    data: Any,
    known: Sequence[str],
    levels: Mapping[str, str],
    inputs: Mapping[Any, str] | None = None,
    given: Any = None,
    group: Any = None,
) -> tuple[Experiment, ...]:
    """Check one DataFrame, a list or a dict of them, and return experiments with the same columns.

    Args:
        data: Index = time; columns named like states or observables; NaN = not measured.
        known: Names of states and observables.
        levels: Measured column -> column that multiplies its noise level.
        inputs: Symbol -> interpolation, as in `System.inputs`; columns named like them hold the inputs.
        group: Column of one long DataFrame whose values tell its experiments apart.
        given: Inputs with times of their own instead: for all experiments, or a list or dict with those of each.

    Raises:
        DataError: What is wrong with which experiment, column and row, and what to do.
    """
    frames = _named_frames(data if group is None else _grouped(data, group))
    columns = tuple(name for name in known if any(name in map(str, frame.columns) for frame in frames.values()))
    driving = [str(u) for u in inputs or {}]
    measured = {name: frame.loc[:, [str(c) not in driving for c in frame.columns]] for name, frame in frames.items()}
    for name, frame in measured.items():
        _check_frame(name, frame, known, set(levels.values()), driving)
    signals = _signals(frames, inputs, given)
    experiments = tuple(
        replace(_experiment(name, frame, columns, levels), signals=signals.get(name))
        for name, frame in measured.items()
    )
    for column in columns:
        if not any(np.isfinite(experiment.column(column)).any() for experiment in experiments):
            raise DataError(f"column `{column}` holds no value at all, only gaps. Drop it: `data.drop(columns=...)`.")
    return experiments


def column_names(data: Any) -> set[str]:
    """Names of the columns of all experiments."""
    return {str(column) for frame in _named_frames(data).values() for column in frame.columns}


def _signals(frames: Mapping[str, pd.DataFrame], inputs: Mapping[Any, str] | None, given: Any) -> dict[str, Signals]:
    """The inputs of each experiment, from columns of its data or from elsewhere."""
    if not inputs:
        if given is not None:
            raise ModelError("`inputs` were given, but the System declares none: `System(..., inputs=[u])`.")
        return {}
    driving = [str(u) for u in inputs]
    found = {}
    for i, (name, frame) in enumerate(frames.items()):
        span = float(frame.index[0]), float(frame.index[-1])
        own = frame.loc[:, [str(c) in driving for c in frame.columns]]
        if given is not None:
            if own.shape[1]:
                raise DataError(
                    f"{quoted(own.columns)} of `{name}` stands in the data and in `inputs`. Keep one of them."
                )
            own = _given(given, i, name, len(frames))
        found[name] = own if isinstance(own, Signals) else read_signals(own, inputs, span, name)
    return found


def _given(given: Any, number: int, name: str, count: int) -> Any:
    """What `inputs` holds for one experiment."""
    if isinstance(given, list | tuple):
        if len(given) != count:
            raise DataError(f"`inputs` is a list of {len(given)} for {count} experiments: give one for each.")
        return given[number]
    if isinstance(given, Mapping) and name in given and isinstance(given[name], pd.DataFrame | Mapping):
        return given[name]
    return given


def _grouped(data: Any, group: Any) -> dict[str, pd.DataFrame]:
    """One long DataFrame as one for each value of a column."""
    if not isinstance(data, pd.DataFrame):
        raise DataError(
            f"`group={group!r}` takes one long DataFrame apart, and the data are of type `{type(data).__name__}`: leave "
            "`group` out, every DataFrame of a list or dict is an experiment."
        )
    names = [str(column) for column in data.columns]
    if str(group) not in names:
        raise DataError(
            f"`group={group!r}` is no column of the data. There are {quoted(names)}.{suggestion(group, names)}"
        )
    labels = data.iloc[:, names.index(str(group))]
    if labels.isna().any():
        raise DataError(
            f"column `{group}` is empty at time {labels.index[labels.isna()][0]}: every row belongs to a group. Fill it, or "
            "drop the row."
        )
    rest = data.loc[:, [name != str(group) for name in names]]
    frames = {str(label): rest[(labels == label).to_numpy()] for label in labels.unique()}
    for name, frame in frames.items():
        if len(frame) == 1:
            raise DataError(
                f"the group `{name}` of `{group}` has a single row, at time {frame.index[0]}: a course in time has two at "
                f'least. Leave it out: `data[data["{group}"] != {labels[(labels.astype(str) == name)].tolist()[0]!r}]`.'
            )
    return frames


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


def _check_frame(name: str, frame: pd.DataFrame, known: Sequence[str], others: set[str], inputs: Sequence[str]) -> None:
    for column in frame.columns:
        if str(column) not in known and str(column) not in others:
            names = [*known, *inputs]
            raise DataError(
                f"column `{column}` matches no state or observable{' or input' if inputs else ''}. The system has "
                f"{quoted(names)}.{suggestion(column, names)} Rename it, or leave it out."
            )
    if frame.columns.has_duplicates:
        raise DataError(f"column {quoted(frame.columns[frame.columns.duplicated()])} of `{name}` stands twice.")
    if frame.shape[0] < 2 or frame.shape[1] == 0:
        raise DataError(f"`{name}` has {frame.shape[0]} rows, {frame.shape[1]} columns: at least 2 and 1 are needed.")
    check_times(name, frame.index, frame)
    for column in frame.columns:
        numbers(name, frame[column])


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
