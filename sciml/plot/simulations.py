"""Pictures of solutions."""

from pathlib import Path

from matplotlib.figure import Figure

from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.simulation import Simulation


def solution(simulation: Simulation, path: str | Path | None = None) -> Figure:
    """States and observables over time, and the phase plane of the first two states.

    Args:
        simulation: What `simulate` returned.
        path: Where to write the picture; its suffix gives the format.
    """
    planar = len(simulation.system.states) >= 2
    figure, axes = figure_of(1, 2 if planar else 1)
    for k, name in enumerate(simulation.names):
        axes[0].plot(simulation.times, simulation[name], color=color(k), label=name)
    finish(axes[0], str(simulation.system.time), "")
    if planar:
        x, y = simulation.names[:2]
        axes[1].plot(simulation[x], simulation[y], color=color(0))
        axes[1].plot(simulation[x][0], simulation[y][0], "o", color=color(0))
        finish(axes[1], x, y)
    legend(axes[0])
    return written(figure, path)
