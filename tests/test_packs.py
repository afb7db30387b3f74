"""Eight trajectories side by side: each as if it were alone, whatever the others do."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import STATES, systems

import sciml
from sciml import MLP, System
from sciml.lowering.networks import weights_of
from sciml.native import solve as native
from sciml.native.solve import Integrator
from sciml.solvers import Dopri5, Dopri8, Tsit5

x, y, k = sp.symbols("x y k", real=True)
f, g = sp.symbols("f g", cls=sp.Function)


@pytest.fixture
def alone(monkeypatch):
    """A call without packs."""

    def call(function, *arguments, **named):
        with monkeypatch.context() as patch:
            patch.setattr(native, "PACKED", math.inf)
            return function(*arguments, **named)

    return call


def field(system: System, seed: int = 0):
    return sciml.compile(system, seed).native(stiff=False)


def hybrid(hidden=(7, 5), activation: str = "tanh") -> System:
    return System(
        {x: -k * x + f(x, y), y: sp.sin(x) - y + g(x, y)},
        parameters={k: 1.5},
        learned={(f, g): MLP(hidden=hidden, activation=activation)},
    )


def numbers(system: System, seed: int = 0) -> np.ndarray:
    compiled = sciml.compile(system, seed)
    weights = [weights_of(network) for network in compiled.networks]
    return np.concatenate([compiled.p.detach().numpy(), *weights])


def compared(model, p, y0, times, alone, solver=None, **settings) -> None:
    """Every trajectory takes the same steps to the same states in packs and alone."""
    tableau = (solver or Tsit5()).tableau
    packs, scalars = (Integrator(model, tableau, **settings) for _ in range(2))
    found, expected = packs(p, y0, times), alone(scalars, p, y0, times)
    assert packs.task.record["pack_value"][0] != 0
    assert scalars.task.record["pack_value"][0] == 0
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_allclose(found.reached, expected.reached, rtol=1e-9)
    np.testing.assert_allclose(found.states, expected.states, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.ends, expected.ends, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), Dopri8()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("count", [32, 37])
def test_a_trajectory_in_a_pack_is_the_same_as_alone(solver, count, alone):
    starts = np.random.default_rng(0).normal(size=(count, 2)) * np.geomspace(0.01, 3, count)[:, None]
    system = hybrid()
    for times in (np.linspace(0, 4, 23), np.array([1.0, 0.5, 0.3])):
        compared(field(system), numbers(system), starts, times, alone, solver)


@pytest.mark.parametrize(("hidden", "activation"), [((), "tanh"), ((1,), "silu"), ((3, 9), "relu"), ((6,), "rbf")])
def test_a_network_of_any_shape_takes_packs(hidden, activation, alone):
    system = hybrid(hidden, activation)
    starts = np.random.default_rng(1).normal(size=(33, 2))
    compared(field(system, 3), numbers(system, 3), starts, np.linspace(0, 2, 5), alone)


def test_parameters_of_each_trajectory_are_its_own(alone):
    system = hybrid()
    p = np.tile(numbers(system), (40, 1))
    p[:, 0] = np.linspace(0.1, 5, 40)
    compared(field(system), p, np.ones((40, 2)), np.linspace(0, 2, 5), alone)


def test_networks_of_their_own_are_not_packed():
    system = hybrid()
    p = np.tile(numbers(system), (40, 1)) * np.linspace(0.5, 1, 40)[:, None]
    integrator = Integrator(field(system))
    several = integrator(p, np.ones((40, 2)), np.array([0.0, 1.0]))
    assert integrator.task.record["pack_value"][0] == 0
    np.testing.assert_array_equal(several.states[7], integrator(p[7], np.ones(2), np.array([0.0, 1.0])).states[0])


def test_a_trajectory_that_fails_harms_no_other(alone):
    # From above 1 it blows up in finite time, from above 50 it starts where the logarithm has no value.
    system = System({x: x**2 - x + k * sp.log(50 - x), y: -y}, parameters={k: 0.0})
    starts = np.random.default_rng(0).uniform(-3, 0.9, (64, 2))
    starts[[3, 11, 40], 0] = 4.0, 60.0, 1.5
    for limit in (100_000, 25):
        compared(field(system), numbers(system), starts, np.linspace(0, 9, 10), alone, max_steps=limit)
    found = Integrator(field(system))(numbers(system), starts, np.linspace(0, 9, 10))
    assert found.status.nonzero()[0].tolist() == [3, 11, 40]
    assert np.isnan(found.states[3, -1]).all()
    assert np.isfinite(np.delete(found.states, [3, 11, 40], axis=0)).all()


@settings(max_examples=6, deadline=None, derandomize=True)
@given(systems(), st.integers(0, 2**32 - 1))
def test_random_systems_agree_or_fail_alike_in_packs(system, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.05, 0.4, 6)) * rng.choice([-1, 1])
    starts = rng.normal(size=(36, 3))
    options = {"rtol": 1e-9, "atol": 1e-9, "max_steps": 2000, "seed": seed % 100, "throw": False, "backend": "native"}
    together = sciml.simulate(system, times, initial=dict(zip(STATES, starts.T)), **options)
    for number in (0, 17, 35):
        single = sciml.simulate(system, times, initial=dict(zip(STATES, starts[number])), **options)
        assert single.status[0] == together.status[number]
        np.testing.assert_allclose(together.states[number], single.states, rtol=1e-7, atol=1e-7)


def test_choices_and_functions_of_a_model_take_packs(alone):
    right = sp.Piecewise(
        (sp.exp(-x), (x > 0.5) & (y < 2)), (-(sp.Abs(x) ** 1.5), sp.Or(x < -1, sp.Not(y > 0))), (0.1, True)
    )
    right += sp.Max(x, y, 0) * sp.Min(x, 1) + sp.sign(y) * sp.Heaviside(x) + sp.sqrt(1 + x**2) + x**3 / (1 + y**4)
    system = System({x: right, y: -y + sp.atan2(x, 2) + sp.cos(sp.Symbol("t", real=True)) + sp.floor(x) * k}, {k: 0.01})
    starts = np.random.default_rng(0).normal(size=(32, 2))
    compared(field(system), numbers(system), starts, np.linspace(0, 0.5, 4), alone, rtol=1e-5)


def test_two_threads_may_simulate_one_field():
    compiled = sciml.compile(hybrid())
    starts = {"x": np.linspace(-1, 1, 48), "y": 0.5}
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: sciml.simulate(compiled, [0.0, 1.0], initial=starts).states, range(4)))
    assert all(np.array_equal(run, runs[0]) for run in runs)
