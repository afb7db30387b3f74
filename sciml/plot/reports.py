"""A picture of how far a fit can be trusted."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.fitting.report import Report
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.trust.confounding import IMITATED
from sciml.trust.coverage import REACH, Seen


def report(report: Report, path: str | Path | None = None) -> Figure:
    """What learned functions have seen, what networks can imitate, and where loss and time went.

    Args:
        report: What `fit.report()` returned.
        path: Where to write the picture; its suffix gives the format.
    """
    seen = () if report.coverage is None else report.coverage.seen
    panels = len(seen) + bool(report.confounding) + 2 + bool(report.parts)
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    figure, axes = figure_of(-(-panels // columns), columns)
    for axis, one in zip(axes, seen):
        _coverage(axis, one)
    rest = axes[len(seen) :]
    if report.confounding:
        names = [one.name for one in report.confounding]
        _bars(rest[0], names, [one.ratio for one in report.confounding], "interval, networks free / networks held")
        rest[0].axvline(IMITATED, color="0.4", ls="--", lw=1, label="imitated beyond")
        legend(rest[0])
        rest = rest[1:]
    _bars(rest[0], list(report.terms), list(report.terms.values()), "negative log-posterior")
    labels = [f"{stage.name}, {stage.evaluations} evaluations" for stage in report.stages]
    inside = [stage.evaluating for stage in report.stages]
    _bars(rest[1], labels, [stage.seconds for stage in report.stages], "time / s", inside)
    if report.parts:
        _bars(
            rest[2], list(report.parts), [1e6 * value for value in report.parts.values()], "time of one evaluation / µs"
        )
    for axis in rest[2 + bool(report.parts) :]:
        axis.set_axis_off()
    return written(figure, path)


def _coverage(axes: Axes, seen: Seen) -> None:
    """Visited inputs, and beyond which region a function is not to be trusted."""
    width = seen.high - seen.low
    low, high = seen.low - 0.3 * width, seen.high + 0.3 * width
    if len(seen.arguments) == 1:
        axes.hist(seen.points[:, 0], bins=30, color=color(0), label="visited")
        for side in (seen.low[0] - REACH * width[0], seen.high[0] + REACH * width[0]):
            axes.axvline(side, color=color(1), ls="--", lw=1)
        axes.plot([], [], color=color(1), ls="--", lw=1, label="not seen beyond")
        axes.set_xlim(low[0], high[0])
        finish(axes, seen.arguments[0], "points")
    else:
        x, y = (np.linspace(low[k], high[k], 80) for k in (0, 1))
        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        rest = np.tile(np.median(seen.points[:, 2:], axis=0), (len(grid), 1))
        covered = seen.covers(np.hstack([grid, rest])).reshape(80, 80)
        axes.contourf(x, y, covered, levels=[0.5, 1.5], colors=[color(0)], alpha=0.25)
        axes.plot(seen.points[:, 0], seen.points[:, 1], ".", ms=3, color=color(0), label="visited")
        axes.fill_between([], [], [], color=color(0), alpha=0.25, label="near")
        finish(axes, seen.arguments[0], seen.arguments[1])
    legend(axes, seen.call)


def _bars(axes: Axes, names: list[str], values: list[float], label: str, inside: list[float] | None = None) -> None:
    """Horizontal bars; of those of time, what was spent in evaluations, with the optimizer's part behind it."""
    places = np.arange(len(names))[::-1]
    if inside is None:
        axes.barh(places, values, height=0.6, color=color(0))
    else:
        rest = [max(0.0, a - b) for a, b in zip(values, inside)]
        axes.barh(places, inside, height=0.6, color=color(0), label="evaluations")
        axes.barh(places, rest, left=inside, height=0.6, color=color(1), label="optimizer")
        legend(axes)
    axes.set_ylim(-1, len(names))
    axes.axvline(0.0, color="0.4", lw=0.8)
    finish(axes, label, "")
    axes.set_yticks(places, names, fontsize=8)
