"""Systems derived from higher-order equations, Hamiltonians and Lagrangians, and derivatives of learned functions."""

import numpy as np
import pytest
import sympy as sp
import torch

from sciml.errors import ModelError
from sciml.lowering.networks import build_network
from sciml.lowering.vector_field import compile
from sciml.simulation import simulate
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System

t, m, c, g, k = sp.symbols("t m c g k", real=True)
q, p, r, s = sp.symbols("q p r s", real=True)
x, y = (sp.Function(name)(t) for name in ("x", "y"))
X, X_dot, X_ddot, Y, Y_dot = sp.symbols("x x_dot x_ddot y y_dot", real=True)
V, M, f, h = sp.symbols("V M f h", cls=sp.Function)

EQUATIONS = {
    "second order": (
        [sp.Eq(m * x.diff(t, 2) + c * x.diff(t), -k * x)],
        {X: X_dot, X_dot: (-c * X_dot - k * X) / m},
    ),
    "third order": ([sp.Eq(x.diff(t, 3), -x)], {X: X_dot, X_dot: X_ddot, X_ddot: -X}),
    "expression for zero": ([x.diff(t) + k * x], {X: -k * X}),
    "dependent on time": ([sp.Eq(x.diff(t), -x + sp.cos(t))], {X: -X + sp.cos(t)}),
    "coupled in the highest derivatives": (
        [sp.Eq(x.diff(t) + y.diff(t), x), sp.Eq(x.diff(t) - y.diff(t), y)],
        {X: (X + Y) / 2, Y: (X - Y) / 2},
    ),
    "of different orders": (
        [sp.Eq(x.diff(t, 2), -y), sp.Eq(y.diff(t), x.diff(t))],
        {X: X_dot, X_dot: -Y, Y: X_dot},
    ),
    "nonlinear in lower derivatives": ([sp.Eq(x.diff(t, 2), -(x.diff(t) ** 3))], {X: X_dot, X_dot: -(X_dot**3)}),
}


@pytest.mark.parametrize(("equations", "expected"), EQUATIONS.values(), ids=EQUATIONS)
def test_equations_of_any_order_become_first_order(equations, expected):
    parameters = dict.fromkeys((m, c, k), 1.0)
    system = System.from_equations(equations, parameters=parameters)
    assert set(system.states) == set(expected)
    assert all(sp.simplify(system.equations[state] - rhs) == 0 for state, rhs in expected.items())


def test_declarations_may_be_written_in_functions_of_time():
    system = System.from_equations(
        [sp.Eq(x.diff(t, 2), -x)],
        initial={x: 1.0, x.diff(t): Parameter(2.0)},
        observed={"energy": x.diff(t) ** 2 / 2 + x**2 / 2},
        noise={x.diff(t): x},
    )
    assert system.initial == {X: sp.Float(1.0), X_dot: Parameter(2.0)}
    assert list(system.observed.values()) == [X_dot**2 / 2 + X**2 / 2]
    assert system.noise == {X_dot: X}


def test_a_learned_function_of_time_is_no_unknown():
    system = System.from_equations([sp.Eq(x.diff(t), -x + f(t))], learned={f: MLP()})
    assert system.equations == {X: -X + f(t)}


@pytest.mark.parametrize(
    ("equations", "options", "message"),
    [
        ([sp.Eq(x.diff(t) ** 2, x)], {}, "the equations are not linear in their highest derivatives `x_dot`"),
        ([sp.Eq(x.diff(t), y)], {}, r"no derivative of `y\(t\)` occurs"),
        ([sp.Eq(x.diff(t), y.diff(t))], {}, r"1 equations for 2 unknowns: `x\(t\)`, `y\(t\)`"),
        (
            [sp.Eq(x.diff(t) + y.diff(t), x), sp.Eq(x.diff(t) + y.diff(t), y)],
            {},
            "the equations do not determine the highest derivatives `x_dot`, `y_dot`",
        ),
        ([sp.Eq(x, 1)], {}, "time could not be told among none: pass `time=t`"),
        ([sp.Eq(x.diff(t), f(x))], {}, r"`f\(x\)` in the equation of `x` is an unknown function"),
    ],
    ids=["not linear", "algebraic", "too few", "singular", "no derivative", "unknown function"],
)
def test_equations_that_cannot_be_reduced_are_refused_with_the_reason(equations, options, message):
    with pytest.raises(ModelError, match=message):
        System.from_equations(equations, **options)


def test_hamiltonian_equations_have_the_right_signs():
    system = System.from_hamiltonian(p**2 / (2 * m) + k * q**2 / 2, {q: p}, parameters={m: 1.0, k: 1.0})
    assert system.equations == {q: p / m, p: -k * q}


def test_a_hamiltonian_without_a_momentum_is_refused():
    with pytest.raises(ModelError, match=r"`p` does not occur in the Hamiltonian `q\*\*2`"):
        System.from_hamiltonian(q**2, {q: p})
    assert System.from_hamiltonian(q**2 + p, {q: p}).equations == {q: 1, p: -2 * q}


def double_pendulum():
    """Two equal rods, each with a unit mass at its end."""
    a, b = (sp.Function(name)(t) for name in ("a", "b"))
    kinetic = a.diff(t) ** 2 + b.diff(t) ** 2 / 2 + a.diff(t) * b.diff(t) * sp.cos(a - b)
    potential = -g * (2 * sp.cos(a) + sp.cos(b))
    return System.from_lagrangian(
        kinetic - potential,
        [a, b],
        parameters={g: 9.81},
        initial={a: 2.0, b: 1.0, a.diff(t): 0.0, b.diff(t): 0.5},
        observed={"energy": kinetic + potential},
    )


def test_the_double_pendulum_keeps_its_energy():
    system = double_pendulum()
    assert [str(state) for state in system.states] == ["a", "b", "a_dot", "b_dot"]
    energy = simulate(system, np.linspace(0.0, 3.0, 31), rtol=1e-11, atol=1e-11)["energy"]
    assert np.ptp(energy) < 1e-8
    assert abs(energy[0]) > 1


def test_a_lagrangian_that_depends_on_time_gives_its_extra_force():
    # d/dt (m e^{ct} v) = -k e^{ct} x is the damped oscillator.
    L = sp.exp(c * t) * (m * x.diff(t) ** 2 - k * x**2) / 2
    system = System.from_lagrangian(L, [x], parameters=dict.fromkeys((m, c, k), 1.0))
    assert sp.simplify(system.equations[X_dot] + c * X_dot + k * X / m) == 0


def test_lagrangians_without_accelerations_are_refused():
    with pytest.raises(ModelError, match="its mass matrix is singular"):
        System.from_lagrangian(x.diff(t) * x, [x])
    with pytest.raises(ModelError, match=r'coordinate `q` must be a function of time: `q = sp.Function\("q"\)\(t\)`'):
        System.from_lagrangian(x.diff(t) ** 2, [q])


def network(inputs, seed, **options):
    """An MLP with weights that are not small, and its torch module."""
    mlp = MLP(hidden=(7, 5), **options)
    module = build_network(mlp, inputs, 1, seed)
    weights = np.random.default_rng(seed).normal(size=sum(w.numel() for w in module.parameters()))
    mlp = MLP(hidden=(7, 5), weights=weights, **options)
    return mlp, build_network(mlp, inputs, 1, seed)


def partial(module, indices, point, step=1e-3):
    """Partial derivative of a scalar network by central differences of fourth order."""
    if not indices:
        with torch.no_grad():
            return module(torch.as_tensor(point))[..., 0].numpy()
    unit = np.zeros(point.shape[-1])
    unit[indices[0]] = step
    near, far = ([partial(module, indices[1:], point + w * j * unit) for w in (1, -1)] for j in (1, 2))
    return (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)


def points(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def rates(system, states):
    with torch.no_grad():
        return compile(system)(0.0, torch.as_tensor(states)).numpy()


def test_a_learned_potential_gives_the_force_of_its_network():
    mlp, module = network(1, seed=1)
    system = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: mlp})
    states = points(9, 2)
    expected = np.stack([states[:, 1], -partial(module, (0,), states[:, :1])], 1)
    assert rates(system, states) == pytest.approx(expected, abs=1e-9)


def test_a_learned_potential_and_a_learned_mass_in_a_lagrangian_give_their_equations():
    (potential, V_net), (mass, M_net) = network(1, seed=2), network(1, seed=3)
    system = System.from_lagrangian(
        (3 + M(x)) * x.diff(t) ** 2 / 2 - V(x), [x], learned={V: potential, M: mass}, initial={x: 0.5, x.diff(t): 0.3}
    )
    states = points(9, 2, seed=4)
    position, velocity = states[:, :1], states[:, 1]
    heavy = 3 + partial(M_net, (), position)
    force = -partial(V_net, (0,), position) - partial(M_net, (0,), position) * velocity**2 / 2
    assert rates(system, states) == pytest.approx(np.stack([velocity, force / heavy], 1), abs=1e-8)
    energy = (3 + M(X)) * X_dot**2 / 2 + V(X)
    values = simulate(system.with_observed({"energy": energy}), np.linspace(0, 2, 9), rtol=1e-10, atol=1e-10)["energy"]
    assert np.ptp(values) < 1e-8


def test_a_potential_of_the_distance_obeys_action_and_reaction():
    mlp, module = network(1, seed=5)
    q1, q2, p1, p2 = sp.symbols("q1 q2 p1 p2", real=True)
    system = System.from_hamiltonian((p1**2 + p2**2) / 2 + V(q1 - q2), {q1: p1, q2: p2}, learned={V: mlp})
    states = points(6, 4, seed=6)
    slope = partial(module, (0,), states[:, :1] - states[:, 1:2])
    assert rates(system, states) == pytest.approx(np.stack([states[:, 2], states[:, 3], -slope, slope], 1), abs=1e-9)


DERIVATIVES = [
    ("first", f(r, s).diff(r), (0,)),
    ("first by the second argument", f(r, s).diff(s), (1,)),
    ("second", f(r, s).diff(r, 2), (0, 0)),
    ("mixed", f(r, s).diff(r, s), (0, 1)),
    ("mixed in the other order", f(r, s).diff(s, r), (0, 1)),
    ("third", f(r, s).diff(r, 2, s), (0, 0, 1)),
]


@pytest.mark.parametrize("scales", [{}, {"input_scale": (2.0, 0.5), "output_scale": 3.0}], ids=["plain", "scaled"])
@pytest.mark.parametrize(("expression", "indices"), [d[1:] for d in DERIVATIVES], ids=[d[0] for d in DERIVATIVES])
def test_derivatives_of_learned_functions_match_finite_differences(expression, indices, scales):
    mlp, module = network(2, seed=7, **scales)
    inner = torch.tensor(mlp.input_scale or (1.0, 1.0), dtype=torch.float64)
    outer = mlp.output_scale[0] if mlp.output_scale else 1.0
    states = points(5, 2, seed=8)
    system = System({r: f(r, s) + expression, s: expression}, learned={f: mlp})
    expected = partial(lambda z: outer * module(z / inner), indices, states, step=2e-3)
    value = partial(lambda z: outer * module(z / inner), (), states)
    got = rates(system, states)
    scale = np.abs(expected).max()
    assert got[:, 1] == pytest.approx(expected, abs=1e-5 * scale)
    assert got[:, 0] == pytest.approx(value + got[:, 1], abs=1e-12 * scale)


# Each as SymPy writes it, and as a function of torch networks that autograd differentiates.
COMPOUNDS = {
    "difference": (f(r - s, s).diff(r), lambda F, H, z: F(z[0] - z[1], z[1])),
    "product": (f(k * r**2, s).diff(r), lambda F, H, z: F(1.5 * z[0] ** 2, z[1])),
    "both arguments": (f(r, r * s).diff(r), lambda F, H, z: F(z[0], z[0] * z[1])),
    "nested": (f(h(r), s).diff(r), lambda F, H, z: F(H(z[0]), z[1])),
    "in an exponent": (sp.exp(f(r, s)).diff(r), lambda F, H, z: torch.exp(F(z[0], z[1]))),
    "not evaluated": (sp.Derivative(f(r, r * s), r), lambda F, H, z: F(z[0], z[0] * z[1])),
    "same argument twice": (f(r, r).diff(r) + 0 * s, lambda F, H, z: F(z[0], z[0])),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("slope", "function"), COMPOUNDS.values(), ids=COMPOUNDS)
def test_derivatives_at_compound_arguments_match_autograd(slope, function, order):
    (f_mlp, f_net), (h_mlp, h_net) = network(2, seed=9), network(1, seed=10)
    expression = slope if order == 1 else slope.diff(r)
    system = System({r: expression + f(r, s) * h(s), s: 0}, parameters={k: 1.5}, learned={f: f_mlp, h: h_mlp})

    def F(a, b):
        return f_net(torch.stack([a, b]))[0]

    def H(a):
        return h_net(a[None])[0]

    def along_r(z):
        return torch.func.grad(lambda w: function(F, H, w))(z)[0]

    states = torch.as_tensor(points(4, 2, seed=11))
    for state in states:
        expected = along_r(state) if order == 1 else torch.func.grad(along_r)(state)[0]
        expected = expected + F(*state) * H(state[1])
        assert rates(system, state)[0] == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)


def test_nested_learned_functions_are_evaluated_inside_out():
    (f_mlp, f_net), (h_mlp, h_net) = network(1, seed=12), network(1, seed=13)
    system = System({r: f(h(r)) + h(f(r)) + f(r)}, learned={f: f_mlp, h: h_mlp})
    z = torch.as_tensor(points(6, 1, seed=14))
    with torch.no_grad():
        assert rates(system, z) == pytest.approx((f_net(h_net(z)) + h_net(f_net(z)) + f_net(z)).numpy(), abs=1e-12)


def test_time_derivatives_of_learned_functions_are_lowered():
    mlp, module = network(1, seed=15)
    system = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: mlp})
    system = system.with_observed({"power": system.time_derivative(V(q)), "jerk": system.time_derivative(p, 2)})
    states = points(5, 2, seed=16)
    with torch.no_grad():
        seen = compile(system).observe(0.0, torch.as_tensor(states)).numpy()[:, 2:]
    speed, place = states[:, 1], states[:, :1]
    expected = np.stack([partial(module, (0,), place) * speed, -partial(module, (0, 0), place) * speed], 1)
    assert seen == pytest.approx(expected, abs=1e-6)


def test_substituting_a_closed_form_into_a_hamiltonian_system_differentiates_it():
    learned = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: MLP()})
    closed = learned.substitute({V: lambda a: k * a**2 / 2}, parameters={k: 2.0})
    assert closed == System({q: p, p: -k * q}, parameters={k: 2.0})
