"""The stiff methods: order, stability, reference solutions of stiff problems, exact gradients, failures."""

import math
from dataclasses import replace

import ivp
import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch

from sciml import MLP, Normal, Parameter, Problem, System, Tsit5
from sciml.lowering.native_backend import jacobian_program
from sciml.lowering.native_model import native_model
from sciml.lowering.program import lower
from sciml.native.explicit import MAX_STEPS, NON_FINITE, STEP_UNDERFLOW, SUCCESS
from sciml.native.model import Model
from sciml.native.preambles import PREAMBLE
from sciml.native.solve import solve
from sciml.solvers import Kvaerno5, Rodas5P
from sciml.solvers.methods.kvaerno5 import KVAERNO5
from sciml.solvers.methods.rodas5p import RODAS5P


def compiled(system: System) -> Model:
    programs = {"field": lower(system, system.equations.values())}
    programs["jacobian"] = jacobian_program(system)
    return native_model(programs, [], free=len(system.states))


def one_state(rate: str, slope: str, drift: str = "0.0") -> Model:
    source = f"""
@value
def field_value(t, y, p, u, tape, out):
    out[0] = {rate}

@value
def jacobian_value(t, y, p, u, tape, out):
    out[0] = {slope}
    out[1] = {drift}

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = {slope} * g[0]
"""
    return Model(PREAMBLE + source, states=1, parameters=1, storage=1, free=1, outputs={"jacobian": 2})


def integrate(model: Model, start, times, tableau=KVAERNO5, **settings):
    return solve(model, np.zeros(model.parameters), start, np.asarray(times), tableau=tableau, **settings)


STIFF = {"Kvaerno5": KVAERNO5, "Rodas5P": RODAS5P}
both = pytest.mark.parametrize("tableau", STIFF.values(), ids=STIFF)


# The method


def test_the_coefficients_satisfy_all_order_conditions():
    a, c = KVAERNO5.a, KVAERNO5.c
    b, one = a[-1], np.ones(7)
    trees = [(b @ one, 1), (b @ c, 1 / 2), (b @ c**2, 1 / 3), (b @ a @ c, 1 / 6), (b @ c**3, 1 / 4)]
    trees += [(b @ (c * (a @ c)), 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24), (b @ c**4, 1 / 5)]
    trees += [(b @ (c**2 * (a @ c)), 1 / 10), (b @ (a @ c) ** 2, 1 / 20), (b @ (c * (a @ c**2)), 1 / 15)]
    trees += [(b @ a @ c**3, 1 / 20), (b @ (c * (a @ a @ c)), 1 / 30), (b @ a @ (c * (a @ c)), 1 / 40)]
    trees += [(b @ a @ a @ c**2, 1 / 60), (b @ a @ a @ a @ c, 1 / 120)]
    assert max(abs(value - expected) for value, expected in trees) < 1e-15


def test_the_method_is_stable_in_the_left_half_plane_and_damps_infinity():
    z = np.concatenate([1j * np.logspace(-3, 6, 500), [-1e6]])
    growth = [abs(1 + x * KVAERNO5.a[-1] @ np.linalg.solve(np.eye(7) - x * KVAERNO5.a, np.ones(7))) for x in z]
    assert max(growth[:-1]) <= 1 + 1e-12
    assert growth[-1] < 1e-5


def test_a_rosenbrock_step_is_stable_in_the_left_half_plane_and_damps_infinity():
    method, n = RODAS5P, RODAS5P.stages - 1
    z = np.concatenate([1j * np.logspace(-3, 6, 500), [-1e6]])

    def growth(x):
        # The stages of y' = x y with h = 1: (1 - gamma x) k = gamma (x (1 + a k) + coupling k)
        system = (1 - method.gamma * x) * np.eye(n) - method.gamma * (x * method.a[:n, :n] + method.coupling[:n, :n])
        return abs(1 + method.a[-1, :n] @ np.linalg.solve(system, method.gamma * x * np.ones(n)))

    assert max(map(growth, z[:-1])) <= 1 + 1e-9
    assert growth(z[-1]) < 1e-4


@both
def test_a_hundred_times_too_long_steps_still_decay(tableau):
    model = one_state("-1e6 * (y[0] - math.cos(t))", "-1e6", "-1e6 * math.sin(t)")
    settings = {"rtol": 1e9, "atol": 1e9, "first_step": 0.1, "largest_step": 0.1}
    # With a tolerance this loose, Newton is exact because the problem is linear.
    end = integrate(model, [2.0], [0.0, 1.0], tableau, **settings).states[0, -1, 0]
    assert abs(end - math.cos(1.0)) < 1e-5


@both
def test_the_error_falls_at_the_fifth_power_of_the_step(tableau):
    # y = exp(sin t)
    model = one_state("y[0] * math.cos(t)", "math.cos(t)", "-y[0] * math.sin(t)")

    # Without an error estimate all steps are accepted, while Newton still works to the tolerance.
    tableau = replace(tableau, error=np.zeros(tableau.stages))

    def error(steps):
        settings = {"rtol": 1e-11, "atol": 1e-11, "first_step": 3.0 / steps, "largest_step": 3.0 / steps}
        end = solve(model, np.zeros(1), [1.0], np.array([0.0, 3.0]), tableau=tableau, **settings).states[0, -1, 0]
        return abs(end - math.exp(math.sin(3.0)))

    assert abs(math.log2(error(40) / error(80)) - 5) < 0.15


@both
def test_dense_output_is_as_accurate_as_the_steps(tableau):
    model = one_state("y[0] * math.cos(t)", "math.cos(t)", "-y[0] * math.sin(t)")
    tableau = replace(tableau, error=np.zeros(tableau.stages))
    times = np.linspace(0, 6, 241)
    settings = {"rtol": 1e-11, "atol": 1e-11, "first_step": 0.25, "largest_step": 0.25}
    states = solve(model, np.zeros(1), [1.0], times, tableau=tableau, **settings).states[0, :, 0]
    errors = np.abs(states - np.exp(np.sin(times)))
    # Every tenth time is the end of a step.
    assert errors.max() < 3 * errors[::10].max()


# Reference solutions

# SciPy's Radau at rtol = 1e-13, at t = 500 and 1500.
VAN_DER_POL = [1.5967689510526468, -1.3547459194865885]


@both
@pytest.mark.parametrize("name", ["robertson", "hires", "orego", "pollution"])
def test_stiff_problems_end_at_their_reference_solution(name, tableau):
    problem = getattr(ivp, name)()
    solution = integrate(compiled(problem.system), problem.initial, [0.0, problem.end], tableau, rtol=1e-8, atol=1e-16)
    assert solution.status[0] == SUCCESS
    np.testing.assert_allclose(solution.states[0, -1], problem.solution, rtol=1e-6)


@both
def test_stiff_van_der_pol_agrees_with_a_solution_at_1e_13(tableau):
    x, v = sp.symbols("x v", real=True)
    model = compiled(System({x: v, v: 1000 * (1 - x**2) * v - x}))
    solution = integrate(model, [2.0, 0.0], [0.0, 500.0, 1500.0], tableau, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(solution.states[0, 1:, 0], VAN_DER_POL, rtol=1e-6)


# The gradient


def differences(function, theta: np.ndarray, step: float = 1e-4) -> np.ndarray:
    result = []
    for e in step * np.eye(len(theta)):
        near, far = function(theta + e) - function(theta - e), function(theta + 2 * e) - function(theta - 2 * e)
        result.append((8 * near - far) / (12 * step))
    return np.array(result)


def close(actual, expected, tolerance: float) -> bool:
    return bool(np.abs(actual - expected).max() <= tolerance * np.abs(expected).max())


def robertson_problem(solver=Kvaerno5(), **settings) -> Problem:  # noqa: B008 (frozen)
    a, b, c, k1, k2, k3 = sp.symbols("a b c k1 k2 k3", real=True)
    slow, fast = k1 * a, 1e4 * k2 * b * c
    system = System(
        {a: -slow + fast, b: slow - fast - 3e7 * k3 * b**2, c: 3e7 * k3 * b**2},
        parameters={k1: Parameter(0.05, bounds=(0, None)), k2: Parameter(1.2), k3: Parameter(0.9)},
        initial={a: Parameter(1.0), b: 0.0, c: 0.0},
    )
    times = np.array([0.0, 0.4, 4.0, 10.0, 40.0])
    data = pd.DataFrame({"a": [1.0, 0.98517, 0.9055, 0.8414, 0.7158]}, index=times)
    return Problem(system, data, noise={a: Normal(0.01)}, solver=solver, atol=1e-12, **settings)


solvers = pytest.mark.parametrize("solver", [Kvaerno5(), Rodas5P()], ids=lambda s: type(s).__name__)


@solvers
def test_the_loss_gradient_on_robertson_parameters_agrees_with_differences(solver):
    problem = robertson_problem(solver, rtol=1e-10)
    assert problem.loss.engine == "native"
    theta = problem.initial()
    value, gradient = problem.value_and_gradient(theta)
    assert math.isfinite(value)
    assert close(gradient, differences(lambda x: problem.value_and_gradient(x)[0], theta, 1e-3), 1e-6)


def hybrid_problem(solver) -> Problem:
    x, y, k = sp.symbols("x y k", real=True)
    f = sp.Function("f")
    system = System(
        {x: -k * x + f(x, y), y: sp.sin(x) * k - y * f(x, y) * 0.1},
        parameters={k: Parameter(1.3)},
        learned={f: MLP(hidden=(5, 5))},
        initial={x: Parameter(1.0), y: Parameter(0.5)},
    )
    times = np.linspace(0, 3, 13)
    data = pd.DataFrame({"x": np.exp(-times), "y": 0.5 + 0.3 * np.sin(times)}, index=times)
    noise = {x: Normal(0.1), y: Normal(0.1)}
    return Problem(system, data, noise=noise, solver=solver, rtol=1e-11, atol=1e-11)


@solvers
def test_stiff_and_explicit_methods_have_the_same_loss_and_gradient_with_a_network(solver):
    implicit, explicit = hybrid_problem(solver), hybrid_problem(Tsit5())
    theta = explicit.initial(seed=3)
    value, gradient = implicit.value_and_gradient(theta)
    expected, slopes = explicit.value_and_gradient(theta)
    assert value == pytest.approx(expected, rel=1e-9)
    assert close(gradient, slopes, 1e-8)


def one_step_loss(theta: np.ndarray, h: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rodas5P's new state for x' = -k x^2 + sin(t) y, y' = x - k y^3 + t, from its definition, and theta = (k, x, y)."""
    theta = torch.tensor(theta, requires_grad=True)
    method = RODAS5P

    def field(t, y):
        return torch.stack([-theta[0] * y[0] ** 2 + torch.sin(t) * y[1], y[0] - theta[0] * y[1] ** 3 + t])

    t, y = torch.tensor(0.3, dtype=torch.float64), theta[1:]
    jacobian = torch.func.jacrev(lambda y: field(t, y))(y)
    drift = torch.func.jacrev(lambda t: field(t, y))(t)
    matrix = torch.eye(2, dtype=torch.float64) - h * method.gamma * jacobian
    k: list[torch.Tensor] = []
    for i in range(8):
        state = y + h * sum((method.a[i, j] * k[j] for j in range(i)), torch.zeros(2, dtype=torch.float64))
        right = field(t + method.c[i] * h, state) + h * method.drift[i] * drift
        right = right + sum((method.coupling[i, j] * k[j] for j in range(i)), torch.zeros(2, dtype=torch.float64))
        k.append(method.gamma * torch.linalg.solve(matrix, right))
    return y + h * sum(method.a[8, j] * k[j] for j in range(8)), theta


def test_a_rosenbrock_step_and_its_gradient_are_those_of_its_definition():
    x, y, k, t = sp.symbols("x y k t", real=True)
    equations = {x: -k * x**2 + sp.sin(t) * y, y: x - k * y**3 + t}
    system = System(equations, parameters={k: Parameter(0.7)}, initial={x: Parameter(0.9), y: Parameter(-0.4)})
    h = 0.25
    data = pd.DataFrame({"x": [np.nan, 0.1], "y": [np.nan, 0.2]}, index=[0.3, 0.3 + h])
    noise = {x: Normal(1.0), y: Normal(1.0)}
    # A tolerance this loose makes the whole span one step, once the first one is long enough.
    problem = Problem(system, data, noise=noise, solver=Rodas5P(), rtol=1e9, atol=1e9)
    theta = problem.initial()
    native = problem.loss._native._loss
    native.task.set(first_step=h)
    value, gradient = native(theta)
    assert native.shots["steps"].tolist() == [1]
    values = problem.loss.coordinates.values(theta)
    end, unknowns = one_step_loss(values[0], h)
    loss = 0.5 * ((end - torch.tensor([0.1, 0.2], dtype=torch.float64)) ** 2).sum() + math.log(2 * math.pi)
    (slopes,) = torch.autograd.grad(loss, unknowns)
    assert value == pytest.approx(loss.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, slopes.numpy() * values[1], rtol=1e-12)


# Failures


@pytest.mark.parametrize(
    ("rate", "slope", "start", "status"),
    [
        # x = (1 - 2 t)^(-1/2)
        ("y[0] ** 3", "3.0 * y[0] ** 2", 1.0, STEP_UNDERFLOW),
        ("math.sqrt(0.5 - t) + y[0]", "1.0", 1.0, NON_FINITE),
        ("y[0]", "1.0", math.nan, NON_FINITE),
        ("math.cos(1e5 * t)", "0.0", 1.0, MAX_STEPS),
        ("-y[0]", "-1.0", 1.0, SUCCESS),
    ],
)
@both
def test_a_failing_integration_says_how_and_where(rate, slope, start, status, tableau):
    times = np.linspace(0, 2, 5)
    solution = integrate(one_state(rate, slope), [start], times, tableau, max_steps=1000)
    assert solution.status[0] == status
    assert np.isnan(solution.states[0, times > solution.reached[0]]).all()


def test_newtons_iteration_stops_at_a_pole():
    stopped = integrate(one_state("y[0] * y[0]", "2.0 * y[0]"), [1.0], [0.0, 2.0])
    assert stopped.status[0] == STEP_UNDERFLOW
    assert stopped.reached[0] == pytest.approx(1.0, abs=1e-4)


def test_an_iteration_that_diverges_at_every_step_is_given_up():
    # The wrong sign of a huge derivative.
    solution = integrate(one_state("-1e30 * (y[0] - 1.0) ** 3", "1e40"), [2.0], [0.0, 2.0], max_steps=1000)
    assert solution.status[0] == STEP_UNDERFLOW


@solvers
@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, np.nan, 1e4])
def test_absurd_parameters_give_infinity_and_never_hang(value, solver):
    problem = robertson_problem(solver, max_steps=500)
    for place in range(3):
        theta = problem.initial()
        theta[place] = value
        result, gradient = problem.value_and_gradient(theta)
        assert result == math.inf or np.isfinite(gradient).all()
        assert not math.isnan(result)
