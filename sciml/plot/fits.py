"""Pictures of fits: data and trajectories, residuals, the way there."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sciml.fitting.result import Fit
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.uncertainty.posterior import AbstractPosterior


def fit(fit: Fit, path: str | Path | None = None, bands: AbstractPosterior | None = None) -> Figure:
    """Data and fitted trajectories, residuals in units of the noise level, and the loss over iterations.

    The loss of a collocation start is left out: it is another function. Of a problem with a cost there are a panel for each
    state, with the trajectories from all initial states, and the loss.

    Args:
        fit: What `fit` returned.
        path: Where to write the picture; its suffix gives the format.
        bands: Draw 90 % bands of the trajectory (dark) and of new measurements (light): `fit.laplace()` or
            `fit.bootstrap()`.
    """
    if fit.problem.cost is not None:
        return written(_controlled(fit), path)
    rows = len(fit.problem.experiments)
    figure, axes = figure_of(rows, 3)
    for e in range(rows):
        if bands is not None:
            _bands(axes[3 * e], fit, bands, e)
        trajectory(axes[3 * e], fit, experiment=e)
        legend(axes[3 * e], fit.problem.experiments[e].name if rows > 1 else "")
        _residuals(axes[3 * e + 1], fit, e)
    _history(axes[2], fit)
    for e in range(1, rows):
        axes[3 * e + 2].set_axis_off()
    return written(figure, path)


def _controlled(fit: Fit) -> Figure:
    """Every state from all initial states, what the cost has run up to, and the loss."""
    names = [str(x) for x in fit.problem.system.states]
    figure, axes = figure_of(1, len(names) + 1)
    for e, experiment in enumerate(fit.problem.experiments):
        curve = fit.simulate(np.linspace(experiment.times[0], experiment.times[-1], 400), e)
        for panel, name in zip(axes, names):
            panel.plot(curve.times, curve[name], lw=0.8, alpha=0.6, color=color(0))
    for panel, name in zip(axes, names):
        finish(panel, str(fit.problem.system.time), name.replace("_", " "))
    _history(axes[-1], fit)
    return figure


def trajectory(
    axes: Axes, fit: Fit, experiment: int = 0, style: str = "-", label: str = "fit", data: bool = True
) -> None:
    """Measured values as points and the fitted trajectory as lines, into given axes."""
    measured = fit.problem.experiments[experiment]
    fine = np.linspace(measured.times[0], measured.times[-1], 400)
    curve = fit.simulate(fine, experiment)
    for k, name in enumerate(measured.columns):
        if data:
            axes.plot(measured.times, measured.column(name), "o", ms=4, color=color(k), label=name)
        axes.plot(fine, curve[name], style, lw=1.5, color=color(k))
    axes.plot([], [], style, lw=1.5, color="0.4", label=label)
    finish(axes, str(fit.problem.system.time), "")


def _bands(axes: Axes, fit: Fit, posterior: AbstractPosterior, experiment: int) -> None:
    measured = fit.problem.experiments[experiment]
    found = posterior.bands(np.linspace(measured.times[0], measured.times[-1], 200), experiment)
    for k, name in enumerate(measured.columns):
        band = found.of(name)
        axes.fill_between(found.times, band["measured_lower"], band["measured_upper"], color=color(k), alpha=0.15, lw=0)
        axes.fill_between(found.times, band["lower"], band["upper"], color=color(k), alpha=0.35, lw=0)
    axes.fill_between([], [], [], color="0.4", alpha=0.35, lw=0, label="90 % of trajectories")
    axes.fill_between([], [], [], color="0.4", alpha=0.15, lw=0, label="90 % of measurements")


def _residuals(axes: Axes, fit: Fit, experiment: int) -> None:
    residuals = fit.normalized_residuals(experiment)
    for k, name in enumerate(residuals.columns):
        axes.plot(residuals.index, residuals[name], "o-", ms=3, lw=0.7, color=color(k), label=name)
    axes.axhline(0.0, color="0.6", lw=0.8)
    finish(axes, str(fit.problem.system.time), "residual / noise level")
    legend(axes)


def _history(axes: Axes, fit: Fit) -> None:
    records = [record for record in fit.history if record.stage != "Collocation"]
    losses = np.array([record.loss for record in records])
    stages = [record.stage for record in records]
    for k, stage in enumerate(dict.fromkeys(stages)):
        here = np.array([s == stage for s in stages])
        axes.plot(1 + np.flatnonzero(here), losses[here], ".-", ms=3, lw=0.7, color=color(k), label=stage)
    finite = losses[np.isfinite(losses)]
    if len(finite):
        low, high = np.min(finite), np.quantile(finite, 0.95)
        axes.set_ylim(low - 0.05 * (high - low + 1), high + 0.05 * (high - low + 1))
    finish(axes, "iteration", "loss")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(axes)
