"""Pictures of discovered laws beside the hybrids they come from."""

from pathlib import Path
from textwrap import fill

import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sciml.discovery.candidate import rounded
from sciml.errors import ModelError
from sciml.fitting.result import Fit
from sciml.plot.fits import trajectory
from sciml.plot.style import color, figure_of, finish, legend, written


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
    formulas = report.best.formulas
    planar = len(system.states) >= 2
    panels = 1 + planar + len(functions)
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    figure, axes = figure_of(-(-panels // columns), columns)
    trajectory(axes[0], hybrid, label="hybrid")
    trajectory(axes[0], law, style="--", label="law", data=False)
    legend(axes[0], hybrid.problem.experiments[0].name if len(hybrid.problem.experiments) > 1 else "")
    if planar:
        _phase_plane(axes[1], hybrid, law)
    for axis, function in zip(axes[1 + planar :], functions):
        _learned_against_law(axis, hybrid, function, formulas[function.__name__])
    for axis in axes[panels:]:
        axis.set_axis_off()
    return written(figure, path)


def _phase_plane(axes: Axes, hybrid: Fit, law: Fit) -> None:
    states = [str(x) for x in hybrid.problem.system.states][:2]
    measured = hybrid.problem.experiments[0]
    fine = np.linspace(measured.times[0], measured.times[-1], 600)
    x, y = states
    if measured.measures(x) and measured.measures(y):
        axes.plot(measured.column(x), measured.column(y), "o", ms=4, color="0.5", label="data")
    for k, (name, fit, style) in enumerate([("hybrid", hybrid, "-"), ("law", law, "--")]):
        curve = fit.simulate(fine)
        axes.plot(curve[x], curve[y], style, lw=1.5, color=color(k + 2), label=name)
    finish(axes, x, y)
    legend(axes)


def _learned_against_law(axes: Axes, hybrid: Fit, function, formula: sp.Expr) -> None:
    system = hybrid.problem.system
    call = sorted(system.calls(function), key=str)[0]
    frame = hybrid.simulate(np.linspace(*hybrid.problem.experiments[0].times[[0, -1]], 400)).to_frame()
    symbols = [*system.states, system.time, *system.inputs]
    values = [*(frame[str(x)].to_numpy() for x in system.states), frame.index.to_numpy()]
    values += [*hybrid.problem.experiments[0].inputs(frame.index.to_numpy()).T]
    arguments = np.stack([np.broadcast_to(sp.lambdify(symbols, a)(*values), frame.index.shape) for a in call.args], 1)
    learned = hybrid.learned_values(function, arguments)
    discovered = np.broadcast_to(sp.lambdify(symbols, formula)(*values), learned.shape)
    hidden = all(_only_derivatives(rhs, function) for rhs in system.equations.values())
    learned = learned + (discovered.mean() - learned.mean() if hidden else 0.0)
    low, high = min(learned.min(), discovered.min()), max(learned.max(), discovered.max())
    axes.plot([low, high], [low, high], color="0.7", lw=1)
    axes.plot(discovered, learned, ".", ms=3, color=color(0))
    finish(axes, fill(f"discovered {call.func} = {rounded(formula)}", 50), f"learned {call}")


def _only_derivatives(rhs: sp.Expr, function) -> bool:
    """Whether a function stands in an expression through its derivatives alone, so that a constant is not seen."""
    return not rhs.replace(lambda e: isinstance(e, sp.Derivative | sp.Subs), lambda e: sp.Dummy()).has(function)
