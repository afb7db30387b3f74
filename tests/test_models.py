"""Models against what is known about them."""

import inspect

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.special import ellipk

from sciml import models
from sciml.errors import ModelError
from sciml.lowering.vector_field import compile
from sciml.simulation import simulate
from sciml.symbolic.system import System

TIGHT = {"rtol": 1e-11, "atol": 1e-11}
MODELS = [member for name in models.__all__ if inspect.isfunction(member := getattr(models, name))]


def symbol(name):
    return sp.Symbol(name, real=True)


def upcrossings(times, values):
    """Times at which a finely sampled series rises through zero, by local interpolation."""
    rising = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    before, after = values[rising], values[rising + 1]
    return times[rising] - before * (times[rising + 1] - times[rising]) / (after - before)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_simulates_from_its_defaults(model):
    system = model()
    assert isinstance(system, System)
    assert model() == system
    times = range(5) if system.discrete else np.linspace(0, 1, 5)
    frame = simulate(system, times).to_frame()
    assert np.isfinite(frame.to_numpy()).all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_argument_changes_the_model(model):
    names = model.__code__.co_varnames[: model.__code__.co_argcount]
    for name, default in zip(names, model.__defaults__):
        changed = tuple(1.1 * x for x in default) if isinstance(default, tuple) else 0.8 * default + 0.07
        assert model(**{name: changed}) != model(), name


@pytest.mark.parametrize(
    ("model", "argument"),
    [
        (models.bouncing_ball, "gravity"),
        (models.lotka_volterra, "birth"),
        (models.pendulum, "length"),
        (models.hamiltonian_pendulum, "mass"),
        (models.lorenz, "prandtl"),
        (models.van_der_pol, "damping"),
        (models.sir, "recovery"),
        (models.kepler, "strength"),
        (models.damped_oscillator, "frequency"),
    ],
)
def test_positive_constants_are_fitted_within_their_bounds(model, argument):
    assert any(not parameter.fixed for parameter in model().parameters.values())
    with pytest.raises(ModelError, match="does not lie between the bounds"):
        model(**{argument: -1.0})


def test_lotka_volterra_conserves_its_invariant():
    system = models.lotka_volterra()
    x, y, alpha, beta, gamma, delta = map(symbol, ("x", "y", "alpha", "beta", "gamma", "delta"))
    invariant = delta * x - gamma * sp.log(x) + beta * y - alpha * sp.log(y)
    assert sp.simplify(system.time_derivative(invariant)) == 0
    values = simulate(system.with_observed({"invariant": invariant}), np.linspace(0, 10, 50), **TIGHT)["invariant"]
    assert np.ptp(values) < 1e-8


def test_lotka_volterra_rests_at_its_equilibrium():
    system = models.lotka_volterra(1.3, 0.9, 1.8, 0.8, prey=1.8 / 0.8, predator=1.3 / 0.9)
    assert compile(system)(0.0, compile(system).initial).abs().max() < 1e-15


def test_the_pendulum_has_the_period_of_the_elliptic_integral():
    length, gravity, angle = 0.7, 9.81, 2.5
    times = np.linspace(0, 10, 4001)
    simulation = simulate(models.pendulum(length, gravity, angle=angle), times, **TIGHT)
    periods = np.diff(upcrossings(times, simulation["theta"]))
    assert len(periods) >= 2
    assert periods == pytest.approx(4 * np.sqrt(length / gravity) * ellipk(np.sin(angle / 2) ** 2), rel=1e-6)


def test_a_damped_pendulum_loses_energy_at_the_rate_of_its_friction():
    system = models.pendulum(damping=0.3)
    theta, omega, l, g, c = map(symbol, ("theta", "omega", "l", "g", "c"))
    assert sp.simplify(system.time_derivative(l * omega**2 / 2 - g * sp.cos(theta)) + c * l * omega**2) == 0
    assert not system.parameters[c].fixed
    assert models.pendulum().parameters[c].fixed


def test_the_hamiltonian_pendulum_keeps_its_energy_and_moves_like_newtons():
    times = np.linspace(0, 5, 26)
    hamiltonian = simulate(models.hamiltonian_pendulum(mass=2.0, length=0.5), times, **TIGHT)
    assert np.ptp(hamiltonian["energy"]) < 1e-8
    newton = simulate(models.pendulum(length=0.5), times, **TIGHT)
    assert hamiltonian["q"] == pytest.approx(newton["theta"], abs=1e-8)
    assert hamiltonian["p"] == pytest.approx(2.0 * 0.5**2 * newton["omega"], abs=1e-7)


def test_lorenz_rests_at_its_fixed_points():
    field = compile(models.lorenz())
    c = np.sqrt(8 / 3 * 27)
    for point in [(0, 0, 0), (c, c, 27), (-c, -c, 27)]:
        assert field(0.0, torch.tensor(point, dtype=torch.float64)).abs().max() < 1e-12


def test_lorenz_shrinks_volumes_at_a_constant_rate():
    system = models.lorenz()
    assert sp.simplify(system.jacobian().trace() + symbol("sigma") + 1 + symbol("beta")) == 0


@pytest.mark.parametrize(("rayleigh", "stable"), [(2.0, True), (24.73, True), (24.75, False), (28.0, False)])
def test_the_convection_rolls_of_lorenz_lose_stability_where_they_should(rayleigh, stable):
    field = compile(models.lorenz(rayleigh=rayleigh))
    c = np.sqrt(8 / 3 * (rayleigh - 1))
    point = torch.tensor([c, c, rayleigh - 1], dtype=torch.float64)
    growth = torch.linalg.eigvals(torch.func.jacrev(lambda y: field(0.0, y))(point)).real.max()
    assert (growth < 0) == stable


def test_the_van_der_pol_oscillator_ends_on_its_limit_cycle():
    times = np.linspace(0, 60, 12001)
    system = models.van_der_pol(damping=1.0, position=0.1)
    position = simulate(system, times, rtol=1e-9, atol=1e-9)["x"]
    late = position[times > 40]
    assert late.max() == pytest.approx(2.00862, abs=1e-4)  # amplitude and period at mu = 1
    assert np.diff(upcrossings(times, position))[-1] == pytest.approx(6.66329, abs=1e-4)


def test_an_epidemic_conserves_the_population_and_ends_at_the_final_size():
    system = models.sir(transmission=0.5, recovery=0.2, susceptible=990.0, infected=10.0)
    S, I, R, beta, gamma = map(symbol, ("S", "I", "R", "beta", "gamma"))
    assert sp.simplify(system.time_derivative(S + I + R)) == 0
    assert sp.simplify(system.time_derivative(sp.log(S) + beta / gamma * R / (S + I + R))) == 0
    simulation = simulate(system, np.linspace(0, 300, 1201), **TIGHT)
    assert simulation["S"] + simulation["I"] + simulation["R"] == pytest.approx(1000.0, rel=1e-10)
    peak = 1000 - 400 * (1 + np.log(990 / 400))
    assert simulation["I"].max() == pytest.approx(peak, rel=1e-4)
    left = simulation["S"][-1]
    assert left == pytest.approx(990 * np.exp(-0.5 / 0.2 * (1 - left / 1000)), rel=1e-6)


@pytest.mark.parametrize("eccentricity", [0.0, 0.3, 0.8])
def test_kepler_orbits_are_closed_ellipses(eccentricity):
    strength, axis = 2.0, 1.5
    system = models.kepler(eccentricity, strength, axis)
    period = 2 * np.pi * np.sqrt(axis**3 / strength)
    orbit = simulate(system, np.linspace(0, period, 401), **TIGHT)
    assert orbit.values[-1] == pytest.approx(orbit.values[0], abs=1e-7)
    assert np.ptp(orbit["energy"]) < 1e-8
    assert orbit["energy"][0] == pytest.approx(-strength / (2 * axis))
    assert np.ptp(orbit["angular_momentum"]) < 1e-8
    distance = np.hypot(orbit["x"], orbit["y"])
    nearest, farthest = distance.min(), distance.max()
    assert (farthest - nearest) / (farthest + nearest) == pytest.approx(eccentricity, abs=1e-8)
    assert (farthest + nearest) / 2 == pytest.approx(axis, rel=1e-8)


def test_the_kepler_ellipse_keeps_its_shape_when_its_strength_is_changed():
    orbit = simulate(models.kepler(0.5), np.linspace(0, np.pi, 101), parameters={"mu": 4.0}, **TIGHT)
    assert orbit.values[-1] == pytest.approx(orbit.values[0], abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eccentricity": 1.0}, "`eccentricity=1.0` is not one of an ellipse"),
        ({"eccentricity": -0.1}, "`eccentricity=-0.1` is not one of an ellipse"),
        ({"axis": 0.0}, "`axis=0.0` must be a positive length"),
    ],
)
def test_orbits_that_are_no_ellipses_are_refused(arguments, message):
    with pytest.raises(ModelError, match=message):
        models.kepler(**arguments)


def test_the_damped_oscillator_follows_its_exact_solution():
    frequency, damping = 2.0, 0.15
    times = np.linspace(0, 6, 61)
    position = simulate(models.damped_oscillator(frequency, damping, velocity=0.5), times, **TIGHT)["x"]
    rate, shifted = damping * frequency, frequency * np.sqrt(1 - damping**2)
    phase = shifted * times
    exact = np.exp(-rate * times) * (np.cos(phase) + (0.5 + rate) / shifted * np.sin(phase))
    assert position == pytest.approx(exact, abs=1e-9)
