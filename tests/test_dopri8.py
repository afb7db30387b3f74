"""Dopri8: its order, its dense output, and its gradients in both engines."""

import math

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from problems import explosion, pendulum, rotation

from sciml.measurement.problem import Problem
from sciml.solvers import Dopri8, solve
from sciml.solvers.methods.dopri8 import DOPRI8
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.distributions import Normal
from sciml.symbolic.system import System


def slope(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


def test_the_coefficients_meet_their_quadrature_conditions():
    b, c = DOPRI8.a[-1], DOPRI8.c
    for q in range(1, 9):
        assert b @ c ** (q - 1) == pytest.approx(1 / q, abs=1e-14)
    assert DOPRI8.dense_weights(np.array(1.0)) == pytest.approx(b, abs=1e-13)
    theta = np.linspace(0, 1, 5)
    for q in range(1, DOPRI8.dense_order + 1):
        assert DOPRI8.dense_weights(theta) @ c ** (q - 1) == pytest.approx(theta**q / q, abs=1e-12)
    assert [DOPRI8.error @ c ** (q - 1) for q in range(1, 8)] == pytest.approx([0] * 7, abs=1e-14)


def test_the_error_falls_at_order_eight():
    # y = 1 / (2 - t). Fewer steps are not yet in the asymptotic range, more end in rounding.
    y0, ts = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.0, 1.8], dtype=torch.float64)
    steps = 1.8 / np.array([48, 64, 80])
    errors = [abs(solve(explosion, y0, ts, solver=Dopri8(step=step)).ys[-1].item() - 5.0) for step in steps]
    assert slope(steps, errors) == pytest.approx(8, abs=0.15)


def test_the_error_between_steps_falls_at_the_order_of_the_dense_output():
    steps, errors = rotation.end / np.array([12, 16, 24, 32]), []
    ends = torch.tensor([0.0, rotation.end], dtype=torch.float64)
    times = torch.linspace(0, rotation.end, 777, dtype=torch.float64)
    for step in steps:
        solution = solve(rotation.field, rotation.y0, ends, solver=Dopri8(step=step), dense=True)
        errors.append((solution.evaluate(times) - rotation.exact(times)).abs().max().item())
    assert slope(steps, errors) == pytest.approx(DOPRI8.dense_order + 1, abs=0.15)


def test_gradients_match_finite_differences():
    # Steps chosen by the error move with the weights, and the error of the dense output with them.
    ts = torch.linspace(0, 2, 6, dtype=torch.float64)
    y0 = torch.tensor([0.4, -0.2], dtype=torch.float64)

    def loss(w):
        return solve(pendulum(w), y0, ts, solver=Dopri8(step=0.2)).ys.square().sum()

    w = torch.tensor([2.0, 0.3, 0.7], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(loss(w), w)
    shifts = 1e-5 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([(loss(w + s) - loss(w - s)) / 2e-5 for s in shifts])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def decay(backend, **options):
    x, k = sp.symbols("x k", real=True)
    rate = sp.Function("rate")
    system = System({x: -k * x + rate(x)}, parameters={k: Parameter(1.0)}, learned={rate: MLP(hidden=(4,))})
    times = np.linspace(0, 3, 9)
    frame = pd.DataFrame({"x": [math.exp(-1.5 * t) for t in times]}, index=times)
    return Problem(system, frame, noise={x: Normal(0.1)}, solver=Dopri8(), backend=backend, **options)


def test_the_native_engine_agrees_with_torch():
    problems = [decay(backend, rtol=1e-9, atol=1e-9) for backend in ("torch", "native")]
    vector = problems[0].initial(seed=1)
    (value, gradient), (native, native_gradient) = (problem.value_and_gradient(vector) for problem in problems)
    # An error estimate near rounding lets the two choose slightly different steps: they agree within the tolerance.
    assert native == pytest.approx(value, rel=1e-7)
    assert native_gradient == pytest.approx(gradient, abs=1e-6 * np.abs(gradient).max())
