"""Inputs read from pandas: every slip is named before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.signals.piecewise import Samples, Signals, joined


def read_signals(given: Any, inputs: Mapping[Any, str], span: tuple[float, float], name: str) -> Signals:
    """The inputs of one experiment.

    Args:
        given: DataFrame whose index is time and whose columns are named like the inputs, or a dict of series or numbers.
        inputs: Symbol -> interpolation, as in `System.inputs`.
        span: Between which times the inputs are needed.
        name: How messages call it.

    Raises:
        DataError: An input that is missing, has gaps, or does not cover the span.
    """
    table = _table(given, name)
    known = [str(u) for u in inputs]
    for column in table:
        if column not in known:
            raise DataError(
                f"`{column}` in the inputs of `{name}` is no input of the System. It has {quoted(known)}."
                f"{suggestion(column, known)}"
            )
    found = []
    for u, interpolation in inputs.items():
        if str(u) not in table:
            raise DataError(
                f"the input `{u}` is not given for `{name}`. Add a column `{u}` to the data, or give "
                f"`inputs={{{u}: series}}`, a series whose index is time."
            )
        found.append(_samples(str(u), table[str(u)], interpolation, span, name))
    return joined(found)


def _table(given: Any, name: str) -> dict[str, Any]:
    if isinstance(given, pd.DataFrame | Mapping):
        return {str(key): given[key] for key in given}
    if isinstance(given, pd.Series) and given.name is not None:
        return {str(given.name): given}
    raise DataError(
        f"the inputs of `{name}` are of type `{type(given).__name__}`. Expected a DataFrame whose index is time, or a dict "
        "`{symbol: series}`."
    )


def _samples(u: str, series: Any, interpolation: str, span: tuple[float, float], name: str) -> Samples:
    if isinstance(series, Real) and np.isfinite(float(series)):
        return Samples(np.array(span), np.full(2, float(series)), "constant")
    if callable(series) and not isinstance(series, pd.Series):
        raise ModelError(
            f"the input `{u}` is a function. For a formula write `system.substitute({{{u}: sp.sin(t)}})`, which both engines "
            "compute exactly; otherwise sample it: `pd.Series(values, index=times)`."
        )
    if not isinstance(series, pd.Series):
        raise DataError(
            f"the input `{u}` of `{name}` is of type `{type(series).__name__}`. Expected a pandas Series whose index is "
            "time, or a number."
        )
    where = f"{name}`, input `{u}" if name else u
    check_times(where, series.index, series.to_frame())
    times, values = series.index.to_numpy(dtype=float), numbers(where, series)
    _check_coverage(u, times, values, span, name)
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if interpolation != "constant" and len(times) < 2:
        raise DataError(
            f"the input `{u}` of `{name}` has a single value, too few for {interpolation} interpolation. Give a number, or "
            f'declare `inputs={{{u}: "constant"}}`.'
        )
    return Samples(times, values, interpolation)


def _check_coverage(u: str, times: np.ndarray, values: np.ndarray, span: tuple[float, float], name: str) -> None:
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise DataError(f"the input `{u}` of `{name}` holds no value at all.")
    begin, end = times[known[0]], times[known[-1]]
    if begin > span[0]:
        raise DataError(
            f"the input `{u}` of `{name}` begins at {begin:g}, but it is needed from {span[0]:g} on. Give its value there, "
            f"or leave out what lies before: `data.loc[{begin:g}:]`."
        )
    if end < span[1]:
        raise DataError(
            f"the input `{u}` of `{name}` ends at {end:g}, but it is needed up to {span[1]:g}. Give its value there, or "
            f"leave out what lies behind: `data.loc[:{end:g}]`."
        )
    gaps = np.flatnonzero(~np.isfinite(values[known[0] : known[-1]]))
    if len(gaps):
        raise DataError(
            f"the input `{u}` of `{name}` is missing at time {times[known[0] + gaps[0]]:g}. Fill it: "
            f'`data["{u}"].ffill()` holds the last value, `data["{u}"].interpolate("index")` draws a line; or give the '
            "inputs with times of their own: `inputs=`."
        )


def check_times(name: str, index: pd.Index, frame: pd.DataFrame) -> None:
    """Raise unless the index of a frame holds increasing numbers."""
    if not pd.api.types.is_numeric_dtype(index) or pd.api.types.is_bool_dtype(index):
        dates = "datetime" in str(index.dtype)
        advice = "dates to numbers, such as days since the start" if dates else "it, `data.set_axis(times_as_numbers)`"
        raise DataError(f"the index of `{name}` is time and must hold numbers, not `{index.dtype}`: convert {advice}.")
    times = index.to_numpy(dtype=float)
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        raise DataError(f"the time in row {row} of `{name}` is `{times[row]}`. Drop the row or give its time.")
    steps = np.diff(times)
    if (steps == 0).any():
        row = int(np.flatnonzero(steps == 0)[0])
        if frame.iloc[row].equals(frame.iloc[row + 1]):
            raise DataError(
                f"the time `{times[row]:g}` stands twice in `{name}`, with the same values. Drop the repetition: "
                "`data[~data.index.duplicated()]`."
            )
        raise DataError(
            f"the time `{times[row]:g}` stands twice in `{name}`, with different values. Average repeated measurements "
            "(`data.groupby(level=0).mean()`), or give them as experiments of their own."
        )
    if (steps < 0).any():
        row = int(np.flatnonzero(steps < 0)[0])
        raise DataError(
            f"times in `{name}` are not sorted: {times[row]:g} is followed by {times[row + 1]:g}. "
            "Use `data.sort_index()`."
        )


def numbers(name: str, column: pd.Series) -> Float[np.ndarray, " time"]:
    """The values of a column; NaN is a gap.

    Raises:
        DataError: Text, or infinite values.
    """
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
    return values
