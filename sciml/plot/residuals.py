"""Pictures of what a fit leaves: residuals over time, their autocorrelation, their quantiles."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sciml.fitting.result import Fit
from sciml.plot.style import color, figure_of, finish, legend, written


def residuals(fit: Fit, path: str | Path | None = None) -> Figure:
    """Normalized residuals over time, their autocorrelation and their quantiles against a normal distribution's.

    Of a right model they are independent standard normal numbers: points without a pattern, autocorrelations that lie
    between the lines for 19 lags of 20, quantiles on the diagonal.

    Args:
        fit: What `fit` returned.
        path: Where to write the picture; its suffix gives the format.
    """
    rows = len(fit.problem.experiments)
    figure, axes = figure_of(rows, 3)
    for e in range(rows):
        table = fit.normalized_residuals(e)
        over, lags, quantiles = axes[3 * e : 3 * e + 3]
        for k, name in enumerate(table.columns):
            values = table[name].dropna()
            over.plot(values.index, values, "o", ms=3, color=color(k), label=name)
            _autocorrelation(lags, values.to_numpy(), k, len(table.columns))
            (x, y), _ = stats.probplot(values)
            quantiles.plot(x, y, "o", ms=3, color=color(k))
        for axis in (over, lags):
            axis.axhline(0.0, color="0.6", lw=0.8)
        ends = quantiles.get_xlim()
        quantiles.plot(ends, ends, color="0.6", lw=0.8)
        finish(over, str(fit.problem.system.time), "normalized residual")
        finish(lags, "lag / rows", "autocorrelation")
        finish(quantiles, "normal quantile", "normalized residual")
        legend(over, fit.problem.experiments[e].name if rows > 1 else "")
    return written(figure, path)


def _autocorrelation(axes: Axes, values: np.ndarray, k: int, columns: int) -> None:
    count = len(values)
    centered = values - values.mean()
    most = max(1, min(20, count // 2))
    total = float(centered @ centered) or 1.0
    found = [float(centered[lag:] @ centered[: count - lag]) / total for lag in range(1, most + 1)]
    shift = 0.25 * (k - (columns - 1) / 2)
    axes.vlines(np.arange(1, most + 1) + shift, 0.0, found, color=color(k), lw=2)
    for sign in (-1, 1):
        axes.axhline(sign * 1.96 / np.sqrt(count), color=color(k), ls="--", lw=0.8)
