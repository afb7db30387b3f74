"""What a fit says of itself: gradient audits, coverage, confounding, cost."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import LBFGS, MLP, LogNormal, Normal, Parameter, Penalty, Problem, SingleShooting, System
from sciml.measurement.loss import Loss
from sciml.measurement.timing import timing
from sciml.trust.audit import audit
from sciml.trust.coverage import Seen

x, y, k, b = sp.symbols("x y k b", real=True)
f = sp.Function("f")
TIMES = np.linspace(0, 3, 16)
DATA = pd.DataFrame({"x": 2 * np.exp(-TIMES), "y": 1 + np.sin(TIMES)}, index=TIMES)


def problem(**options):
    """A rate k that f(x) can imitate, and a rate b in an equation of its own that no network touches."""
    rates = {k: Parameter(0.5, prior=Normal(1.0)), b: Parameter(0.5)}
    model = System({x: -k * x + f(x), y: b * sp.cos(y)}, parameters=rates, learned={f: MLP((4,), decay=1e-3)})
    return Problem(model, DATA, {x: Normal(0.02), y: Normal(0.1)}, **options)


@pytest.fixture(scope="module")
def fit():
    return sciml.fit(problem(penalties=[Penalty(x > 0.5, 10.0)]), SingleShooting(), [LBFGS(100)], progress=False)


@pytest.fixture(scope="module")
def report(fit):
    return fit.report()


def test_gradients_pass_at_start_and_end(report):
    assert report.start.error < 1e-3
    assert report.end.error < 1e-3


def test_a_wrong_gradient_is_found_and_another_engine_taken(monkeypatch):
    original = Loss.value_and_gradient

    def wrong(self, vector, continuity=0.0):
        value, gradient = original(self, vector, continuity)
        return value, gradient * (1.5 if self.engine == "native" else 1.0)

    monkeypatch.setattr(Loss, "value_and_gradient", wrong)
    assert audit(problem(), problem().initial()).error == pytest.approx(1 / 3, rel=0.01)
    found = sciml.fit(problem(), SingleShooting(None), [LBFGS(2)], progress=False)
    assert found.backend == "torch"
    assert found.notes[0].startswith("the gradient by native with Direct(")
    assert "is off by 33.3% against finite differences: torch with Direct(" in found.notes[0]
    assert found.audit.passed


def test_a_gradient_that_no_engine_has_right_is_told(monkeypatch):
    original = Loss.value_and_gradient
    monkeypatch.setattr(Loss, "value_and_gradient", lambda self, v, c=0.0: (original(self, v, c)[0], 0 * v + 1e6))
    found = sciml.fit(problem(backend="torch"), SingleShooting(None), [LBFGS(1)], progress=False)
    assert "in every engine: the trajectory may be chaotic or too long. Try `MultipleShooting" in found.notes[0]
    assert not found.audit.passed


def test_coverage_masks_what_was_not_seen(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = fit.simulate()
    assert not inside.outside["f(x)"].any()
    assert sciml.simulate(fit.system, TIMES).outside is None  # nothing is known of where it comes from


def test_a_trajectory_that_leaves_what_was_seen_is_marked_and_told():
    grown = DATA.assign(x=0.1 * np.exp(0.9 * TIMES))
    posed = Problem(problem().declared, grown, {x: Normal(0.02), y: Normal(0.1)})
    found = sciml.fit(posed, SingleShooting(), [LBFGS(20)], progress=False)
    text = (
        r"from t = 3\.[\d]+ on the trajectory asks `f\(x\)` for what it has not seen in the fit, which ended at t = 3"
    )
    with pytest.warns(UserWarning, match=text):
        later = found.simulate(np.linspace(0, 5, 40))
    outside = later.outside["f(x)"].to_numpy()
    assert not outside[later["x"] <= grown["x"].max()].any()
    assert outside[later["x"] > grown["x"].max() + 0.15 * np.ptp(grown["x"])].all()
    assert outside.sum() > 10


def test_a_ring_does_not_cover_its_middle():
    angles = np.linspace(0, 2 * np.pi, 200)
    ring = Seen("f(x, y)", ("x", "y"), np.stack([3 * np.cos(angles), 100 * np.sin(angles)], axis=1))
    points = np.array([[3.0, 0.0], [0.0, 100.0], [0.0, 0.0], [0.0, 150.0], [np.nan, 0.0]])
    assert ring.covers(points).tolist() == [True, True, False, False, False]
    assert 0.3 < ring.share < 0.8


def test_a_rate_beside_a_network_is_imitated_and_one_without_is_not(report):
    found = {one.name: one for one in report.confounding}
    assert found["k"].imitated
    assert not found["b"].imitated
    assert found["b"].ratio == pytest.approx(1.0, abs=0.05)
    low, high = found["k"].profile.interval
    assert high - low > 1.0, "the prior has a standard deviation of 1"
    assert "the networks can imitate `k`. Fix it, state a prior" in str(found["k"])


def test_the_terms_add_up_to_the_loss(report, fit):
    assert sum(report.terms.values()) == pytest.approx(fit.loss)
    assert sum(v for n, v in report.terms.items() if n.startswith("column")) == pytest.approx(-fit.log_likelihood)
    assert report.terms["penalties"] > 0


def test_stages_count_iterations_and_evaluations(report, fit):
    assert [stage.name for stage in report.stages] == ["Collocation", "LBFGS"]
    assert sum(stage.evaluations for stage in report.stages) == fit.evaluations
    assert sum(stage.iterations for stage in report.stages) == len(fit.history)
    assert 0 < sum(stage.seconds for stage in report.stages) <= fit.seconds


def test_the_time_of_one_evaluation_is_divided_among_its_terms(report, fit):
    names = ["learned `f`", "rest of the equations", "solver", "likelihood", "penalties", "priors and coordinates"]
    assert list(report.parts) == [*names, "call from Python"]
    assert min(report.parts.values()) >= 0
    assert report.parts["learned `f`"] > 0
    assert report.parts["solver"] > 0
    assert report.parts["penalties"] > 0
    assert fit.problem.value_and_gradient(fit.vector)[0] == fit.loss, "measuring leaves the loss as it was"


def test_the_time_of_a_fit_is_divided_to_the_last_second(report, fit):
    assert sum(report.spent.values()) == pytest.approx(fit.seconds, rel=1e-6)
    for stage in report.stages:
        assert 0 < stage.evaluating < stage.seconds
    rest = {"start by collocation", "optimizers", "compiling and checks"}
    assert set(report.spent) == {*report.parts, *rest}


def test_torch_tells_its_reverse_pass_apart():
    posed = problem(penalties=[Penalty(x > 0.5, 10.0)], backend="torch")
    parts = timing(posed, posed.initial())
    names = ["learned `f`", "rest of equations, and solver", "penalties", "likelihood", "reverse pass"]
    assert list(parts) == [*names, "priors and coordinates"]
    assert 0 < parts["learned `f`"] < parts["reverse pass"] + parts["rest of equations, and solver"]


def test_every_network_is_timed_by_itself_also_where_eight_trajectories_run_side_by_side():
    small, large = sp.symbols("small large", cls=sp.Function)
    model = System({x: small(x), y: large(x, y)}, learned={small: MLP((2,)), large: MLP((16, 16))})
    posed = Problem(model, [DATA * (1 + 0.01 * k) for k in range(16)], {x: Normal(0.1), y: Normal(0.1)})
    parts = timing(posed, posed.initial())
    assert parts["learned `large`"] > parts["learned `small`"] > 0
    assert parts["solver"] > 0


def test_where_nothing_can_be_computed_nothing_is_timed():
    model = System({x: k * x**2}, parameters={k: Parameter(50.0)}, initial={x: 1.0})
    posed = Problem(model, DATA[["x"]], {x: Normal(0.1)})
    assert timing(posed, posed.initial()) == {}


def test_the_report_reads_as_text(report):
    text = str(report)
    for part in (
        "at the end: relative error",
        "`f(x)` has seen x from",
        "Confounding",
        "LBFGS:",
        "Time of one evaluation by native, and of the fit",
        "  learned `f`  ",
        "The networks can imitate `k`.",
    ):
        assert part in text


def test_the_report_is_drawn(report, tmp_path):
    figure = sciml.plot.report(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert [axes.get_xlabel() for axes in figure.axes if axes.axison][-2:] == [
        "time / s",
        "time of one evaluation / µs",
    ]


def test_of_equations_alone_nothing_is_covered_or_confounded():
    model = System({x: -k * x}, parameters={k: Parameter(0.5)})
    found = sciml.fit(Problem(model, DATA[["x"]], {x: LogNormal(0.1)}), progress=False)
    report = found.report()
    assert report.coverage is None
    assert report.confounding == ()
    assert report.warnings == ()
    assert str(report).endswith("none")
