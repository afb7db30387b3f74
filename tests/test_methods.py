"""The methods: coefficients, order of the steps and of the dense output, stability, energy."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from problems import EXACT_PROBLEMS, METHODS, driven, kepler, pendulum, rotation

import sciml
from sciml.errors import ModelError
from sciml.solvers import (
    AbstractSymplectic,
    Dopri8,
    Kvaerno3,
    Leapfrog,
    Tsit5,
    Yoshida4,
    Yoshida6,
    solve,
)

FIELD = driven(torch.tensor([1.0, 0.3, 0.5], dtype=torch.float64))
START = torch.tensor([1.0, 0.3], dtype=torch.float64)
SYMPLECTIC = [Leapfrog, Yoshida4, Yoshida6]
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


def slope(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


def tableau(name):
    return METHODS[name][0](0.1).tableau


def is_symplectic(name):
    return isinstance(METHODS[name][0](0.1), AbstractSymplectic)


@pytest.mark.parametrize("name", METHODS)
def test_the_error_falls_at_the_order_of_the_method(name):
    method, order, counts = METHODS[name]
    reference = solve(FIELD, START, grid(0.0, 4.0), solver=Dopri8(step=0.02)).ys[-1]
    steps = 4.0 / np.array(counts)
    errors = [
        (solve(FIELD, START, grid(0.0, 4.0), solver=method(step), **TIGHT).ys[-1] - reference).norm().item()
        for step in steps
    ]
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("problem", EXACT_PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", [name for name in METHODS if not is_symplectic(name)])
def test_exact_solutions_are_approached_at_that_order(name, problem):
    method, order, counts = METHODS[name]
    # The linear and the logistic problem are so smooth that high orders reach rounding early.
    steps = problem.end / np.array(counts if order < 5 else {5: (16, 24, 32), 8: (6, 8, 10)}[order])
    errors = [
        (solve(problem.field, problem.y0, grid(0.0, problem.end), solver=method(step), **TIGHT).ys[-1]
         - problem.exact(grid(problem.end))[-1]).norm().item()
        for step in steps
    ]  # fmt: skip
    assert slope(steps, errors) > order - 0.35
    assert errors[-1] < 10 * steps[-1] ** order


@pytest.mark.parametrize("problem", EXACT_PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", ["Euler", "Heun", "RK4", "Dopri5", "Tsit5"])
def test_exact_solutions_are_approached_at_just_that_order(name, problem):
    method, order, _ = METHODS[name]
    steps = problem.end / np.array([48, 64, 96] if order == 5 else [64, 96, 128])
    ts, errors = grid(0.0, problem.end), []
    for step in steps:
        ys = solve(problem.field, problem.y0, ts, solver=method(step)).ys
        errors.append((ys[-1] - problem.exact(ts)[-1]).norm().item())
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", METHODS)
def test_the_error_between_steps_falls_at_the_order_of_the_dense_output(name):
    method, order, _ = METHODS[name]
    times = torch.linspace(0, rotation.end, 777, dtype=torch.float64)
    counts = (12, 16, 24, 32) if order == 8 else (32, 48, 64, 96)
    steps, errors = rotation.end / np.array(counts), []
    for step in steps:
        ends = grid(0.0, rotation.end)
        solution = solve(rotation.field, rotation.y0, ends, solver=method(step), dense=True, **TIGHT)
        errors.append((solution.evaluate(times) - rotation.exact(times)).abs().max().item())
    assert slope(steps, errors) == pytest.approx(min(order, tableau(name).dense_order + 1), abs=0.15)


@pytest.mark.parametrize("name", [name for name in METHODS if not is_symplectic(name)])
def test_tableaus_meet_their_quadrature_conditions(name):
    found = tableau(name)
    b, c = found.a[-1], found.c
    for q in range(1, found.order + 1):
        assert b @ c ** (q - 1) == pytest.approx(1 / q, abs=1e-13)
    assert found.dense_weights(np.array(1.0)) == pytest.approx(b, abs=1e-13)
    theta = np.linspace(0, 1, 5)
    for q in range(1, min(found.order, found.dense_order) + 1):
        assert found.dense_weights(theta) @ c ** (q - 1) == pytest.approx(theta**q / q, abs=1e-13)
    if found.error is not None:
        for q in range(1, found.error_order):
            assert found.error @ c ** (q - 1) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(("name", "powers"), [("Leapfrog", [1]), ("Yoshida4", [1, 3]), ("Yoshida6", [1, 3, 5])])
def test_compositions_cancel_the_odd_powers_below_their_order(name, powers):
    drifts = [a for a, part in zip(tableau(name).a[-1], tableau(name).parts) if part == "drift"]
    assert drifts == drifts[::-1]
    for power in powers:
        assert sum(w**power for w in drifts) == pytest.approx(1.0 if power == 1 else 0.0, abs=1e-13)


def test_kvaerno3_is_stable_in_the_left_half_plane_and_damps_infinity():
    a = Kvaerno3.tableau.a
    z = np.concatenate([1j * np.logspace(-3, 6, 500), [-1e6]])
    growth = [abs(1 + x * a[-1] @ np.linalg.solve(np.eye(4) - x * a, np.ones(4))) for x in z]
    assert max(growth[:-1]) <= 1 + 1e-12
    assert growth[-1] < 1e-5


# Symplectic methods


def planet(periods, method, per_period, record):
    """Energies at `record` times over some periods of a planet of eccentricity 0.3."""
    y0 = grid(0.7, 0.0, 0.0, math.sqrt(1.3 / 0.7))
    ts = torch.linspace(0, 2 * math.pi * periods, record + 1, dtype=torch.float64)
    with torch.no_grad():
        solver = method(step=2 * math.pi / per_period, momenta=(2, 3))
        ys = solve(kepler, y0, ts, solver=solver, max_steps=10**8).ys
    return ys[:, 2:].square().sum(dim=1) / 2 - 1 / ys[:, :2].norm(dim=1)


# Steps per period, and a bound on the error of the energy.
BOUNDS = {Leapfrog: (30, 2e-2), Yoshida4: (20, 1e-2), Yoshida6: (20, 1e-3)}


@pytest.mark.parametrize("method", SYMPLECTIC)
def test_the_energy_of_a_planet_oscillates_and_does_not_drift(method):
    per_period, bound = BOUNDS[method]
    errors = (planet(20, method, per_period, 200) + 0.5).abs()
    assert errors.max() < bound
    assert errors[-50:].max() < 1.2 * errors[:50].max()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", SYMPLECTIC)
def test_the_energy_of_a_planet_is_bounded_over_ten_thousand_periods(method):
    per_period, bound = BOUNDS[method]
    errors = (planet(10_000, method, per_period, 20_000) + 0.5).abs()
    assert errors.max() < bound
    assert errors[-5000:].max() < 1.2 * errors[:5000].max()


@pytest.mark.parametrize("method", SYMPLECTIC)
def test_splittings_return_to_the_start_to_rounding(method):
    solver = method(step=0.1, momenta=(1,))
    there = solve(FIELD, START, grid(0.0, 3.0), solver=solver).ys[-1]
    back = solve(FIELD, there, grid(3.0, 0.0), solver=solver).ys[-1]
    torch.testing.assert_close(back, START, rtol=0, atol=1e-13)


def test_momenta_are_found_in_the_equations():
    q, p = sp.symbols("q p", real=True)
    system = sciml.System({p: -sp.sin(q), q: p}, initial={q: 1.0, p: 0.0})
    assert sciml.compile(system).momenta == (1,)
    found = sciml.simulate(system, [0.0, 1.0, 2.0], solver=Yoshida6(step=0.02))
    exact = sciml.simulate(system, [0.0, 1.0, 2.0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.values, exact.values, atol=1e-9)
    assert sciml.compile(sciml.models.kepler()).momenta == (2, 3)
    V = sp.Function("V")
    learned = sciml.System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: sciml.MLP(hidden=4)})
    assert sciml.compile(learned).momenta == (1,)
    assert sciml.compile(sciml.System({q: p, p: -q - p})).momenta is None
    assert sciml.compile(sciml.models.lorenz()).momenta is None


def test_particles_in_the_middle_dimensions_share_their_momenta():
    def chain(t, y):
        q, p = y.unbind(dim=-1)
        return torch.stack([p, torch.roll(q, 1, -1) - 2 * q + torch.roll(q, -1, -1)], dim=-1)

    y0 = torch.cos(torch.arange(12, dtype=torch.float64)).view(2, 3, 2)
    found = solve(chain, y0, grid(0.0, 2.0), solver=Yoshida6(step=0.05, momenta=(1,))).ys[:, -1]
    exact = solve(chain, y0, grid(0.0, 2.0), rtol=1e-11, atol=1e-11).ys[:, -1]
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-8)


def test_what_a_splitting_cannot_solve_is_refused():
    damped = pendulum(torch.tensor([2.0, 0.3, 0.7], dtype=torch.float64))
    ts = grid(0.0, 1.0)
    for field, solver, expected in [
        (damped, Leapfrog(step=0.1, momenta=(1,)), "rate of state 1, a momentum, depends on momenta.*`Tsit5"),
        (lambda t, y: torch.cat([y[:1] + y[1:], -y[:1]]), Yoshida4(step=0.1, momenta=(1,)), "state 0, a position"),
        (FIELD, Leapfrog(step=0.1), r"`Leapfrog` must know which states are momenta.*`Leapfrog\(step=0.01, momenta"),
        (FIELD, Leapfrog(step=0.1, momenta=(2,)), r"`momenta` of `Leapfrog` is \(2,\). Expected .* the 2 states"),
        (FIELD, Leapfrog(step=0.1, momenta=(0, 1)), r"`momenta` of `Leapfrog` is \(0, 1\)"),
        (FIELD, Leapfrog(step=0.1, momenta=(1, 1)), r"`momenta` of `Leapfrog` is \(1, 1\)"),
    ]:
        with pytest.raises(ModelError, match=expected):
            solve(field, START, ts, solver=solver)
    with pytest.raises(ModelError, match=r"`Yoshida6` has no error estimate. Give it a step"):
        Yoshida6()
    with pytest.raises(ModelError, match="`Leapfrog` has no complex states"):
        solve(lambda t, y: y, START.to(torch.complex128), ts, solver=Leapfrog(step=0.1, momenta=(1,)))
    assert solve(FIELD, START, ts, solver=Leapfrog(step=0.1, momenta=(-1,))).successful


def test_steps_are_equal_between_outputs():
    seen = []

    def field(t, y):
        seen.append(float(t))
        return -y

    solve(field, START, grid(0.0, 1.0, 1.5), solver=Tsit5(step=0.4))
    starts = sorted({round(t, 12) for t in seen} & {round(i / 12, 12) for i in range(19)})
    assert {round(t, 6) for t in starts} >= {0.0, 0.333333, 0.666667, 1.0, 1.25, 1.5}
