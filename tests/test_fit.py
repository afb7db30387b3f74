"""Fits: known parameters come back, bounds and priors hold, failures and interruptions end well."""

import re

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from torch import nn

import sciml
from sciml import (
    LBFGS,
    MLP,
    Adam,
    Collocation,
    Fit,
    LogNormal,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import DataError, ModelError, SolveError
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import Target
from sciml.measurement.loss import Loss

x, v, k, a, q, p = sp.symbols("x v k a q p", real=True)
g, V = sp.symbols("g V", cls=sp.Function)
TIMES = np.linspace(0, 2, 9)


def decay(rate=None, **declared):
    return System({x: -k * x}, parameters={k: rate or Parameter(1.0, bounds=(0, None))}, **declared)


def decayed(times=TIMES, rate=1.5, start=2.0):
    return pd.DataFrame({"x": start * np.exp(-rate * times)}, index=times)


def decay_problem(rate=None, data=None, noise=0.1, **declared):
    data = decayed() if data is None else data
    return Problem(decay(rate, **declared), data, noise={x: Normal(noise)})


def learned_decay(network=None, **declared):
    network = network or MLP(hidden=(3,))
    return Problem(System({x: g(x)}, learned={g: network}, **declared), decayed(), noise={x: Normal(0.05)})


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


def test_history_message_evaluations_and_time_are_filled():
    fit = quick(decay_problem(), Adam(steps=5), LBFGS(steps=50))
    assert [record.step for record in fit.history[:6]] == [1, 2, 3, 4, 5, 1]
    assert [record.stage for record in fit.history[4:6]] == ["Adam", "LBFGS"]
    assert fit.history[-1].loss == pytest.approx(fit.loss)
    assert all(record.gradient_norm >= 0 for record in fit.history)
    assert fit.evaluations >= len(fit.history)
    assert fit.seconds > 0
    assert fit.converged
    assert fit.message.startswith("convergence")


def test_a_fit_that_runs_out_of_steps_has_not_converged():
    fit = quick(decay_problem(), Adam(steps=3))
    assert not fit.converged
    assert fit.message == "all 3 steps used"
    assert "not converged: all 3 steps used" in repr(fit)


def test_the_representation_shows_estimates_loss_and_how_it_ended():
    assert re.fullmatch(r"Fit\(k = 1\.5; loss = -12\.4\d+; converged\)", repr(quick(decay_problem())))


def test_the_same_seed_gives_the_same_fit_and_another_seed_another():
    first, again, other = (quick(learned_decay(), LBFGS(steps=3), seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.vector, again.vector)
    assert not np.allclose(first.vector, other.vector)
    assert (first.seed, other.seed) == (0, 1)


def test_a_fit_is_not_changed_by_those_after_it():
    problem = learned_decay()
    first = quick(problem, LBFGS(steps=5))
    before = first.vector.copy(), first.loss, first.simulate()["x"].copy()
    quick(problem, LBFGS(steps=5), seed=3)
    assert np.array_equal(first.vector, before[0])
    assert first.problem.value_and_gradient(first.vector)[0] == before[1]
    assert np.array_equal(first.simulate()["x"], before[2])


def test_a_module_of_the_user_is_trained_in_a_copy():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 3, dtype=torch.float64), nn.Tanh(), nn.Linear(3, 1, dtype=torch.float64))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fit = quick(learned_decay(module), LBFGS(steps=20))
    (trained,) = fit.system.learned.values()
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert trained is not module
    points = torch.linspace(0.1, 2, 5, dtype=torch.float64)[:, None]
    assert not torch.allclose(trained(points), module(points))
    assert fit.learned_values(g, points.numpy()) == pytest.approx(trained(points)[:, 0].detach().numpy())


def test_weights_of_an_mlp_come_back_in_the_system():
    fit = quick(learned_decay(), LBFGS(steps=20))
    rates = sciml.compile(fit.system)(0.0, torch.tensor([[0.5], [1.5]], dtype=torch.float64))
    assert fit.rates(np.zeros(2), np.array([[0.5], [1.5]])) == pytest.approx(rates.detach().numpy(), rel=1e-14)
    again = quick(fit.problem.with_system(fit.system), LBFGS(steps=1))
    assert again.history[0].loss <= fit.loss + 1e-6


def test_learned_values_field_and_rates_agree():
    network = MLP(hidden=(3,), factors=(x,))
    system = System({x: -k * g(x, v), v: -v}, parameters={k: 2.0}, learned={g: network})
    data = pd.DataFrame({"x": np.exp(-TIMES), "v": 3 * np.exp(-TIMES)}, index=TIMES)
    fit = quick(Problem(system, data, noise={x: Normal(0.1), v: Normal(0.1)}), LBFGS(steps=5))
    states = np.random.default_rng(0).uniform(0.5, 2.0, (6, 2))
    rates = fit.rates(np.zeros(6), states)
    field = fit.field(torch.zeros(6, 1, dtype=torch.float64), torch.tensor(states)).detach().numpy()
    assert np.array_equal(rates, field)
    assert -2.0 * fit.learned_values("g", states) == pytest.approx(rates[:, 0], rel=1e-12)
    assert -states[:, 1] == pytest.approx(rates[:, 1], rel=1e-14)


def test_a_function_with_a_factor_is_zero_where_the_factor_is():
    system = System({x: g(x)}, learned={g: MLP(hidden=(3,), factors=(x,))})
    fit = quick(Problem(system, decayed(), noise={x: Normal(0.1)}), LBFGS(steps=2))
    assert fit.learned_values(g, np.array([[0.0]])) == 0.0


def test_the_fitted_model_is_simulated_at_any_times():
    fit = quick(decay_problem())
    assert np.array_equal(fit.simulate().times, TIMES)
    simulation = fit.simulate([0.0, 0.33, 7.0])
    assert simulation["x"] == pytest.approx(2 * np.exp(-1.5 * np.array([0.0, 0.33, 7.0])), abs=1e-5)


def test_residuals_are_measured_minus_modeled_with_gaps_where_nothing_was_measured():
    data = decayed()
    data.loc[TIMES[3]] += 0.1
    data.loc[TIMES[5]] = np.nan
    fit = quick(decay_problem(Parameter(1.5, fixed=True), data, initial={x: Parameter(2.0)}))
    residuals = fit.residuals()
    assert list(residuals.index) == list(TIMES)
    assert np.flatnonzero(residuals["x"].isna()).tolist() == [5]
    pd.testing.assert_series_equal(residuals["x"], data["x"] - fit.simulate()["x"], check_names=False)
    assert fit.rmse == pytest.approx(np.sqrt(np.nanmean(residuals["x"] ** 2)))


def test_residuals_of_log_normal_noise_are_those_of_logarithms():
    fit = quick(Problem(decay(2.0, initial={x: Parameter(2.0)}), decayed(), noise={x: LogNormal(0.1)}))
    expected = np.log(decayed()["x"]) - np.log(fit.simulate()["x"])
    pd.testing.assert_series_equal(fit.residuals()["x"], expected, check_names=False)


def potential(network, **tolerances):
    """A Hamiltonian with a learned potential: only the derivative of the network occurs in the equations."""
    system = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: network}, initial={q: 1.0, p: 0.0})
    times = np.linspace(0, 1, 4)
    data = pd.DataFrame({"q": np.cos(1.3 * times), "p": -1.3 * np.sin(1.3 * times)}, index=times)
    return Problem(system, data, noise={q: Normal(0.02), p: Normal(0.02)}, **tolerances)


def test_the_gradient_of_a_learned_potential_matches_finite_differences():
    problem = potential(MLP(hidden=(3,)), rtol=1e-8, atol=1e-8)
    vector = problem.initial(seed=1)
    value, gradient = problem.value_and_gradient(vector)
    assert np.isfinite(value)
    steps = 1e-6 * np.eye(len(vector))
    differences = [problem.value_and_gradient(vector + s)[0] - problem.value_and_gradient(vector - s)[0] for s in steps]
    assert gradient == pytest.approx(np.array(differences) / 2e-6, rel=1e-4, abs=1e-4 * np.abs(gradient).max())
    assert gradient[-1] == 0.0, "the constant of a potential is not seen"


def test_a_learned_potential_is_fitted():
    fit = quick(potential(MLP(hidden=(3,))), LBFGS(steps=5))
    assert np.isfinite(fit.loss)
    assert fit.loss < fit.history[0].loss
    assert fit.learned_values(V, np.array([[0.5], [1.0]])).shape == (2,)


WRONG = {
    "no problem": (lambda: sciml.fit(decay()), ModelError, "`fit` takes a Problem, not `System`"),
    "a class for an objective": (
        lambda: sciml.fit(decay_problem(), SingleShooting),
        ModelError,
        r"is not known: use `SingleShooting\(\)`",
    ),
    "text for an objective": (
        lambda: sciml.fit(decay_problem(), "single"),
        ModelError,
        r"objective 'single' is not known: use `SingleShooting\(\)`, `MultipleShooting\(\)` or `GrowingWindow\(\)`",
    ),
    "one optimizer, no list": (lambda: sciml.fit(decay_problem(), optimizers=Adam()), ModelError, "must be a list"),
    "text for an optimizer": (lambda: sciml.fit(decay_problem(), optimizers=["Adam"]), ModelError, "must be a list"),
    "no optimizer": (lambda: sciml.fit(decay_problem(), optimizers=[]), ModelError, r"optimizers \[\] must be a list"),
    "no steps": (lambda: Adam(steps=0), ModelError, r"`Adam\(steps=0\)`: the number of steps must be a positive whole"),
    "half a step": (lambda: LBFGS(steps=0.5), ModelError, r"`LBFGS\(steps=0.5\)`"),
    "a negative rate": (lambda: Adam(rate=-1.0), ModelError, "learning rate must be a positive number"),
    "one interval": (
        lambda: MultipleShooting(intervals=1),
        ModelError,
        r"needs at least 2; `SingleShooting\(\)` takes one",
    ),
    "more intervals than rows": (
        lambda: sciml.fit(decay_problem(), MultipleShooting(intervals=9), progress=False),
        DataError,
        "`intervals=9` are more than `data` with 9 rows can be cut into: at most 8",
    ),
    "nothing to fit": (
        lambda: sciml.fit(decay_problem(Parameter(1.5, fixed=True), initial={x: 2.0})),
        ModelError,
        "nothing is to be fitted: all parameters are fixed and all initial values are given",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_with_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_the_neighbors_of_wrong_input_are_accepted():
    assert isinstance(quick(decay_problem(), Adam(steps=1, rate=1e-9)), Fit)
    assert MultipleShooting(intervals=2).intervals == 2
    fit = sciml.fit(decay_problem(), MultipleShooting(intervals=8), (LBFGS(steps=5),), progress=False)
    assert len(fit.vector) == 2
    assert len(quick(decay_problem(Parameter(1.5, fixed=True))).vector) == 1


@pytest.fixture(scope="module")
def fitted():
    return quick(learned_decay(), LBFGS(steps=2))


ASKED = {
    "unknown function": (lambda f: f.learned_values("G", [[1.0]]), ModelError, r"`G` is not a learned.*There are `g`"),
    "arguments without columns": (
        lambda f: f.learned_values(g, [0.0, 1.0]),
        ModelError,
        r"have shape \(2,\).*\(points, 1\)",
    ),
    "too many arguments": (lambda f: f.learned_values(g, [[0.0, 1.0]]), ModelError, r"have shape \(1, 2\)"),
    "times that start later": (
        lambda f: f.simulate([1.0, 2.0]),
        DataError,
        "starts at 0, where `data` has its initial",
    ),
    "no times": (lambda f: f.simulate([]), DataError, "must be a list of times"),
    "no such experiment": (
        lambda f: f.simulate(experiment=1),
        DataError,
        "there is no experiment 1: the problem has 1",
    ),
    "residuals of no experiment": (lambda f: f.residuals(-1), DataError, "there is no experiment -1"),
}


@pytest.mark.parametrize(("call", "error", "text"), ASKED.values(), ids=ASKED)
def test_a_fit_refuses_what_it_cannot_answer(fitted, call, error, text):
    with pytest.raises(error, match=text):
        call(fitted)


def bowl(w):
    """A curved valley with a wall: it cannot be computed for w₀ > 1.5."""
    if w[0] > 1.5:
        return np.inf, np.zeros_like(w)
    value = (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2
    return value, np.array([-2 * (1 - w[0]) - 40 * w[0] * (w[1] - w[0] ** 2), 20 * (w[1] - w[0] ** 2)])


@pytest.mark.parametrize(
    ("optimizer", "accuracy"), [(LBFGS(steps=200), 1e-4), (Adam(steps=2000, rate=0.3), 0.02)], ids=["LBFGS", "Adam"]
)
def test_optimizers_find_the_minimum_beside_a_wall(optimizer, accuracy):
    monitor = Monitor(show=False)
    watched = monitor.watch(Target(bowl, lambda w: None))
    outcome = optimizer.minimize(watched, np.array([1.4, -1.0]), monitor)
    assert outcome.vector == pytest.approx([1.0, 1.0], abs=accuracy)
    assert bowl(monitor.best)[0] == pytest.approx(bowl(outcome.vector)[0], abs=1e-12)


@pytest.mark.parametrize("optimizer", [LBFGS(steps=5), Adam(steps=50)], ids=["LBFGS", "Adam"])
def test_optimizers_give_their_start_back_where_nothing_can_be_computed(optimizer):
    start = np.array([2.0, 2.0])
    outcome = optimizer.minimize(bowl, start, Monitor(show=False))
    assert np.array_equal(outcome.vector, start)
    assert not outcome.converged
    assert "could not be solved" in outcome.message
