"""Both engines compute the same: every model, every likelihood, every method, and Systems nobody thought of."""

import re
from dataclasses import replace

import ivp
import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from agreement import agree
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import STATES, systems

import sciml
from sciml import MLP, Dopri5, Dopri8, Kvaerno5, LogNormal, Normal, Parameter, Problem, Rodas5P, System, Tsit5
from sciml.errors import SolveError
from sciml.lowering.networks import ACTIVATION_MODULES

FACTORIES = {name: getattr(sciml.models, name) for name in sciml.models.__all__}
MODELS = {name: make() for name, make in FACTORIES.items() if callable(make)}
MODELS = {name: model for name, model in MODELS.items() if not model.events and not model.discrete}


def measured(system: System, noise: type, gaps: float = 0.3) -> Problem:
    """Noisy data with gaps of all states and observables of a model, and parameters that are a little wrong."""
    rng = np.random.default_rng(0)
    frame = sciml.simulate(system, np.linspace(0, 1.5, 9), rtol=1e-9, atol=1e-9).to_frame()
    frame *= 1 + 0.05 * rng.normal(size=frame.shape)
    if noise is LogNormal:
        frame = frame.abs() + 0.1
    frame = frame.mask(rng.uniform(size=frame.shape) < gaps)
    free = {k: replace(p, value=1.02 * p.value or 0.05, fixed=False) for k, p in system.parameters.items()}
    starts = {x: v if isinstance(v, Parameter) else Parameter(float(v) or 0.1) for x, v in system.initial.items()
              if isinstance(v, Parameter) or v.is_number}  # fmt: skip
    level = {str(name): noise(0.2) for name in frame.columns}
    model = replace(system, parameters=free).with_initial(starts)
    return Problem(model, frame, level, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_the_same_loss_and_gradient_in_both_engines(name):
    agree(measured(MODELS[name], Normal))


@pytest.mark.parametrize("name", ["lotka_volterra", "sir"])
def test_log_normal_noise_is_the_same_in_both_engines(name):
    agree(measured(MODELS[name], LogNormal))


def test_names_of_the_generated_code_are_free_for_users():
    x, y, first, tape, out = sp.symbols("x y first tape out", real=True)
    model = System(
        {x: tape * y - first * x, y: -out * y},
        parameters={first: Parameter(1.2), tape: Parameter(0.3), out: Parameter(0.5)},
        initial={x: 3 - first * tape, y: first},
    )
    times = np.linspace(0, 1, 5)
    agree(Problem(model, pd.DataFrame({"x": np.cos(times)}, index=times), {"x": Normal(0.1)}, rtol=1e-8, atol=1e-8))


def hybrid(activation: str = "tanh") -> Problem:
    x, y, k, sigma = sp.symbols("x y k sigma", real=True)
    f = sp.Function("f")
    system = System(
        {x: -k * x + f(x, y), y: sp.sin(x) - y},
        parameters={k: 1.5, sigma: Parameter(0.2, bounds=(0, None))},
        learned={f: MLP(hidden=(6, 5), activation=activation)},
        initial={x: Parameter(1.0), y: 0.5},
    )
    times = np.linspace(0, 2, 7)
    data = pd.DataFrame({"x": np.exp(-times), "y": 0.5 + 0.1 * times}, index=times)
    return Problem(system, data, {x: Normal(sigma), y: Normal(sigma)}, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), Dopri8(), Kvaerno5()], ids=lambda s: type(s).__name__)
def test_every_method_has_the_same_loss_and_gradient_in_both_engines(solver):
    # Newton's iteration stops at other places, and the error estimate of Dopri8 is near rounding: other steps.
    loose = isinstance(solver, Dopri8 | Kvaerno5)
    agree(hybrid(), *(1e-7, 1e-6) if loose else (1e-10, 1e-9), solver=solver)


@pytest.mark.parametrize("activation", ["sin", "cos", "softplus", "silu", "gelu", "relu", "sigmoid", "rbf", "identity"])
def test_every_activation_has_the_same_loss_and_gradient_in_both_engines(activation):
    # Between two kinks the error estimate is near rounding: other steps.
    agree(hybrid(activation), 1e-9 if activation == "relu" else 1e-10, 1e-8)


LAYERS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(sorted(ACTIVATION_MODULES))), min_size=1, max_size=3)


def stack(layers, inputs: int, seed: int) -> torch.nn.Sequential:
    """Linear layers of some widths, each with its own activation, the last one too; none is written as nothing."""
    torch.manual_seed(seed)
    modules = []
    for width, activation in [*layers[:-1], (1, layers[-1][1])]:
        modules.append(torch.nn.Linear(inputs, width))
        modules += [] if activation == "identity" else [ACTIVATION_MODULES[activation]()]
        inputs = width
    return torch.nn.Sequential(*modules).double()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(LAYERS, st.booleans(), st.integers(0, 1000))
def test_layers_with_activations_of_their_own_are_the_same_in_both_engines(layers, differentiated, seed):
    x, y = sp.symbols("x y", real=True)
    f = sp.Function("f")
    if differentiated:
        # A kink has no second derivative: the engines may fall on different sides of it.
        layers = [(width, "silu" if kind == "relu" else kind) for width, kind in layers]
    term = f(x, y).diff(x) if differentiated else f(x, y)
    system = System(
        {x: -x + term, y: sp.cos(x) - y},
        learned={f: stack(layers, 2, seed)},
        initial={x: Parameter(1.0), y: 0.5},
    )
    times = np.linspace(0, 1, 5)
    data = pd.DataFrame({"x": np.exp(-times), "y": 0.5 + 0.1 * times}, index=times)
    agree(Problem(system, data, {x: Normal(0.1), y: Normal(0.1)}, rtol=1e-8, atol=1e-8), 1e-9, 1e-7)


def test_a_learned_potential_is_the_same_in_both_engines():
    q, p = sp.symbols("q p", real=True)
    potential = sp.Function("V")
    system = System.from_hamiltonian(
        p**2 / 2 + potential(q), {q: p}, learned={potential: MLP(hidden=5)}, initial={q: Parameter(1.0), p: 0.0}
    )
    times = np.linspace(0, 2, 7)
    agree(Problem(system, pd.DataFrame({"q": np.cos(times)}, index=times), {q: Normal(0.1)}, rtol=1e-8, atol=1e-8))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(systems(), st.integers(0, 2**32 - 1))
def test_random_systems_agree_or_fail_alike(system, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.05, 0.4, 6)) * rng.choice([-1, 1])
    initial = dict(zip(STATES, rng.normal(size=3)))
    options = {"initial": initial, "rtol": 1e-9, "atol": 1e-9, "max_steps": 2000, "seed": seed % 100}
    try:
        expected = sciml.simulate(system, times, backend="torch", **options)
    except SolveError as error:
        with pytest.raises(SolveError, match=re.escape(str(error)[:20])):
            sciml.simulate(system, times, backend="native", **options)
        return
    found = sciml.simulate(system, times, backend="native", **options)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri8()], ids=lambda s: type(s).__name__)
def test_seven_stars_end_at_their_reference_positions(solver):
    problem = ivp.pleiades()
    system = problem.system.with_initial(dict(zip(problem.system.states, problem.initial)))
    end = sciml.simulate(system, [0.0, problem.end], solver=solver, rtol=1e-11, atol=1e-11, backend="native").states[-1]
    np.testing.assert_allclose(end[:14], problem.solution[:14], rtol=1e-6)


def test_a_stiff_loss_has_the_same_gradient_by_both_stiff_methods():
    system = ivp.hires().system
    starts = {x: Parameter(v or 0.01) for x, v in zip(system.states, ivp.hires().initial)}
    times = np.array([0.0, 1.0, 10.0, 100.0])
    data = pd.DataFrame({"y1": [1.0, 0.5, 0.1, 0.01], "y7": [0.0, 0.003, 0.005, 0.003]}, index=times)
    noise = {"y1": Normal(0.1), "y7": Normal(0.001)}
    found = []
    for solver in (Kvaerno5(), Rodas5P()):
        problem = Problem(system.with_initial(starts), data, noise, solver=solver, rtol=1e-10, atol=1e-14)
        found.append(problem.value_and_gradient(problem.initial()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-8)
    assert np.abs(found[0][1] - found[1][1]).max() <= 1e-6 * np.abs(found[1][1]).max()


def test_weights_of_a_module_of_the_user_are_read_and_written_back():
    x = sp.Symbol("x", real=True)
    f = sp.Function("f")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.SiLU(), torch.nn.Linear(4, 1)).double()
    before = [p.detach().clone() for p in module.parameters()]
    times = np.linspace(0, 1, 9)
    data = pd.DataFrame({"x": np.exp(-times)}, index=times)
    problem = Problem(System({x: f(x)}, learned={f: module}), data, {x: Normal(0.01)}, backend="native")
    fit = sciml.fit(problem, sciml.SingleShooting(None), [sciml.LBFGS(steps=60)], progress=False)
    assert fit.rmse < 0.01
    trained = next(iter(fit.system.learned.values()))
    argument = torch.tensor([[0.7]], dtype=torch.float64)
    assert trained(argument).item() == pytest.approx(fit.learned_values("f", [[0.7]])[0], rel=1e-12)
    # A System is a value: the user's own module is left alone.
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before))
