"""Pictures: they are drawn without warnings, written, and nothing in them covers anything else."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from matplotlib.figure import Figure
from matplotlib.text import Text

import sciml
from sciml import LBFGS, MLP, Adam, LogNormal, MultipleShooting, Normal, Parameter, Problem, SparseRegression, System
from sciml.errors import ModelError

pytestmark = pytest.mark.filterwarnings("error", r"ignore:`torch.jit.script` is deprecated:DeprecationWarning")

x, y, z, k = sp.symbols("x y z k", real=True)
f, V = sp.symbols("f V", cls=sp.Function)
TIMES = np.linspace(0, 2, 12)


def drawn(axes):
    """Whether an axes shows anything."""
    return axes.axison and bool(axes.lines)


def assert_tidy(figure: Figure):
    """No label of a tick touches the next, no legend or label lies on the data or outside of the picture."""
    figure.canvas.draw()
    whole = figure.bbox.padded(1)
    for axes in filter(drawn, figure.axes):
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            shown = [box for box in boxes if axes.bbox.padded(9).overlaps(box)]
            assert not any(one.overlaps(other) for one, other in pairwise(shown)), "labels of ticks overlap"
        legend = axes.get_legend()
        if legend is not None:
            assert legend.get_window_extent().y0 >= axes.bbox.y1 - 1, "a legend lies on the data"
        texts = (axes.xaxis.label, axes.yaxis.label, *(legend.get_texts() if legend else ()))
        for text in filter(Text.get_text, texts):
            box = text.get_window_extent()
            assert whole.x0 <= box.x0, f"{text.get_text()} is cut off"
            assert box.x1 <= whole.x1, f"{text.get_text()} is cut off"
            assert box.y1 <= whole.y1, f"{text.get_text()} is cut off"


def written(plot, *arguments, folder):
    path = folder / "figure.png"
    figure = plot(*arguments, path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert_tidy(figure)
    return figure


SOLUTIONS = {
    "one state": (System({x: -x}, initial={x: 1e6}), 1),
    "two states": (sciml.models.lotka_volterra(), 2),
    "three states": (sciml.models.lorenz(), 2),
    "observables with long names": (sciml.models.kepler(), 2),
}


@pytest.mark.parametrize(("system", "panels"), SOLUTIONS.values(), ids=SOLUTIONS)
def test_a_solution_is_drawn_over_time_and_in_its_phase_plane(system, panels, tmp_path):
    simulation = sciml.simulate(system, np.linspace(0, 10, 200))
    figure = written(sciml.plot.solution, simulation, folder=tmp_path)
    assert len(figure.axes) == panels
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(simulation.names)


def decayed(start, rows=12):
    return pd.DataFrame({"x": start * np.exp(-1.5 * TIMES[:rows])}, index=TIMES[:rows])


def fitted(data, noise=None, objective=None, optimizers=None, **declared):
    system = System({x: -k * x}, parameters={k: Parameter(1.0)}, **declared)
    problem = Problem(system, data, noise or {x: Normal(0.1)})
    return sciml.fit(problem, objective, optimizers or [LBFGS(steps=20)], progress=False)


def gappy():
    frame = decayed(2.0)
    frame.iloc[3:6] = np.nan
    return frame


def years():
    frame = decayed(2.0)
    return frame.set_axis(1900 + 2 * np.arange(12))


FITS = {
    "one series": lambda: fitted(decayed(2.0)),
    "gaps": lambda: fitted(gappy()),
    "years": lambda: fitted(years()),
    "a fitted noise level": lambda: fitted(decayed(2.0) + 0.05 * np.cos(9 * TIMES)[:, None], {x: LogNormal()}),
    "several experiments": lambda: fitted({"first run of the day": decayed(2.0), "second": decayed(5.0, 7)}),
    "a measured observable": lambda: fitted(
        decayed(2.0).rename(columns={"x": "double"}),
        {"double": Normal(0.1)},
        observed={"double": 2 * x},
        initial={x: Parameter(1.1)},
    ),
    "many stages": lambda: fitted(
        decayed(2.0), None, MultipleShooting(intervals=3, continuity=1.0), [Adam(steps=5), LBFGS(steps=20)]
    ),
    "one step": lambda: fitted(decayed(2.0), optimizers=[Adam(steps=1)]),
}


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_a_fit_is_drawn_with_residuals_and_history(make, tmp_path):
    fit = make()
    figure = written(sciml.plot.fit, fit, folder=tmp_path)
    assert sum(map(drawn, figure.axes)) == 2 * len(fit.problem.experiments) + 1


def test_a_fit_of_three_states_is_drawn(tmp_path):
    lorenz = sciml.models.lorenz()
    data = sciml.datasets.noisy(lorenz, np.linspace(0, 1, 15), 0.01, missing=0.2)
    problem = Problem(lorenz, data, {name: Normal(0.1) for name in "xyz"})
    figure = written(sciml.plot.fit, sciml.fit(problem, optimizers=[LBFGS(steps=5)], progress=False), folder=tmp_path)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["x", "y", "z", "fit"]


def test_residuals_are_drawn_in_units_of_the_noise_level():
    fit = fitted(decayed(2.0) + 0.05 * np.cos(9 * TIMES)[:, None], {x: Normal()})
    line = sciml.plot.fit(fit).axes[1].lines[0]
    assert np.std(line.get_ydata()) == pytest.approx(1.0, rel=0.05)


def test_residuals_their_autocorrelation_and_quantiles_are_drawn(tmp_path):
    data = decayed(2.0) + 0.05 * np.cos(9 * TIMES)[:, None]
    data.iloc[3] = np.nan
    fit = fitted(data, {x: Normal()})
    figure = written(sciml.plot.residuals, fit, folder=tmp_path)
    over, lags, quantiles = figure.axes
    left = fit.normalized_residuals()["x"].dropna().to_numpy()
    assert over.lines[0].get_ydata() == pytest.approx(left)
    assert sorted(quantiles.lines[0].get_ydata()) == pytest.approx(sorted(left))
    centered = left - left.mean()
    bars = [segment[1, 1] for segment in lags.collections[0].get_segments()]
    assert bars[0] == pytest.approx(centered[1:] @ centered[:-1] / (centered @ centered))
    limits = sorted(line.get_ydata()[0] for line in lags.lines)
    assert limits == pytest.approx(np.array([-1.96, 0.0, 1.96]) / np.sqrt(len(left)))
    several = fitted({"a": decayed(2.0), "b": decayed(1.5)}, {x: Normal()})
    assert len(written(sciml.plot.residuals, several, folder=tmp_path).axes) == 6


def test_the_history_leaves_collocation_out():
    fit = fitted(decayed(2.0))
    assert fit.history[0].stage == "Collocation"
    labels = [line.get_label() for line in sciml.plot.fit(fit).axes[2].lines]
    assert labels == ["LBFGS"]


def test_a_discovery_of_one_state_is_drawn(hybrid, law, tmp_path):
    refit = sciml.fit(hybrid.problem.with_system(law), progress=False)
    figure = written(sciml.plot.discovery, hybrid, refit, folder=tmp_path)
    assert [drawn(axes) for axes in figure.axes] == [True, True]
    assert "discovered growth = " in figure.axes[1].get_xlabel()


@pytest.mark.parametrize(("count", "panels"), [(2, 4), (3, 6)])
def test_a_discovery_of_several_functions_is_drawn(count, panels, tmp_path):
    functions = sp.symbols("uptake_rate release decay_of_z", cls=sp.Function)
    known = (x, y / 2, z / 3)
    terms = [function(state) for function, state in zip(functions[:count], (x, y, z))] + list(known[count:])
    equations = {x: -terms[0], y: terms[0] - terms[1], z: terms[1] - terms[2]}
    system = System(equations, learned={function: MLP(hidden=(2,)) for function in functions[:count]})
    truth = System({x: -x, y: x - y / 2, z: y / 2 - z / 3}, initial={x: 2.0, y: 0.1, z: 0.1})
    data = {"one": sciml.datasets.noisy(truth, TIMES, 0.01), "two": sciml.datasets.noisy(truth, TIMES, 0.01, seed=1)}
    problem = Problem(system, data, {state: Normal(0.01) for state in (x, y, z)})
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=10)], progress=False)
    law = sciml.discover(fit, SparseRegression(degree=1, terms=1, keep=1, refits=3), progress=False)
    refit = sciml.fit(problem.with_system(law), optimizers=[LBFGS(steps=2)], progress=False)
    figure = written(sciml.plot.discovery, fit, refit, folder=tmp_path)
    assert len(figure.axes) == panels
    assert sum(map(drawn, figure.axes)) == 2 + count


def test_a_function_seen_through_its_derivative_alone_is_moved_to_the_law(tmp_path):
    system = System({x: -V(x).diff(x)}, learned={V: MLP(hidden=(3,))})
    data = decayed(2.0)
    fit = sciml.fit(Problem(system, data, {x: Normal(0.02)}), optimizers=[LBFGS(steps=20)], progress=False)
    law = sciml.discover(fit, SparseRegression(library=[x**2], terms=1), progress=False)
    figure = written(
        sciml.plot.discovery, fit, sciml.fit(fit.problem.with_system(law), progress=False), folder=tmp_path
    )
    discovered, learned = figure.axes[-1].lines[1].get_data()
    assert np.mean(discovered) == pytest.approx(np.mean(learned))


def test_a_long_formula_is_broken_into_lines(tmp_path):
    system = System({x: -f(x, y), y: f(x, y) - y}, learned={f: MLP(hidden=(2,))})
    truth = System({x: -0.5 * x * y**2 - x, y: x + 0.5 * x * y**2 - y}, initial={x: 2.0, y: 0.5})
    data = sciml.datasets.noisy(truth, TIMES, 0.01)
    problem = Problem(system, data, {x: Normal(0.01), y: Normal(0.01)})
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=10)], progress=False)
    method = SparseRegression(library=[sp.exp(-x * y), sp.sin(x + y), x * sp.cos(x * y)], terms=3, refits=40)
    law = sciml.discover(fit, method, progress=False)
    figure = written(sciml.plot.discovery, fit, sciml.fit(problem.with_system(law), progress=False), folder=tmp_path)
    assert max(map(len, figure.axes[-1].get_xlabel().splitlines())) <= 50


def test_a_discovery_needs_a_law_that_was_discovered(hybrid):
    with pytest.raises(ModelError, match="must be the fit of a System that `discover` returned"):
        sciml.plot.discovery(hybrid, fitted(decayed(2.0)))


@pytest.mark.parametrize("suffix", ["pdf", "svg"])
def test_the_suffix_gives_the_format(suffix, tmp_path):
    path = tmp_path / f"figure.{suffix}"
    sciml.plot.solution(sciml.simulate(System({x: -x}, initial={x: 1.0}), [0.0, 1.0]), path=path)
    assert path.stat().st_size > 1000
