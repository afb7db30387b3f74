"""Uncertainty: intervals against closed forms and each other, bands, and open directions told in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Ensemble, GaussNewton, LogNormal, Normal, Parameter, Problem, SingleShooting, System
from sciml.errors import DataError, ModelError
from sciml.uncertainty.laplace import laplace

x, k, m, c = sp.symbols("x k m c", real=True)
g = sp.Function("g")
TIMES = np.linspace(0, 2, 41)
NOISE = 0.05
Z = 1.6448536269514722


def fitted(system, data, noise=None):
    problem = Problem(system, data, noise=noise or {x: Normal(NOISE)}, rtol=1e-9, atol=1e-9)
    return sciml.fit(problem, SingleShooting(start=None), [LBFGS(steps=200)], progress=False)


def noisy(values, seed=0):
    return pd.DataFrame({"x": values + NOISE * np.random.default_rng(seed).standard_normal(len(values))}, index=TIMES)


def line(seed=0):
    """x' = c from a fitted start: a straight line, for which everything is known in closed form."""
    return fitted(System({x: c}, parameters={c: Parameter(1.0)}), noisy(1.0 + 0.5 * TIMES, seed))


@pytest.fixture(scope="module")
def straight():
    return line()


@pytest.fixture(scope="module")
def decay():
    system = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, 3))}, initial={x: 2.0})
    return fitted(system, noisy(2 * np.exp(-1.2 * TIMES)))


def least_squares():
    design = np.stack([TIMES, np.ones_like(TIMES)], 1)
    return design, NOISE**2 * np.linalg.inv(design.T @ design)


def test_the_intervals_of_a_line_are_those_of_least_squares(straight):
    _, covariance = least_squares()
    for curvature in (None, GaussNewton()):
        table = straight.laplace(curvature).intervals(0.9)
        for name, variance in (("c", covariance[0, 0]), ("x(0)", covariance[1, 1])):
            row = table.loc[name]
            assert row["upper"] - row["estimate"] == pytest.approx(Z * variance**0.5, rel=1e-4)
            assert row["estimate"] - row["lower"] == pytest.approx(Z * variance**0.5, rel=1e-4)


def test_the_profile_of_a_line_is_that_of_least_squares(straight):
    _, covariance = least_squares()
    found = straight.profile("c", 0.9)
    half = Z * covariance[0, 0] ** 0.5
    assert found.interval == pytest.approx((found.estimate - half, found.estimate + half), rel=1e-4)
    assert found.closed == (True, True)
    expected = 0.5 * (found.table.index - found.estimate) ** 2 / covariance[0, 0]
    assert np.allclose(found.table, expected, rtol=1e-3, atol=1e-6)


def test_the_bands_of_a_line_are_those_of_least_squares(straight):
    design, covariance = least_squares()
    spread = np.sqrt(np.einsum("ti,ij,tj->t", design, covariance, design))
    bands = straight.laplace().bands(draws=20_000).of("x")
    assert np.allclose(bands["upper"] - bands["lower"], 2 * Z * spread, rtol=0.04)
    new = 2 * Z * np.sqrt(spread**2 + NOISE**2)
    assert np.allclose(bands["measured_upper"] - bands["measured_lower"], new, rtol=0.05)


def test_the_bootstrap_of_a_line_scatters_as_least_squares_does_whatever_the_workers(straight):
    _, covariance = least_squares()
    found = straight.bootstrap(60, seed=1, jobs=1)
    spread = found.members[:, 0].std(ddof=1)
    assert spread == pytest.approx(covariance[0, 0] ** 0.5, rel=0.3)
    again = straight.bootstrap(4, seed=1, jobs=2)
    assert np.array_equal(again.members, found.members[:4]) or np.allclose(again.members, found.members[:4], rtol=1e-12)


def test_ninety_percent_of_ninety_percent_intervals_hold_the_truth():
    covered = {"laplace": 0, "profile": 0}
    for seed in range(100):
        fit = line(seed)
        row = fit.laplace().intervals(0.9).loc["c"]
        covered["laplace"] += row["lower"] < 0.5 < row["upper"]
        low, high = fit.profile("c", 0.9).interval
        covered["profile"] += low < 0.5 < high
    assert all(82 <= count <= 97 for count in covered.values()), covered


def test_intervals_lie_within_the_bounds_and_agree_with_the_profile(decay):
    row = decay.laplace().intervals(0.9).loc["k"]
    assert 0 < row["lower"] < row["estimate"] < row["upper"] < 3
    found = decay.profile("k", 0.9)
    assert found.interval == pytest.approx((row["lower"], row["upper"]), rel=5e-3)
    assert "90% interval" in str(found)


def test_an_open_parameter_has_an_open_profile_and_is_named():
    # By t = 0.2 the motion has come to rest: from then on only that k is large is known.
    system = System({x: -k * (x - c)}, parameters={k: Parameter(100.0, bounds=(0, None)), c: 1.0}, initial={x: 0.0})
    data = pd.DataFrame({"x": [0.0, 1.0, 1.0]}, index=[0.0, 1.0, 2.0])
    fit = fitted(system, data)
    found = fit.profile("k")
    assert found.closed == (True, False)
    assert found.interval[1] == np.inf
    assert "open above" in str(found)
    assert fit.laplace().undetermined() == (
        "`k` is not determined by the data: fix it, state a prior, or measure more.",
    )


def test_a_product_of_two_parameters_is_named_and_a_prior_closes_it():
    parameters = {k: Parameter(1.0, bounds=(0, None)), m: Parameter(1.2, bounds=(0, None))}
    system = System({x: -k * m * x}, parameters=parameters, initial={x: 2.0})
    data = noisy(2 * np.exp(-1.2 * TIMES))
    (sentence,) = fitted(system, data).laplace().undetermined()
    assert "`k`, `m` are not determined one by one" in sentence
    assert "fix only `m*k**(1)`" in sentence or "fix only `k*m**(1)`" in sentence
    known = system.with_parameters({m: Parameter(1.2, bounds=(0, None), prior=LogNormal(0.05))})
    assert fitted(known, data).laplace().undetermined() == ()


def test_the_current_of_a_cell_is_open_where_the_voltage_alone_is_measured():
    v, w, current = sp.symbols("v w I", real=True)
    cell = sciml.models.fitzhugh_nagumo()
    times = np.linspace(0, 60, 61)
    data = sciml.simulate(cell, times).to_frame()[["v"]]
    data["v"] += 0.03 * np.random.default_rng(0).standard_normal(len(data))
    free = replace(cell.with_parameters({current: Parameter(0.5)}), initial={w: Parameter(1.0)})
    problem = Problem(free, data, noise={v: Normal(0.03)})
    fit = sciml.fit(problem, SingleShooting(start=None), progress=False)
    (sentence,) = fit.laplace().undetermined()
    for name in ("`a`", "`I`", "`w(0)`"):
        assert name in sentence
    assert "`tau`" not in sentence
    known = Problem(replace(cell, initial={w: Parameter(1.0)}), data, noise={v: Normal(0.03)})
    assert sciml.fit(known, SingleShooting(start=None), progress=False).laplace().undetermined() == ()


def test_multiplicative_noise_has_multiplicative_bands():
    system = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))}, initial={x: 2.0})
    values = 2 * np.exp(-1.2 * TIMES) * np.exp(0.1 * np.random.default_rng(0).standard_normal(len(TIMES)))
    fit = fitted(system, pd.DataFrame({"x": values}, index=TIMES), {x: LogNormal(0.1)})
    bands = fit.laplace().bands(draws=5000).of("x")
    assert (bands["measured_lower"] > 0).all()
    ratio = bands["measured_upper"] / bands["measured_lower"]
    assert ratio.iloc[0] == pytest.approx(np.exp(2 * Z * 0.1), rel=0.05)
    both = [fit.laplace(c).intervals().loc["k"] for c in (None, GaussNewton())]
    assert both[0]["upper"] == pytest.approx(both[1]["upper"], rel=0.02)


def test_bands_of_a_network_widen_where_nothing_was_measured():
    data = noisy(2 * np.exp(-1.2 * TIMES)).iloc[:21]
    problem = Problem(System({x: g(x)}, learned={g: MLP(hidden=(4,))}), data, noise={x: Normal(NOISE)})
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=100)], progress=False)
    bands = fit.laplace().bands(np.linspace(0, 2, 21)).of("x")
    width = bands["upper"] - bands["lower"]
    assert width.iloc[-1] > 2 * width.iloc[8]


def test_an_ensemble_keeps_the_good_fits(decay):
    near = replace(decay, vector=decay.vector + 0.02)
    far = replace(decay, vector=decay.vector + 1.0)
    found = Ensemble.of([near, decay, far], within=5.0)
    assert len(found) == 2
    assert found.vector is decay.vector
    assert found.failures == 1
    assert found.intervals().loc["k", "estimate"] == pytest.approx(decay.estimates["k"])
    with pytest.raises(ModelError, match="an ensemble of no fits"):
        Ensemble.of([])


def test_chains_agree_with_the_line(straight):
    pytest.importorskip("nutpie")
    found = straight.sample(400, tune=200, chains=2, seed=1)
    expected = straight.laplace().intervals()
    assert np.allclose(found.intervals(), expected, atol=0.3 * NOISE)
    assert max(found.rhat.values()) < 1.03
    assert found.divergences == 0


def test_chains_are_refused_for_networks_and_for_open_directions(decay):
    problem = Problem(System({x: g(x)}, learned={g: MLP(hidden=(2,))}), noisy(TIMES), noise={x: Normal(NOISE)})
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=20)], progress=False)
    with pytest.raises(ModelError, match=r"`g` is learned: chains are for laws without networks"):
        fit.sample()


def test_slips_are_told(decay):
    with pytest.raises(ModelError, match=r"`kk` is not fitted. There are `k`. Did you mean `k`\?"):
        decay.profile("kk")
    with pytest.raises(ModelError, match=r"`level=90` is a probability: give a number between 0 and 1"):
        decay.laplace().intervals(90)
    with pytest.raises(ModelError, match=r"`samples=1`: a bootstrap needs at least 2"):
        decay.bootstrap(1)
    with pytest.raises(DataError, match="must be a list of times that starts at 0"):
        decay.laplace().bands([1.0, 2.0])


def test_a_saddle_is_not_called_a_minimum(decay):
    assert decay.laplace().is_minimum
    assert not replace_curvature(decay, np.array([[-1.0]])).is_minimum


def replace_curvature(fit, matrix):
    return replace(laplace(fit.problem, fit.vector), curvature=matrix)


def test_bands_of_noise_that_grows_with_the_state_have_its_width():
    values = 2 * np.exp(-1.2 * TIMES)
    system = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, 3))}, initial={x: 2.0})
    data = pd.DataFrame({"x": values * (1 + 0.1 * np.random.default_rng(1).standard_normal(41))}, index=TIMES)
    fit = fitted(system, data, {x: Normal(0.1 * x)})
    laplace, several = fit.laplace(), fit.bootstrap(4, jobs=1)
    for posterior in (laplace, several):
        band = posterior.bands(np.array([0.0, 1.0, 2.0]), draws=4000).of("x")
        width = band["measured_upper"] - band["measured_lower"]
        assert width.iloc[0] == pytest.approx(2 * Z * 0.2, rel=0.1 if posterior is laplace else 0.6)
        assert width.iloc[2] < 0.3 * width.iloc[0]
