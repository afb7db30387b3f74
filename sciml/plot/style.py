"""What all pictures share: colors, panels, axes, legends."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by color-blind eyes, too


def figure_of(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.4 * columns, 3.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, title: str = "") -> None:
    """A legend above the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, min(len(labels), 60 // (6 + max(map(len, labels)))))
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2}
        axes.legend(handles, labels, title=title, ncols=columns, frameon=False, fontsize=8, **place)


def color(k: int) -> str:
    return COLORS[k % len(COLORS)]


def written(figure: Figure, path: str | Path | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
