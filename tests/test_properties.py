"""What holds for every System: torch computes what NumPy computes, and names do not matter."""

import keyword

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sciml.errors import ModelError
from sciml.lowering.vector_field import compile
from sciml.simulation import along, simulate
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

STATES = sp.symbols("a b c", real=True)
RATES = sp.symbols("p q", real=True)
TIME = sp.Symbol("t", real=True)
NETWORK = sp.Function("f")

quiet = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def formulas(draw, depth=3):
    """A smooth bounded-growth formula of states, parameters and time."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        leaves = [*STATES, *RATES, TIME, sp.sqrt(2), sp.Rational(1, 3), sp.Integer(2)]
        return draw(st.sampled_from(leaves))
    inner = formulas(depth=depth - 1)
    kind = draw(st.sampled_from(["sum", "product", "power", "sin", "cos", "tanh", "ratio"]))
    if kind == "sum":
        return draw(inner) + draw(inner)
    if kind == "product":
        return draw(inner) * draw(inner)
    if kind == "power":
        return draw(inner) ** draw(st.integers(2, 3))
    if kind == "ratio":
        return draw(inner) / (1 + draw(inner) ** 2)
    return getattr(sp, kind)(draw(inner))


@st.composite
def systems(draw):
    """Three equations, with or without an MLP of some arguments, and values for everything."""
    equations = {state: draw(formulas()) for state in STATES}
    learned = {}
    if draw(st.booleans()):
        arguments = draw(st.lists(formulas(depth=1), min_size=1, max_size=2))
        call = NETWORK(*arguments)
        target = draw(st.sampled_from(STATES))
        equations[target] += draw(st.sampled_from([call, call**2, call * STATES[0]]))
        learned[NETWORK] = MLP(
            hidden=draw(st.sampled_from([(), (3,), (4, 2)])),
            activation=draw(st.sampled_from(["tanh", "sin", "softplus"])),
            input_scale=draw(st.sampled_from([None, (2.0,) * len(arguments)])),
            output_scale=draw(st.sampled_from([None, (3.0,)])),
        )
    values = draw(st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=2))
    starts = draw(st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3))
    return System(equations, dict(zip(RATES, values)), learned, initial=dict(zip(STATES, starts)))


def by_numpy(system, field, time, states):
    """The right-hand side by SymPy's own NumPy printer, with the network as a plain function."""

    def network(*arguments):
        return field.learned_values((NETWORK,), torch.tensor(arguments, dtype=torch.float64))[0].item()

    symbols = [TIME, *STATES, *RATES]
    function = sp.lambdify(symbols, list(system.equations.values()), [{"f": network}, "numpy"])
    parameters = [parameter.value for parameter in system.parameters.values()]
    return np.array([[float(rate) for rate in function(time, *state, *parameters)] for state in states])


@given(systems(), st.floats(0, 2), st.integers(0, 1000))
@quiet
def test_torch_computes_the_right_hand_side_that_numpy_computes(system, time, seed):
    states = np.random.default_rng(seed).uniform(-1.5, 1.5, (4, 3))
    field = compile(system, seed=seed)
    with torch.no_grad():
        rates = field(time, torch.as_tensor(states)).numpy()
        single = field(time, torch.as_tensor(states[0])).numpy()
    expected = by_numpy(system, field, time, states)
    assert rates == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert single == pytest.approx(rates[0], rel=1e-12, abs=1e-12)


@given(systems(), st.integers(0, 1000))
@quiet
def test_gradients_of_the_right_hand_side_match_the_symbolic_jacobian(system, seed):
    state = torch.as_tensor(np.random.default_rng(seed).uniform(-1.5, 1.5, 3))
    plain = {NETWORK: lambda *arguments: sum(sp.sin((i + 1) * z) for i, z in enumerate(arguments))}
    system = system.substitute(plain) if system.learned else system
    field = compile(system)
    jacobian = torch.func.jacrev(lambda y: field(0.5, y))(state).detach().numpy()
    values = dict(zip(STATES, state.tolist())) | {TIME: 0.5}
    values |= {symbol: parameter.value for symbol, parameter in system.parameters.items()}
    expected = np.array(system.jacobian().subs(values).evalf().tolist(), dtype=float)
    assert jacobian == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_mixed_derivative_that_sympy_loses_is_refused():
    a, f = STATES[0], NETWORK
    system = System({a: f(2 * a, 3 * a)}, learned={f: MLP(hidden=(3,))})
    with pytest.raises(ModelError, match="was left behind by SymPy, which loses a substitution in mixed derivatives"):
        system.with_observed({"g": system.time_derivative(a, order=3)})


@given(systems(), formulas(depth=2), st.integers(0, 1000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_time_derivatives_match_finite_differences_along_the_flow(system, formula, seed):
    if system.learned:
        # One that holds the learned function, too: its derivative is the network's.
        formula = formula + next(iter(system.calls(NETWORK)))
    # Bounded rates: the finite differences see a flow whose scale of time is one.
    system = System({x: sp.tanh(e) for x, e in system.equations.items()}, system.parameters, system.learned)
    names = {f"g{k}": system.time_derivative(formula, order=k) for k in range(3)}
    try:
        field = compile(system.with_observed(names), seed=seed)
    except ModelError as error:
        if "SymPy, which loses a substitution" in str(error):
            reject()
        raise
    y = torch.as_tensor(np.random.default_rng(seed).uniform(-1.0, 1.0, 3))
    t, h = 0.4, 1e-4
    with torch.no_grad():
        # The slope of the flow's own parabola y + h f + h² f'/2, exact at the midpoint to third order in h.
        ahead = [y + s * field(t + s / 2, y + s / 2 * field(t, y)) for s in (-h, h)]
    values = along(field, np.array([t - h, t, t + h]), torch.stack([ahead[0], y, ahead[1]]).numpy())
    scale = 1 + max(np.abs(values[name]).max() for name in names)
    for k in range(2):
        before, after = values[f"g{k}"][[0, 2]]
        assert (after - before) / (2 * h) == pytest.approx(values[f"g{k + 1}"][1], abs=1e-4 * scale, rel=1e-4)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).filter(
    lambda name: name != "t" and not name.startswith("_")
)


@given(systems(), st.lists(NAMES, min_size=6, max_size=6, unique=True), st.permutations(range(3)))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_simulation_does_not_depend_on_names_or_on_the_order_of_states(system, names, order):
    damped = {state: sp.tanh(rhs) for state, rhs in system.equations.items()}
    system = System(damped, system.parameters, system.learned, initial=system.initial)
    symbols = dict(zip([*STATES, *RATES], (sp.Symbol(name, real=True) for name in names)))
    function = sp.Function(names[5])
    renamed = {symbols[x]: rhs.replace(NETWORK, function).xreplace(symbols) for x, rhs in damped.items()}
    other = System(
        {symbols[STATES[i]]: renamed[symbols[STATES[i]]] for i in order},
        {symbols[k]: parameter for k, parameter in system.parameters.items()},
        dict.fromkeys([function] * len(system.learned), next(iter(system.learned.values()), None)),
        initial={symbols[x]: value for x, value in system.initial.items()},
    )
    ts = np.linspace(0, 1, 5)
    first, second = (simulate(model, ts, rtol=1e-9, atol=1e-9) for model in (system, other))
    for state in STATES:
        assert second[symbols[state]] == pytest.approx(first[state], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "name", [*keyword.kwlist[:6], "y", "p", "torch", "n0", "c0", "y[1]", "e", "import os", "λ", "x'"]
)
def test_any_name_will_do(name):
    x, rate = sp.Symbol(name, real=True), sp.Symbol("rate", real=True)
    system = System({x: -rate * x}, parameters={rate: 1.0}, initial={x: 2.0})
    assert simulate(system, [0.0, 1.0])[name][-1] == pytest.approx(2 * np.exp(-1), rel=1e-4)
