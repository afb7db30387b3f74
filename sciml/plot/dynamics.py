"""Pictures of dynamics: phase portraits, spectra, Lyapunov exponents, bifurcations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Complex, Float
from matplotlib.figure import Figure

from sciml.dynamics.evolution import Analyzed, Evolution, names_of
from sciml.dynamics.fixed_points import FixedPoints
from sciml.dynamics.lyapunov import LyapunovSpectrum
from sciml.errors import ModelError
from sciml.plot.style import color, figure_of, finish, legend, written


def phase_portrait(
    analyzed: Analyzed,
    bounds: Any,
    *,
    trajectories: Sequence[Float[np.ndarray, "time state"]] = (),
    points: FixedPoints | None = None,
    time: float = 0.0,
    path: str | Path | None = None,
) -> Figure:
    """The flow of a system of two states, as lines along it, with trajectories and fixed points.

    Args:
        analyzed: A System, a compiled field or a callable `field(t, y)` with two states.
        bounds: The window, as for `fixed_points`.
        trajectories: States over time to draw on top, such as `simulation.states`.
        points: What `fixed_points` found: filled where stable, hollow where not.
        time: At which a field that depends on time is frozen.
        path: Where to write the picture; its suffix gives the format.
    """
    evolution = Evolution.of(analyzed)
    low, high = evolution.box(bounds)
    if len(low) != 2 or evolution.discrete:
        raise ModelError(
            "a phase portrait is of a flow with two states; draw trajectories of others by `plot.solution`."
        )
    x, y = (np.linspace(a, b, 41) for a, b in zip(low, high))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    rates = evolution(time, torch.as_tensor(grid.reshape(-1, 2))).numpy().reshape(grid.shape)
    figure, (axes,) = figure_of(1, 1)
    axes.streamplot(x, y, rates[..., 0], rates[..., 1], color="0.75", linewidth=0.7, arrowsize=0.7, density=1.2)
    for k, states in enumerate(trajectories):
        axes.plot(states[:, 0], states[:, 1], color=color(k), lw=1.5)
        axes.plot(states[0, 0], states[0, 1], "o", ms=4, color=color(k))
    for point in points or ():
        axes.plot(*point.state, "o", ms=7, mec="k", mfc="k" if point.stable else "w", label=point.kind, zorder=5)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    finish(axes, *names_of(evolution, 2))
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles))
    if once:
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2}
        axes.legend(list(once.values()), list(once), ncols=len(once), frameon=False, fontsize=8, **place)
    return written(figure, path)


def spectrum(
    eigenvalues: Complex[np.ndarray, "*time state"], *, discrete: bool = False, path: str | Path | None = None
) -> Figure:
    """Eigenvalues in the complex plane, with the line (of a map the circle) on which nothing grows or dies.

    Args:
        eigenvalues: Such as `fixed_point.eigenvalues`, or what `jacobian_spectrum` returned: colored by time.
        discrete: Whether they belong to a map.
        path: Where to write the picture; its suffix gives the format.
    """
    values = np.atleast_2d(eigenvalues)
    figure, (axes,) = figure_of(1, 1)
    if discrete:
        angle = np.linspace(0, 2 * np.pi, 201)
        axes.plot(np.cos(angle), np.sin(angle), color="0.6", lw=0.8)
        axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.axvline(0.0, color="0.6", lw=0.8)
    colors = np.repeat(np.arange(len(values)), values.shape[1])
    shown = axes.scatter(values.real.ravel(), values.imag.ravel(), c=colors, s=9, cmap="viridis")
    if len(values) > 1:
        figure.colorbar(shown, ax=axes, label="point along the trajectory")
    finish(axes, "real part", "imaginary part")
    return written(figure, path)


def lyapunov(found: LyapunovSpectrum, path: str | Path | None = None) -> Figure:
    """Running averages of the exponents of one trajectory, which settle as it covers its attractor.

    Args:
        found: What `lyapunov_spectrum` returned; of several trajectories, the first is shown.
        path: Where to write the picture; its suffix gives the format.
    """
    history = found.history.reshape(-1, *found.history.shape[-2:])[0]
    exponents = found.exponents.reshape(-1, history.shape[-1])[0]
    figure, (axes,) = figure_of(1, 1)
    times = found.duration * np.arange(1, len(history) + 1) / len(history)
    for k, value in enumerate(exponents):
        axes.plot(times, history[:, k], lw=1.2, color=color(k), label=f"{value:.4g}")
    axes.axhline(0.0, color="0.6", lw=0.8)
    finish(axes, "averaged over", "exponent")
    axes.set_xscale("log")
    legend(axes)
    return written(figure, path)


def bifurcation(sweep: pd.DataFrame, state: str | None = None, path: str | Path | None = None) -> Figure:
    """States that a system settles on, over the values of a parameter.

    Args:
        sweep: What `bifurcation_sweep` returned.
        state: Which state to draw; the first when None.
        path: Where to write the picture; its suffix gives the format.
    """
    parameter, *states = sweep.columns
    state = states[0] if state is None else state
    if state not in states:
        raise ModelError(f"`{state}` is not a column of the sweep; there are {states}.")
    figure, (axes,) = figure_of(1, 1)
    axes.plot(sweep[parameter], sweep[state], ",", color=color(0), alpha=0.5 if len(sweep) > 20_000 else 1.0)
    finish(axes, str(parameter), str(state))
    return written(figure, path)
