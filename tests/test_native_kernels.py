"""The compiled engine's networks and steppers: against torch, orders, failures."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from native_models import hybrid, lotka_volterra, one_state, random_weights, torch_hybrid

from sciml.native import activations
from sciml.native.explicit import MAX_STEPS, NON_FINITE, STEP_UNDERFLOW, SUCCESS
from sciml.native.solve import evaluate, solve
from sciml.solvers.methods.dopri5 import DOPRI5
from sciml.solvers.methods.euler import EULER
from sciml.solvers.methods.heun import HEUN
from sciml.solvers.methods.rk4 import RK4_TABLEAU
from sciml.solvers.methods.tsit5 import TSIT5


@pytest.mark.parametrize(
    ("widths", "activation"),
    [((2, 32, 32, 2), "tanh"), ((2, 5, 2), "softplus"), ((2, 13, 9, 2), "silu"), ((2, 2), "tanh"), ((2, 40, 2), "rbf")],
)
def test_a_generated_network_has_the_values_and_gradients_of_torch(widths, activation):
    model, weights = hybrid(widths, activation), random_weights(widths)
    p = np.concatenate([[1.3, 1.8, 0.5], weights])
    q = torch.tensor(p, requires_grad=True)
    y = np.random.default_rng(2).normal(size=(7, 2))
    expected = torch.stack([torch_hybrid(widths, activation)(0.0, torch.tensor(row), q) for row in y])
    np.testing.assert_allclose(evaluate(model, "field", np.zeros(7), y, p), expected.detach().numpy(), rtol=1e-13)


@pytest.mark.parametrize(
    ("tableau", "order"),
    [(EULER, 1), (HEUN, 2), (RK4_TABLEAU, 4), (TSIT5, 5), (DOPRI5, 5)],
    ids=["euler", "heun", "rk4", "tsit5", "dopri5"],
)
def test_the_error_of_a_method_falls_at_its_order(tableau, order):
    # y = exp(sin t)
    model, times = one_state("y[0] * math.cos(t)"), np.array([0.0, 3.0])

    def error(steps):
        settings = {"rtol": 1e9, "atol": 1e9, "first_step": 3.0 / steps, "largest_step": 3.0 / steps}
        end = solve(model, np.zeros(1), [1.0], times, tableau=tableau, **settings).states[0, -1, 0]
        return abs(end - math.exp(math.sin(3.0)))

    assert abs(math.log2(error(40) / error(80)) - order) < 0.2


@pytest.mark.parametrize("tableau", [TSIT5, DOPRI5], ids=["tsit5", "dopri5"])
def test_dense_output_is_as_accurate_as_the_steps(tableau):
    model, p = lotka_volterra(), np.array([1.3, 0.9, 0.8, 1.8, 0.5])
    times = np.linspace(0, 10, 333)
    exact = solve(model, p, [1.0, 1.0], times, rtol=1e-12, atol=1e-12).states
    assert np.abs(solve(model, p, [1.0, 1.0], times, tableau=tableau, rtol=1e-7, atol=1e-7).states - exact).max() < 1e-5


def test_time_can_run_backwards_and_many_trajectories_run_at_once():
    model, p = lotka_volterra(), np.array([1.3, 0.9, 0.8, 1.8, 0.5])
    starts = np.random.default_rng(0).uniform(0.5, 2, (100, 2))
    there = solve(model, p, starts, np.array([0.0, 3.0]), rtol=1e-10, atol=1e-10)
    back = solve(model, p, there.states[:, -1], np.array([3.0, 1.0, 0.0]), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(back.states[:, -1], starts, rtol=1e-6)
    alone = solve(model, p, starts[17], np.array([0.0, 3.0]), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(alone.states[0], there.states[17])


@pytest.mark.parametrize(
    ("rate", "start", "status"),
    [
        ("y[0] * y[0]", 1.0, STEP_UNDERFLOW),
        ("math.sqrt(0.5 - t) + y[0]", 1.0, NON_FINITE),
        ("y[0]", math.nan, NON_FINITE),
        ("math.log(y[0])", -1.0, NON_FINITE),
        ("1e5 * (math.cos(1e3 * t) - y[0])", 1.0, MAX_STEPS),
        ("-y[0]", 1.0, SUCCESS),
    ],
)
def test_a_failing_integration_says_how_and_where(rate, start, status):
    times = np.linspace(0, 2, 5)
    solution = solve(one_state(rate), np.zeros(1), [start], times, max_steps=3000)
    assert solution.status[0] == status
    assert np.isnan(solution.states[0, times > solution.reached[0]]).all()
    if status == STEP_UNDERFLOW:
        assert solution.reached[0] == pytest.approx(1.0, abs=1e-3)


def test_the_engine_imports_neither_torch_nor_sympy():
    for path in Path(activations.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "sympy"}, path.name
