"""Fits: known parameters come back, bounds and priors hold, failures and interruptions end well."""

import re

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import (
    LBFGS,
    Adam,
    Collocation,
    LogNormal,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import SolveError
from sciml.measurement.loss import Loss

x, v, k, a, q, p = sp.symbols("x v k a q p", real=True)


TIMES = np.linspace(0, 2, 9)


def decay(rate=None, **declared):
    return System({x: -k * x}, parameters={k: rate or Parameter(1.0, bounds=(0, None))}, **declared)


def decayed(times=TIMES, rate=1.5, start=2.0):
    return pd.DataFrame({"x": start * np.exp(-rate * times)}, index=times)


def decay_problem(rate=None, data=None, noise=0.1, **declared):
    data = decayed() if data is None else data
    return Problem(decay(rate, **declared), data, noise={x: Normal(noise)})


def blow_up(start):
    """x' = a x² with x(0) = 1, which is infinite at t = 1/a; the data, to t = 2, are those of a = 0.4."""
    system = System({x: a * x**2}, parameters={a: Parameter(start)}, initial={x: 1.0})
    return Problem(system, pd.DataFrame({"x": 1 / (1 - 0.4 * TIMES)}, index=TIMES), noise={x: Normal(0.1)})


def quick(problem, *optimizers, start=None, **options):
    """A short fit without a progress bar."""
    return sciml.fit(problem, SingleShooting(start), optimizers or [LBFGS(steps=100)], progress=False, **options)


OBJECTIVES = {
    "single shooting": SingleShooting(start=None),
    "single shooting after collocation": SingleShooting(),
    "multiple shooting": MultipleShooting(intervals=3, start=None),
    "multiple shooting after collocation": MultipleShooting(intervals=3),
}


OPTIMIZERS = {
    "Adam": ([Adam(steps=150, rate=0.05)], 1e-2),
    "LBFGS": ([LBFGS(steps=100)], 1e-5),
    "Adam, LBFGS": ([Adam(steps=20), LBFGS(steps=100)], 1e-5),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize(("optimizers", "accuracy"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_known_parameters_come_back_from_data_without_noise(objective, optimizers, accuracy):
    fit = sciml.fit(decay_problem(), objective, optimizers, progress=False)
    assert fit.estimates["k"] == pytest.approx(1.5, rel=accuracy)
    assert fit.initial.loc["data", "x"] == pytest.approx(2.0, rel=accuracy)
    assert fit.notes == ()


@pytest.mark.parametrize("objective", [SingleShooting(), MultipleShooting(intervals=4)], ids=["single", "multiple"])
def test_two_parameters_of_an_oscillator_come_back(objective):
    w, c = sp.symbols("w c", real=True)
    system = System(
        {x: v, v: -(w**2) * x - c * v},
        parameters={w: Parameter(1.4, bounds=(0, None)), c: Parameter(0.3, bounds=(0, None))},
    )
    times = np.linspace(0, 5, 20)
    truth = system.with_parameters({w: 2.0, c: 0.2}).with_initial({x: 1.0, v: 0.0})
    data = sciml.simulate(truth, times, rtol=1e-10, atol=1e-10).to_frame()
    fit = sciml.fit(
        Problem(system, data, noise={x: Normal(0.05), v: Normal(0.05)}), objective, [LBFGS(steps=200)], progress=False
    )
    assert fit.estimates == pytest.approx({"w": 2.0, "c": 0.2}, rel=1e-4)
    assert fit.converged


def test_the_default_recipe_needs_nothing_but_a_problem():
    fit = sciml.fit(decay_problem(), progress=False)
    assert fit.converged
    assert fit.estimates["k"] == pytest.approx(1.5, rel=1e-5)
    assert {record.stage for record in fit.history} == {"Collocation", "LBFGS"}


def test_experiments_share_parameters_and_have_starts_of_their_own():
    data = {"full": decayed(start=2.0), "half": decayed(TIMES[:5] + 1.0, start=5.0)}
    fit = quick(decay_problem(data=data))
    assert fit.estimates["k"] == pytest.approx(1.5, rel=1e-5)
    assert fit.initial["x"].to_dict() == pytest.approx({"full": 2.0, "half": 5.0 * np.exp(-1.5)}, rel=1e-5)
    assert fit.simulate(experiment=1)["x"][-1] == pytest.approx(data["half"]["x"].iloc[-1], rel=1e-4)
    assert not fit.system.initial
    assert fit.rmse == pytest.approx(0.0, abs=1e-4)


def test_a_declared_start_is_fitted_within_its_bounds():
    fit = quick(decay_problem(initial={x: Parameter(1.0, bounds=(0.5, 3.0))}))
    assert fit.initial.loc["data", "x"] == pytest.approx(2.0, rel=1e-5)


def test_collocation_does_not_put_a_start_on_its_bound():
    problem = decay_problem(initial={x: Parameter(1.0, bounds=(0.5, 1.9))})
    fit = quick(problem, LBFGS(steps=30), start=Collocation(steps=20))
    assert 1.7 < fit.initial.loc["data", "x"] < 1.9


def test_a_start_given_by_a_parameter_moves_with_it():
    fit = quick(decay_problem(initial={x: k + sp.Rational(1, 2)}))
    assert fit.initial.loc["data", "x"] == pytest.approx(fit.estimates["k"] + 0.5)
    assert fit.estimates["k"] == pytest.approx(1.5, rel=1e-5)


def test_a_start_that_is_given_stays():
    fit = quick(decay_problem(initial={x: 2.0}))
    assert fit.initial.loc["data", "x"] == 2.0
    assert len(fit.vector) == 1


@pytest.mark.parametrize("bounds", [(2, 4), (2, None), (None, 1.2), (0.5, 1.2)])
def test_estimates_stay_strictly_between_their_bounds(bounds):
    lower, upper = bounds
    fit = quick(decay_problem(Parameter(3.0 if lower == 2 else 1.0, bounds=bounds)), LBFGS(steps=30))
    estimate = fit.estimates["k"]
    assert lower is None or lower < estimate
    assert upper is None or estimate < upper
    assert estimate == pytest.approx(2.0 if lower == 2 else 1.2, rel=0.01)


@pytest.mark.parametrize("prior", [Normal, LogNormal])
def test_a_prior_pulls_the_more_the_narrower_it_is(prior):
    estimates = [
        quick(decay_problem(Parameter(1.0, prior=prior(scale)), initial={x: 2.0})).estimates["k"]
        for scale in (1.0, 0.1, 0.001)
    ]
    assert 1.5 > estimates[0] > estimates[1] > estimates[2]
    assert estimates[0] == pytest.approx(1.5, abs=0.02)
    assert estimates[2] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("noise", [Normal(), LogNormal()], ids=["normal", "log-normal"])
def test_a_fitted_noise_level_is_the_root_mean_square_residual(noise):
    rng = np.random.default_rng(1)
    data = decayed() * np.exp(0.1 * rng.standard_normal((9, 1)))
    fit = quick(Problem(decay(), data, noise={x: noise}))
    assert fit.estimates["noise_x"] == pytest.approx(fit.rmse, rel=1e-3)
    assert "noise_x" not in {str(s) for s in fit.system.parameters}


def test_loss_and_likelihood_differ_by_the_prior_alone():
    rate = Parameter(1.0, prior=Normal(0.5))
    fit = quick(decay_problem(rate))
    assert fit.loss + fit.log_likelihood == pytest.approx(0.5 * ((fit.estimates["k"] - 1.0) / 0.5) ** 2)


def test_multiple_shooting_closes_its_gaps_and_returns_a_single_shooting_vector(monkeypatch):
    gaps, original = [], Loss.gaps

    def recorded(self, vector):
        gaps.append(original(self, vector))
        return gaps[-1]

    monkeypatch.setattr(Loss, "gaps", recorded)
    problem = decay_problem()
    fit = sciml.fit(problem, MultipleShooting(intervals=4, start=None), [LBFGS(steps=50)], progress=False)
    assert gaps[-1].shape == (3, 1)
    assert np.abs(gaps[-1]).max() < 1e-3
    assert fit.notes == ()
    assert fit.vector.shape == problem.initial().shape
    assert fit.history[0].stage == "LBFGS, gaps at 100"
    assert fit.history[-1].stage == "LBFGS, single shooting"


def test_the_price_of_gaps_rises_until_they_are_below_the_tolerance():
    objective = MultipleShooting(intervals=3, continuity=1.0, start=None)
    data = decayed() + 0.05 * np.random.default_rng(2).standard_normal((9, 1))
    fit = sciml.fit(decay_problem(data=data), objective, [LBFGS(steps=50)], progress=False)
    prices = [stage for stage in dict.fromkeys(r.stage for r in fit.history) if "gaps at" in stage]
    assert prices[:3] == ["LBFGS, gaps at 1", "LBFGS, gaps at 10", "LBFGS, gaps at 100"]
    assert fit.notes == ()


def test_gaps_that_do_not_close_are_noted():
    objective = MultipleShooting(intervals=3, continuity=1e-6, raises=0, start=None)
    data = decayed() + 0.05 * np.random.default_rng(2).standard_normal((9, 1))
    fit = sciml.fit(decay_problem(data=data), objective, [LBFGS(steps=20)], progress=False)
    assert re.match(r"gaps between shots did not close: the largest is [\d.e-]+ \(tolerance 0.001\)", fit.notes[0])


def test_collocation_says_why_it_is_left_out():
    system = System({x: v, v: -k * x}, parameters={k: Parameter(1.0)}, initial={x: 1.0, v: 0.0})
    data = pd.DataFrame({"x": np.cos(TIMES)}, index=TIMES)
    fit = sciml.fit(Problem(system, data, noise={x: Normal(0.1)}), optimizers=[LBFGS(steps=3)], progress=False)
    assert fit.notes == ("no collocation start: `v` is not measured in `data`.",)


@pytest.mark.parametrize("optimizer", [LBFGS(steps=60), Adam(steps=200, rate=4.5)], ids=["LBFGS", "Adam"])
def test_trials_that_blow_up_are_stepped_back_from(monkeypatch, optimizer):
    values, original = [], Problem.value_and_gradient

    def recorded(self, vector):
        values.append(original(self, vector))
        return values[-1]

    monkeypatch.setattr(Problem, "value_and_gradient", recorded)
    fit = quick(blow_up(0.1), optimizer)
    assert np.isinf([value for value, _ in values]).any()
    assert all(np.isfinite(gradient).all() for _, gradient in values)
    assert fit.estimates["a"] == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("optimizer", [LBFGS(steps=5), Adam(steps=30)], ids=["LBFGS", "Adam"])
def test_a_start_that_cannot_be_solved_raises_and_says_what_to_try(optimizer):
    with pytest.raises(SolveError, match=r"could not be solved at any vector.*`MultipleShooting\(intervals=\.\.\.\)`"):
        quick(blow_up(3.0), optimizer)


def test_collocation_finds_its_way_where_the_start_cannot_be_solved():
    assert quick(blow_up(3.0), start=Collocation()).estimates["a"] == pytest.approx(0.4, rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "owner", "calls"),
    [(SingleShooting(start=None), Problem, 4), (MultipleShooting(intervals=3, start=None), Loss, 6)],
    ids=["single", "multiple"],
)
def test_an_interrupted_fit_returns_the_best_so_far(monkeypatch, objective, owner, calls):
    values, original = [], owner.value_and_gradient
    audited = 7  # evaluations for the audit of the gradient

    def interrupted(self, *arguments):
        values.append(None)
        if len(values) == audited + calls:
            raise KeyboardInterrupt
        value, gradient = original(self, *arguments)
        values[-1] = value
        return value, gradient

    problem = decay_problem()
    monkeypatch.setattr(owner, "value_and_gradient", interrupted)
    fit = sciml.fit(problem, objective, [LBFGS(steps=50)], progress=False)
    assert not fit.converged
    assert fit.message == "interrupted; this is the best so far"
    assert fit.vector.shape == problem.initial().shape
    assert fit.evaluations == calls - 1
    assert np.isfinite(fit.loss)
    if owner is Problem:
        assert fit.loss == min(values[audited : audited + calls - 1])


def test_a_fit_interrupted_at_once_returns_its_start(monkeypatch):
    class Interrupted(LBFGS):
        def minimize(self, function, vector, monitor):
            raise KeyboardInterrupt

    problem = decay_problem()
    fit = quick(problem, Interrupted())
    assert np.array_equal(fit.vector, problem.initial())
    assert not fit.converged
