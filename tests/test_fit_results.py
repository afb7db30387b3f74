"""What a fit tells: history, residuals, simulations, and what it refuses."""

import re

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from test_fit import TIMES, decay, decay_problem, decayed, k, p, q, quick, v, x
from torch import nn

import sciml
from sciml import (
    LBFGS,
    MLP,
    Adam,
    Fit,
    LogNormal,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import DataError, ModelError
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import Target

g, V = sp.symbols("g V", cls=sp.Function)


def learned_decay(network=None, **declared):
    network = network or MLP(hidden=(3,))
    return Problem(System({x: g(x)}, learned={g: network}, **declared), decayed(), noise={x: Normal(0.05)})


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
