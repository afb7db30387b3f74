"""Pictures of solutions, fits and discoveries."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sciml.discovery.report import rounded
from sciml.errors import ModelError
from sciml.fitting.fit import Fit
from sciml.simulation import Simulation

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by color-blind eyes, too


def solution(simulation: Simulation, path: str | Path | None = None) -> Figure:
    """States and observables over time, and the phase plane of the first two states.

    Args:
        simulation: What `simulate` returned.
        path: Where to write the picture; its suffix gives the format.
    """
    planar = len(simulation.system.states) >= 2
    figure, axes = _figure(1, 2 if planar else 1)
    for k, name in enumerate(simulation.names):
        axes[0].plot(simulation.times, simulation[name], color=_color(k), label=name)
    _finish(axes[0], str(simulation.system.time), "")
    if planar:
        x, y = simulation.names[:2]
        axes[1].plot(simulation[x], simulation[y], color=_color(0))
        axes[1].plot(simulation[x][0], simulation[y][0], "o", color=_color(0))
        _finish(axes[1], x, y)
    _legend(axes[0])
    return _written(figure, path)


def fit(fit: Fit, path: str | Path | None = None) -> Figure:
    """Data and fitted trajectories, residuals in units of the noise level, and the loss over iterations.

    The loss of a collocation start is left out: it is another function.

    Args:
        fit: What `fit` returned.
        path: Where to write the picture; its suffix gives the format.
    """
    rows = len(fit.problem.experiments)
    figure, axes = _figure(rows, 3)
    for e in range(rows):
        trajectory(axes[3 * e], fit, experiment=e)
        _legend(axes[3 * e], fit.problem.experiments[e].name if rows > 1 else "")
        _residuals(axes[3 * e + 1], fit, e)
    _history(axes[2], fit)
    for e in range(1, rows):
        axes[3 * e + 2].set_axis_off()
    return _written(figure, path)


def discovery(hybrid: Fit, law: Fit, path: str | Path | None = None) -> Figure:
    """Data with hybrid and law, the phase plane, and learned against discovered functions.

    A learned function of which the equations hold only derivatives is moved by a constant to the discovered one.

    Args:
        hybrid: The fit with learned functions.
        law: The fit of the law that was discovered from it.
        path: Where to write the picture; its suffix gives the format.
    """
    functions = hybrid.problem.system.functions
    system = law.problem.system
    report = system.report
    if report is None:
        raise ModelError("`law` must be the fit of a System that `discover` returned: it carries the closed forms.")
    formulas = report.candidates[report.chosen].formulas
    planar = len(system.states) >= 2
    panels = 1 + planar + len(functions)
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    figure, axes = _figure(-(-panels // columns), columns)
    trajectory(axes[0], hybrid, label="hybrid")
    trajectory(axes[0], law, style="--", label="law", data=False)
    _legend(axes[0], hybrid.problem.experiments[0].name if len(hybrid.problem.experiments) > 1 else "")
    if planar:
        _phase_plane(axes[1], hybrid, law)
    for axis, function in zip(axes[1 + planar :], functions):
        _learned_against_law(axis, hybrid, function, formulas[function.__name__])
    for axis in axes[panels:]:
        axis.set_axis_off()
    return _written(figure, path)


def trajectory(
    axes: Axes, fit: Fit, experiment: int = 0, style: str = "-", label: str = "fit", data: bool = True
) -> None:
    """Measured values as points and the fitted trajectory as lines, into given axes."""
    measured = fit.problem.experiments[experiment]
    fine = np.linspace(measured.times[0], measured.times[-1], 400)
    curve = fit.simulate(fine, experiment)
    for k, name in enumerate(measured.columns):
        if data:
            axes.plot(measured.times, measured.column(name), "o", ms=4, color=_color(k), label=name)
        axes.plot(fine, curve[name], style, lw=1.5, color=_color(k))
    axes.plot([], [], style, lw=1.5, color="0.4", label=label)
    _finish(axes, str(fit.problem.system.time), "")


def _residuals(axes: Axes, fit: Fit, experiment: int) -> None:
    residuals = fit.residuals(experiment)
    parameters = fit.problem.system.with_parameters(fit.estimates).parameters
    values = {symbol: parameter.value for symbol, parameter in parameters.items()}
    for k, name in enumerate(residuals.columns):
        level = float(fit.problem.likelihoods[name].scale.subs(values))
        axes.plot(residuals.index, residuals[name] / level, "o-", ms=3, lw=0.7, color=_color(k), label=name)
    axes.axhline(0.0, color="0.6", lw=0.8)
    _finish(axes, str(fit.problem.system.time), "residual / noise level")
    _legend(axes)


def _history(axes: Axes, fit: Fit) -> None:
    records = [record for record in fit.history if record.stage != "Collocation"]
    losses = np.array([record.loss for record in records])
    stages = [record.stage for record in records]
    for k, stage in enumerate(dict.fromkeys(stages)):
        here = np.array([s == stage for s in stages])
        axes.plot(1 + np.flatnonzero(here), losses[here], ".-", ms=3, lw=0.7, color=_color(k), label=stage)
    finite = losses[np.isfinite(losses)]
    if len(finite):
        low, high = np.min(finite), np.quantile(finite, 0.95)
        axes.set_ylim(low - 0.05 * (high - low + 1), high + 0.05 * (high - low + 1))
    _finish(axes, "iteration", "loss")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes)


def _phase_plane(axes: Axes, hybrid: Fit, law: Fit) -> None:
    states = [str(x) for x in hybrid.problem.system.states][:2]
    measured = hybrid.problem.experiments[0]
    fine = np.linspace(measured.times[0], measured.times[-1], 600)
    x, y = states
    if measured.measures(x) and measured.measures(y):
        axes.plot(measured.column(x), measured.column(y), "o", ms=4, color="0.5", label="data")
    for k, (name, fit, style) in enumerate([("hybrid", hybrid, "-"), ("law", law, "--")]):
        curve = fit.simulate(fine)
        axes.plot(curve[x], curve[y], style, lw=1.5, color=_color(k + 2), label=name)
    _finish(axes, x, y)
    _legend(axes)


def _learned_against_law(axes: Axes, hybrid: Fit, function, formula: sp.Expr) -> None:
    system = hybrid.problem.system
    call = sorted(system.calls(function), key=str)[0]
    frame = hybrid.simulate(np.linspace(*hybrid.problem.experiments[0].times[[0, -1]], 400)).to_frame()
    symbols = [*system.states, system.time]
    values = [*(frame[str(x)].to_numpy() for x in system.states), frame.index.to_numpy()]
    arguments = np.stack([np.broadcast_to(sp.lambdify(symbols, a)(*values), frame.index.shape) for a in call.args], 1)
    learned = hybrid.learned_values(function, arguments)
    discovered = np.broadcast_to(sp.lambdify(symbols, formula)(*values), learned.shape)
    hidden = all(_only_derivatives(rhs, function) for rhs in system.equations.values())
    learned = learned + (discovered.mean() - learned.mean() if hidden else 0.0)
    low, high = min(learned.min(), discovered.min()), max(learned.max(), discovered.max())
    axes.plot([low, high], [low, high], color="0.7", lw=1)
    axes.plot(discovered, learned, ".", ms=3, color=_color(0))
    _finish(axes, fill(f"discovered {call.func} = {rounded(formula)}", 50), f"learned {call}")


def _only_derivatives(rhs: sp.Expr, function) -> bool:
    """Whether a function stands in an expression through its derivatives alone, so that a constant is not seen."""
    return not rhs.replace(lambda e: isinstance(e, sp.Derivative | sp.Subs), lambda e: sp.Dummy()).has(function)


def _figure(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.4 * columns, 3.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, title: str = "") -> None:
    """A legend above the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, min(len(labels), 60 // (6 + max(map(len, labels)))))
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2}
        axes.legend(handles, labels, title=title, ncols=columns, frameon=False, fontsize=8, **place)


def _color(k: int) -> str:
    return COLORS[k % len(COLORS)]


def _written(figure: Figure, path: str | Path | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
