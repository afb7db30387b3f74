"""Likelihoods, levels and penalties: the same in both engines, as SciPy says, and refused where they cannot be meant."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from agreement import agree
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import sciml
from sciml import (
    LBFGS,
    MLP,
    DataError,
    LogNormal,
    ModelError,
    NegativeBinomial,
    Normal,
    Parameter,
    Penalty,
    Poisson,
    Problem,
    SingleShooting,
    StudentT,
    System,
)
from sciml.measurement.likelihood import likelihood_of

x, y, k, c, sigma, sd, t = sp.symbols("x y k c sigma sd t", real=True)
f = sp.Function("f")
TIMES = np.linspace(0.0, 2.0, 9)
COUNTS = pd.DataFrame({"x": [40.0, 31.0, 26.0, np.nan, 12.0, 9.0, 9.0, 6.0, 0.0], "sd": 2.0 + TIMES}, index=TIMES)
NOISE = {
    "Normal": Normal(sigma),
    "LogNormal": LogNormal(sigma),
    "StudentT": StudentT(sigma, freedom=3.0),
    "Poisson": Poisson(),
    "NegativeBinomial": NegativeBinomial(10 * sigma),
    "a level of its own": Normal(),
    "a column": Normal(sd),
    "a column times a level": StudentT(sigma * sd),
    "a level that grows with the state": Normal(sigma * (1 + sp.sqrt(x))),
}


def decay(**declared):
    rates = {k: Parameter(0.9, bounds=(0, None)), sigma: Parameter(0.7, bounds=(0, None), prior=LogNormal(1.0))}
    return System({x: -k * x}, parameters=rates, **declared)


def problem(noise, data=None, **options):
    data = COUNTS if data is None else data
    data = data if "sd" in str(noise) else data[["x"]]
    data = data.where(data["x"] > 0) if isinstance(noise, LogNormal) else data
    return Problem(decay(), data, noise={x: noise}, rtol=1e-9, atol=1e-9, **options)


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_every_likelihood_is_the_same_in_both_engines(noise):
    agree(problem(noise))


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_the_likelihood_is_that_of_scipy(noise):
    found = problem(noise, backend="torch")
    vector = found.initial()
    means, scales = found.loss.measure(vector, TIMES, found.loss.trajectory(vector, [40.0], TIMES) or _path(found))
    measured = found.experiments[0]
    frozen = likelihood_of(found.likelihoods["x"]).frozen(means, scales * measured.levels)
    logarithm = getattr(frozen, "logpdf", None) if not found.likelihoods["x"].counts else frozen.logpmf
    assert found.loss.log_likelihood(vector) == pytest.approx(np.nansum(logarithm(measured.values)), rel=1e-7)


def _path(found):
    start = found.loss.initial_states(found.initial())[0]
    return sciml.simulate(found.system, TIMES, initial={"x": start[0]}, rtol=1e-9, atol=1e-9).states


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_the_gradient_of_every_likelihood_matches_finite_differences(noise):
    found = problem(noise)
    vector = found.initial()
    _, gradient = found.value_and_gradient(vector)
    steps = 1e-5 * np.eye(len(vector))
    differences = [found.value_and_gradient(vector + s)[0] - found.value_and_gradient(vector - s)[0] for s in steps]
    assert gradient == pytest.approx(np.array(differences) / 2e-5, rel=1e-5, abs=1e-5 * np.abs(gradient).max())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([Normal(), LogNormal(), StudentT(freedom=2.5), Poisson(), NegativeBinomial()]),
       st.floats(0.3, 60.0), st.floats(0.05, 5.0))  # fmt: skip
def test_the_information_is_the_expected_square_of_the_score(distribution, mean, scale):
    likelihood = likelihood_of(distribution)
    frozen = likelihood.frozen(mean, scale)
    values = np.arange(0.0, 3000.0) if distribution.counts else frozen.ppf((np.arange(40_000) + 0.5) / 40_000)
    weights = frozen.pmf(values) if distribution.counts else np.full(len(values), 1 / len(values))
    m, s = (torch.full((len(values),), number, dtype=torch.float64, requires_grad=True) for number in (mean, scale))
    total = likelihood.negative_log(torch.tensor(values), m, s)
    by_mean, by_scale = (
        g.numpy() for g in torch.autograd.grad(total, (m, s), allow_unused=True, materialize_grads=True)
    )
    on_mean, on_scale = likelihood.information(values, np.full(len(values), mean), np.full(len(values), scale))
    assert (weights * on_mean * np.ones(len(values))).sum() == pytest.approx((weights * by_mean**2).sum(), rel=2e-2)
    if not isinstance(distribution, NegativeBinomial):  # whose observed information is cut at zero
        assert (weights * on_scale).sum() == pytest.approx((weights * by_scale**2).sum(), rel=2e-2, abs=1e-12)


@pytest.mark.parametrize("distribution", [Normal(), LogNormal(), StudentT(), Poisson(), NegativeBinomial()], ids=str)
def test_quantile_residuals_of_the_right_model_are_standard_normal(distribution):
    draw = np.random.default_rng(1)
    likelihood = likelihood_of(distribution)
    means, scales = draw.uniform(1, 30, 4000), draw.uniform(0.3, 3, 4000)
    values = likelihood.frozen(means, scales).rvs(random_state=draw)
    residuals = likelihood.quantile_residuals(values, means, scales, draw)
    assert stats.kstest(residuals, "norm").pvalue > 0.01


def test_a_fit_with_an_outlier_is_kept_by_student_and_spoilt_by_normal():
    data = pd.DataFrame({"x": 2 * np.exp(-1.5 * TIMES)}, index=TIMES)
    data.loc[TIMES[4], "x"] += 3.0
    rate = {}
    for noise in (Normal(0.05), StudentT(0.05, freedom=2)):
        found = Problem(decay(), data, noise={x: noise})
        rate[type(noise)] = sciml.fit(found, SingleShooting(None), [LBFGS()], progress=False).estimates["k"]
    assert rate[StudentT] == pytest.approx(1.5, rel=0.02)
    assert abs(rate[Normal] - 1.5) > 0.2


def test_values_with_small_levels_count_for_more():
    data = pd.DataFrame({"x": 2 * np.exp(-TIMES), "sd": 1e-3}, index=TIMES)
    data.loc[TIMES[5] :, "x"] *= 5.0
    data.loc[TIMES[5] :, "sd"] = 10.0
    found = sciml.fit(Problem(decay(), data, noise={x: Normal(sd)}), SingleShooting(None), [LBFGS()], progress=False)
    assert found.estimates["k"] == pytest.approx(1.0, abs=1e-3)
    assert found.predicted()[1]["x"].to_numpy() == pytest.approx(data["sd"].to_numpy())


def test_a_student_prior_pulls_less_than_a_normal_one():
    data = pd.DataFrame({"x": 2 * np.exp(-3.0 * TIMES)}, index=TIMES)
    rates = []
    for prior in (Normal(0.05), StudentT(0.05, freedom=1)):
        model = System({x: -k * x}, parameters={k: Parameter(1.0, prior=prior)}, initial={x: 2.0})
        found = Problem(model, data, noise={x: Normal(0.2)}, rtol=1e-9, atol=1e-9)
        agree(found)
        rates.append(sciml.fit(found, SingleShooting(None), [LBFGS()], progress=False).estimates["k"])
    assert abs(rates[1] - 3.0) < abs(rates[0] - 3.0)


def test_decay_pulls_weights_to_zero_but_not_biases():
    model = System({x: f(x)}, learned={f: MLP(hidden=(3,), decay=2.0)})
    found = Problem(model, COUNTS[["x"]].dropna(), noise={x: Normal(1e6)})
    vector = np.zeros(len(found.initial()))
    vector[3:6] = 5.0  # the biases of the hidden layer
    assert found.loss.coordinates.penalty(found.loss.coordinates.values(vector)[0])[0] == 0.0
    vector[:3] = 0.1
    assert found.loss.coordinates.penalty(found.loss.coordinates.values(vector)[0])[0] == pytest.approx(0.03)
    agree(found)
    fit = sciml.fit(found, SingleShooting(None), [LBFGS(steps=50)], progress=False)
    weights = fit.problem.loss.physical(fit.vector)[1]
    assert weights[[0, 1, 2, 6, 7, 8]] == pytest.approx(0.0, abs=1e-3)


# Penalties

POSITIVE = Penalty(sp.Derivative(x, t) > -10, weight=0.3, points=3)


def penalized(penalty, **options):
    model = System(
        {x: -k * x + f(x), y: x - y},
        parameters={k: Parameter(0.9, bounds=(0, None))},
        learned={f: MLP(hidden=(4,))},
        initial={y: Parameter(1.0)},
        observed={"z": x * y},
    )
    data = COUNTS[["x"]]
    return Problem(model, data, noise={x: Normal(3.0)}, penalties=penalty, rtol=1e-9, atol=1e-9, **options)


PENALTIES = {
    "a rate": POSITIVE,
    "a rate of a function of time": Penalty(sp.Function("x")(t).diff(t) > -10, weight=0.3, points=3),
    "a second derivative": Penalty(sp.Derivative(x, (t, 2)) < 0, weight=1e-3),
    "a learned function": Penalty(f(x) < -1, weight=3.0),
    "the slope of a learned function": Penalty(f(x).diff(x) >= 2, weight=3.0),
    "an observable": Penalty(sp.Symbol("z", real=True) <= 3, weight=0.01),
    "time": Penalty(y < t, weight=2.0, points=1),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_penalties_are_the_same_in_both_engines_and_cost_something(penalty):
    found = penalized([penalty, POSITIVE])
    agree(found)
    free = replace(found, penalties=())
    vector = found.initial(seed=1)
    assert found.value_and_gradient(vector)[0] > free.value_and_gradient(vector)[0] + 1e-3
    assert found.loss.log_likelihood(vector) == pytest.approx(free.loss.log_likelihood(vector), rel=1e-12)


def test_a_penalty_is_the_mean_of_the_squared_violation_over_time():
    model = System({x: -k * x}, parameters={k: Parameter(1.0)}, initial={x: 2.0})
    data = pd.DataFrame({"x": 2 * np.exp(-TIMES)}, index=TIMES)
    free, priced = (
        Problem(model, data, noise={x: Normal(0.1)}, penalties=p, rtol=1e-10, atol=1e-10)
        for p in ((), Penalty(x < 1, weight=7.0, points=20))
    )
    difference = priced.value_and_gradient(priced.initial())[0] - free.value_and_gradient(free.initial())[0]
    expected = 7.0 * integrate.quad(lambda s: max(2 * np.exp(-s) - 1, 0) ** 2, 0, 2)[0] / 2
    assert difference == pytest.approx(expected, rel=1e-3)


def test_a_penalty_under_multiple_shooting_costs_the_same_where_the_shots_join():
    found = penalized(POSITIVE)
    vector = found.initial(seed=1)
    loss = sciml.measurement.loss.Loss(found, 3)
    states = found.loss.trajectory(vector, found.loss.initial_states(vector)[0], TIMES)
    inner = [states[row] for row in np.linspace(0, 8, 4).round().astype(int)[1:-1]]
    values = np.concatenate([found.loss.coordinates.values(vector)[0], *inner])
    assert loss.value_and_gradient(loss.coordinates.free(values))[0] == pytest.approx(
        found.value_and_gradient(vector)[0], rel=1e-6
    )


def test_a_penalty_keeps_a_fit_from_breaking_it():
    data = pd.DataFrame({"x": [2.0, 1.5, 1.9, 1.2]}, index=[0.0, 1.0, 2.0, 3.0])
    model = System({x: f(t)}, learned={f: MLP(hidden=(8,), decay=0.01)}, time=t)
    rates = []
    for penalties in ((), Penalty(sp.Derivative(x, t) <= 0, weight=1e4)):
        fit = sciml.fit(Problem(model, data, {x: Normal(0.05)}, penalties=penalties), progress=False)
        rates.append(np.diff(fit.simulate(np.linspace(0, 3, 50))["x"]).max())
    assert rates[0] > 1e-2
    assert rates[1] < 2e-3


def test_levels_and_penalties_survive_saving(tmp_path):
    data = COUNTS.assign(y=np.linspace(1.0, 2.0, len(COUNTS)))
    model = System({x: -k * x, y: x - y}, parameters={k: 1.0, sigma: Parameter(1.0, bounds=(0, None))})
    noise = {x: Normal(sigma * sd), y: StudentT(freedom=3.0)}
    fit = sciml.fit(
        Problem(model, data, noise, penalties=[Penalty(sp.Derivative(x, t) < y, 0.1)]),
        SingleShooting(None),
        [LBFGS(steps=5)],
        progress=False,
    )
    again = sciml.load(fit.save(tmp_path / "fit.sciml"))
    assert again.loss == fit.loss
    assert again.problem.likelihoods == fit.problem.likelihoods
    assert again.problem.penalties == fit.problem.penalties


# What cannot be meant

WRONG = {
    "counts with fractions": (
        lambda: problem(Poisson(), COUNTS + 0.5),
        DataError,
        "column `x` of `data` is 40.5 at time 0; Poisson noise needs whole numbers from 0. Use `Normal",
        lambda: problem(Poisson()),
    ),
    "negative counts": (
        lambda: problem(NegativeBinomial(2.0), COUNTS - 10),
        DataError,
        "is -1 at time 1.25; NegativeBinomial noise needs whole numbers from 0",
        lambda: problem(NegativeBinomial(2.0)),
    ),
    "no freedom": (
        lambda: StudentT(1.0, freedom=0),
        ModelError,
        r"`StudentT\(freedom=0\)`: the degrees of freedom must be a positive number",
        lambda: StudentT(1.0, freedom=0.5),
    ),
    "a level as text": (
        lambda: Normal("sd"),
        ModelError,
        r"`Normal\('sd'\)`: the scale must be a positive number. Give one, name a parameter",
        lambda: Normal(sd),
    ),
    "a level of zero": (
        lambda: problem(Normal(sd), COUNTS.assign(sd=0.0)),
        DataError,
        "the noise level `sd` of `x` in `data` is 0 at time 0: give a positive number wherever `x` was measured",
        lambda: problem(Normal(sd), COUNTS.assign(sd=1.0)),
    ),
    "a level that is missing": (
        lambda: problem(Normal(sd), COUNTS.assign(sd=[1.0] * 8 + [np.nan])),
        DataError,
        "the noise level `sd` of `x` in `data` is nan at time 2",
        lambda: problem(Normal(sd), COUNTS.assign(sd=[1.0] * 3 + [np.nan] + [1.0] * 5)),
    ),
    "a level in a sum": (
        lambda: problem(Normal(sigma + sd)),
        ModelError,
        r"holds the column `sd` of the data: it may stand alone or as a factor, such as `Normal\(sigma \* sd\)`",
        lambda: problem(Normal(sigma * sd)),
    ),
    "a prior of counts": (
        lambda: Parameter(1.0, prior=Poisson()),
        ModelError,
        r"`prior=Poisson\(\)` is not a distribution around the value. Write `prior=Normal\(0.1\)`",
        lambda: Parameter(1.0, prior=StudentT(0.1)),
    ),
    "a penalty that names an unknown symbol": (
        lambda: penalized(Penalty(sp.Symbol("w") < 0)),
        ModelError,
        "`w` in the penalty `w < 0` is neither a state, an observable nor a parameter",
        lambda: penalized(Penalty(k < 0)),
    ),
    "a penalty on an unknown function": (
        lambda: penalized(Penalty(sp.Function("ff")(x) < 0)),
        ModelError,
        r"`ff\(x\)` in the penalty `ff\(x\) < 0` is an unknown function. The System learns `f`. Did you mean `f`\?",
        lambda: penalized(Penalty(f(2 * x) < 0)),
    ),
    "a penalty that SymPy has decided": (
        lambda: Penalty(x.diff(t) < 0),
        ModelError,
        r"the condition of a penalty is `False`: SymPy has decided it already.*write the derivative.*`sp.Derivative\(x, t\)`",
        lambda: Penalty(sp.Derivative(x, t) < 0),
    ),
    "an equation for a penalty": (
        lambda: Penalty(sp.Eq(x, 0)),
        ModelError,
        r"the condition of a penalty is `Eq\(x, 0\)`: give an inequality, such as `Penalty\(x > 0\)`",
        lambda: Penalty(x >= 0),
    ),
    "a penalty without weight": (
        lambda: Penalty(x > 0, weight=0),
        ModelError,
        r"`Penalty\(weight=0\)`: the weight must be a positive number",
        lambda: Penalty(x > 0, weight=1e-9),
    ),
    "a penalty between no points": (
        lambda: Penalty(x > 0, points=0),
        ModelError,
        r"`Penalty\(points=0\)`: the number of points must be a positive whole number",
        lambda: Penalty(x > 0, points=1),
    ),
    "an inequality for a penalty": (
        lambda: penalized([x > 0]),
        ModelError,
        r"`penalties` holds `x > 0`: give inequalities as `Penalty\(x > 0, weight=100.0\)`",
        lambda: penalized(Penalty(x > 0)),
    ),
}


@pytest.mark.parametrize(("wrong", "error", "message", "right"), WRONG.values(), ids=WRONG)
def test_wrong_noise_and_penalties_are_refused_with_advice(wrong, error, message, right):
    with pytest.raises(error, match=message):
        wrong()
    right()
