"""Likelihoods of stochastic Systems against exact ones, and fits by them."""

import math

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from scipy.stats import lognorm, multivariate_normal, norm

import sciml
from sciml import (
    LBFGS,
    MLP,
    DataError,
    LogNormal,
    ModelError,
    MultipleShooting,
    Normal,
    Parameter,
    Poisson,
    Problem,
    SingleShooting,
    System,
)
from sciml.measurement.transitions.transition_density import skewed_cost
from sciml.stochastic import EulerMaruyama, Kalman, MomentMatching, TransitionDensity

x, y, theta, s = sp.symbols("x y theta s", real=True)
OU = System(
    {x: -theta * x},
    noise={x: s},
    parameters={theta: Parameter(0.8, bounds=(0, None)), s: Parameter(0.6, bounds=(0, None))},
    initial={x: 1.5},
)
TIMES = np.array([0.0, 0.3, 0.8, 1.0, 1.7])
VALUES = np.array([1.4, 1.2, np.nan, 0.9, 0.2])


def exact_cost(rate: float, level: float, noise: float) -> float:
    """Minus the log-density of the known values under the exact Gaussian process from x(0) = 1.5."""
    known = np.isfinite(VALUES)
    t = TIMES[known]
    early, apart = np.minimum.outer(t, t), np.abs(np.subtract.outer(t, t))
    covariance = level**2 / (2 * rate) * (np.exp(-rate * apart) - np.exp(-rate * (apart + 2 * early)))
    covariance += noise**2 * np.eye(len(t))
    return -float(multivariate_normal(1.5 * np.exp(-rate * t), covariance).logpdf(VALUES[known]))


def test_the_filter_is_exact_for_linear_systems_with_gaps():
    data = pd.DataFrame({"x": VALUES}, index=TIMES)
    problem = Problem(OU, data, noise={x: Normal(0.2)}, transitions=Kalman(steps=8, spread=1e-6))
    vector = problem.initial()
    assert problem.engine == "torch (the System has noise)"
    assert problem.value_and_gradient(vector)[0] == pytest.approx(exact_cost(0.8, 0.6, 0.2), abs=1e-5)


@pytest.mark.parametrize(
    "transitions", [Kalman(), TransitionDensity(), TransitionDensity(steps=3), MomentMatching()], ids=str
)
def test_gradients_match_finite_differences(transitions):
    rng = np.random.default_rng(0)
    system = System(
        {x: -theta * x + sp.sin(y), y: x - y},
        noise={x: s * sp.sqrt(1 + x**2), y: 0.5 * sp.cos(x / 3)},
        parameters={theta: Parameter(0.8, bounds=(0, None)), s: Parameter(0.6, bounds=(0, None))},
        initial={x: 1.0, y: Parameter(0.5)},
    )
    frames = [
        pd.DataFrame(0.3 * rng.normal(size=(4, 2)), index=[0, 0.3, 0.5, 1.0], columns=["x", "y"]) for _ in range(3)
    ]
    noise = None if transitions.exact else {x: Normal(0.3), y: Normal(0.2)}
    problem = Problem(system, frames, noise=noise, transitions=transitions)
    vector = problem.initial()
    _, gradient = problem.value_and_gradient(vector)
    for i in range(len(vector)):
        shift = 1e-5 * np.eye(len(vector))[i]
        slope = (problem.value_and_gradient(vector + shift)[0] - problem.value_and_gradient(vector - shift)[0]) / 2e-5
        assert gradient[i] == pytest.approx(slope, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_density_of_linear_systems_is_exact(steps):
    path = pd.DataFrame({"x": [1.5, 1.1, 1.2, 1.4]}, index=[0, 0.1, 0.2, 0.35])
    h, (begin, end) = np.diff(path.index), (path.x.to_numpy()[:-1], path.x.to_numpy()[1:])
    problem = Problem(OU, path, transitions=TransitionDensity(steps))
    spread = 0.6 * np.sqrt((1 - np.exp(-1.6 * h)) / 1.6)
    exact = -norm.logpdf(end, begin * np.exp(-0.8 * h), spread).sum()
    assert problem.value_and_gradient(problem.initial())[0] == pytest.approx(exact, abs=1e-4)
    growing = System({x: theta * x}, noise={x: -s * x}, parameters={theta: 0.4, s: Parameter(0.3)})
    problem = Problem(growing, path, transitions=TransitionDensity(steps))
    exact = -lognorm.logpdf(end, 0.3 * np.sqrt(h), scale=begin * np.exp((0.4 - 0.045) * h)).sum()
    assert problem.value_and_gradient(problem.initial())[0] == pytest.approx(exact, abs=5e-4)


@pytest.mark.parametrize("shape", [-0.6, -0.1, 1e-7, 0.05, 0.6])
def test_skewed_densities_have_mean_zero_and_variance_one(shape):
    e = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-skewed_cost(e, torch.full_like(e, shape))) / math.sqrt(2 * math.pi)
    total, mean, square = (float(torch.trapezoid(density * e**k, e)) for k in range(3))
    assert (total, mean, square) == pytest.approx((1, 0, 1), abs=2e-2 if abs(shape) > 0.5 else 1e-6)
    third = float(torch.trapezoid(density * e**3, e))
    assert third == pytest.approx(3 * shape, rel=0.4 if abs(shape) > 0.5 else 0.02, abs=1e-5)


@pytest.mark.parametrize("shape", [-0.6, 0.05, 0.6])
def test_no_value_is_impossible(shape):
    e = torch.tensor([-1e6, -1e3, 0.0, 1e3, 1e6], dtype=torch.float64, requires_grad=True)
    cost = skewed_cost(e, torch.full_like(e, shape))
    (slope,) = torch.autograd.grad(cost.sum(), e)
    assert torch.isfinite(cost).all()
    assert torch.isfinite(slope).all()
    assert (slope[:2] < 0).all()
    assert (slope[3:] > 0).all()


def test_a_shorter_series_costs_what_it_costs_alone():
    long = pd.DataFrame({"x": [1.5, 1.1, 0.2, 0.3]}, index=[0, 0.1, 0.2, 0.35])
    costs = [
        Problem(OU, frames, transitions=TransitionDensity()).value_and_gradient(np.log([0.8, 0.6]))
        for frames in (long, long[:2], [long, long[:2]])
    ]
    assert costs[0][0] + costs[1][0] == pytest.approx(costs[2][0], abs=1e-12)
    np.testing.assert_allclose(costs[0][1] + costs[1][1], costs[2][1], atol=1e-12)


def test_a_neural_sde_learns_drift_and_noise_of_a_series():
    f, g = sp.symbols("f g", cls=sp.Function)
    truth = System({x: x - x**3}, noise={x: 0.5 + 0.2 * sp.cos(x)}, initial={x: 1.0})
    times = np.arange(0, 60, 0.05)
    path = sciml.simulate(truth, times, seed=2, solver=EulerMaruyama(0.01))["x"]
    model = System({x: f(x)}, noise={x: g(x)}, learned={f: MLP(hidden=(8,)), g: MLP(hidden=(8,))})
    problem = Problem(model, pd.DataFrame({"x": path}, index=times), transitions=TransitionDensity())
    fit = sciml.fit(problem, SingleShooting(start=None), [LBFGS(steps=150)], seed=1, progress=False)
    points = np.linspace(-1.2, 1.2, 9)[:, None]
    known = (path.min() < points[:, 0]) & (points[:, 0] < path.max())
    noise = np.abs(fit.learned_values(g, points)[known])
    assert noise == pytest.approx((0.5 + 0.2 * np.cos(points[known, 0])), abs=0.12)


def test_moments_over_repeats_give_the_rate():
    rng = np.random.default_rng(3)
    ts = [0.0, 0.5, 1.0, 2.0]
    truth = OU.with_parameters({theta: 1.2, s: 0.4})
    paths = sciml.simulate(truth, ts, paths=200, seed=5, solver=EulerMaruyama(0.01))["x"]
    frames = [pd.DataFrame({"x": row + 0.05 * rng.normal(size=4)}, index=ts) for row in paths]
    problem = Problem(OU, frames, noise={x: Normal(0.05)}, transitions=MomentMatching())
    fit = sciml.fit(problem, SingleShooting(start=None), [LBFGS(steps=40)], progress=False)
    assert fit.estimates["theta"] == pytest.approx(1.2, abs=0.12)
    assert fit.estimates["s"] == pytest.approx(0.4, abs=0.04)


EXACT = pd.DataFrame({"x": [1.0, 0.9, 0.7]}, index=[0.0, 0.5, 1.0])
GAP = pd.DataFrame({"x": [1.0, np.nan, 0.7]}, index=[0.0, 0.5, 1.0])
PLAIN = System({x: -theta * x}, parameters={theta: Parameter(1.0)}, initial={x: 1.0})
KICKED = System({x: y, y: -x}, noise={y: 1.0}, parameters={theta: 1.0}, initial={x: 1.0, y: 0.0})
PAIRS = EXACT.assign(y=[0.0, 0.1, 0.2])
BAD = [
    (lambda: Problem(PLAIN, EXACT, transitions=Kalman()), "is for stochastic Systems, and this one has no noise"),
    (lambda: Problem(OU, EXACT, transitions="kalman"), "`transitions='kalman'` is not known: use `Kalman()`"),
    (lambda: Problem(OU, GAP, transitions=TransitionDensity()), "needs series without gaps; `x` has one"),
    (lambda: Problem(KICKED, EXACT, transitions=TransitionDensity()), "needs every state measured; `y` is not"),
    (lambda: Problem(KICKED, PAIRS, transitions=TransitionDensity()), "the noise is singular (1 Wiener processes, `x`"),
    (
        lambda: Problem(OU, EXACT, {x: Normal(0.1)}, transitions=TransitionDensity()),
        "is for states measured without noise",
    ),
    (
        lambda: Problem(OU, EXACT, transitions=MomentMatching()),
        "needs repeats to have moments: there are 1 experiments",
    ),
    (lambda: Problem(OU, EXACT, {x: Normal(0.1)}, backend="native"), "cannot be joined to a stochastic System yet"),
    (lambda: Problem(OU, EXACT.round(), {x: Poisson()}), "needs normal or log-normal measurements; `x` has `Poisson`"),
    (lambda: Kalman(steps=0), "`steps=0` of `Kalman` must be a whole number"),
    (lambda: Kalman(spread=-1.0), "`spread=-1.0` of `Kalman` must be positive"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises((ModelError, DataError)) as error:
        call()
    assert message in str(error.value)


def test_what_a_fit_of_a_stochastic_system_cannot_do_is_refused_by_name():
    problem = Problem(OU, EXACT, {x: LogNormal(0.1)})
    with pytest.raises(ModelError, match="is fitted in one piece"):
        sciml.fit(problem, MultipleShooting(intervals=2), [LBFGS(steps=2)], progress=False)
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=2)], progress=False)
    assert any("no collocation start: the System has noise" in note for note in fit.notes)
    with pytest.raises(
        ModelError, match=r"has paths, no single trajectory: `sciml.simulate\(fit.system, ts, paths=1000\)`"
    ):
        fit.simulate()
    assert sciml.simulate(fit.system, [0.0, 1.0], paths=3).states.shape == (3, 2, 1)
