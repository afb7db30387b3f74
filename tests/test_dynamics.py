"""Analyses of dynamical systems against what is known about them."""

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sciml
from sciml import MLP, System, dynamics, models
from sciml.dynamics import Map
from sciml.errors import DataError, ModelError, SolveError

x, y, v = sp.symbols("x y v", real=True)
CUBE = ([-20, -20, -5], [20, 20, 45])


def lorenz_by_torch(t, state):
    a, b, c = state.unbind(-1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=-1)


TO_THREE = dynamics.Map(lambda y: torch.cat([y, y[..., :1]], dim=-1))


def test_the_points_of_lorenz_are_found_from_equations_and_from_torch_alike():
    by_equations = dynamics.fixed_points(models.lorenz(), CUBE)
    by_autograd = dynamics.fixed_points(lorenz_by_torch, CUBE)
    far = np.sqrt(72.0)
    for found in (by_equations, by_autograd):
        states = np.array([p.state for p in found])
        assert states == pytest.approx(np.array([[-far, -far, 27], [0, 0, 0], [far, far, 27]]), abs=1e-8)
        assert [p.kind for p in found] == ["saddle"] * 3
    assert by_autograd[0].eigenvalues == pytest.approx(by_equations[0].eigenvalues, abs=1e-7)
    assert list(by_equations.to_frame().columns) == ["x", "y", "z", "kind", "eigenvalues"]


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        ([[-1, 0], [0, -2]], "stable node"),
        ([[1, 0], [0, 2]], "unstable node"),
        ([[-1, 3], [-3, -1]], "stable focus"),
        ([[1, 3], [-3, 1]], "unstable focus"),
        ([[-1, 0], [0, 2]], "saddle"),
        ([[0, 1], [-1, 0]], "center"),
        ([[0, 0], [0, -1]], "neutral"),
        ([[0, 0], [0, 1]], "unstable, neutral"),
    ],
)
def test_kinds_are_told_apart(matrix, kind):
    a = torch.tensor(matrix, dtype=torch.float64)
    found = dynamics.fixed_points(lambda t, s: s @ a.T, ([-1, -1], [1, 1]), starts=4)
    assert found[0].kind == kind
    assert found[0].stable == kind.startswith("stable")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=9, max_size=9), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_the_point_of_an_affine_map_is_found(entries, offset):
    a = torch.tensor(entries, dtype=torch.float64).reshape(3, 3)
    if torch.linalg.svdvals(a - torch.eye(3)).min() < 1e-3:
        return
    b = torch.tensor(offset, dtype=torch.float64)
    truth = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - a, b).numpy()
    found = dynamics.fixed_points(Map(lambda s: s @ a.T + b), (truth - 1, truth + 2), starts=8)
    assert len(found) == 1
    assert found[0].state == pytest.approx(truth, abs=1e-7)


def test_a_search_that_finds_nothing_says_so_and_returns_nothing():
    with pytest.warns(UserWarning, match="no fixed point was found in the box from 256 starts"):
        found = dynamics.fixed_points(System({x: 1 + x**2}), {x: (-1, 1)})
    assert len(found) == 0
    assert found.to_frame().empty


def test_exponents_of_a_linear_flow_are_the_real_parts():
    a = torch.tensor([[-0.1, 2.0, 0.3], [-2.0, -0.1, 0.0], [0.0, 0.0, -0.5]], dtype=torch.float64)
    found = dynamics.lyapunov_spectrum(lambda t, s: s @ a.T, [1.0, 0.0, 1.0], duration=20, transient=10)
    assert found.exponents == pytest.approx([-0.1, -0.1, -0.5], abs=5e-3)


def test_exponents_of_lorenz_add_up_to_its_divergence_and_agree_with_theory():
    found = dynamics.lyapunov_spectrum(models.lorenz(), duration=3000, transient=50, rtol=1e-7, atol=1e-7)
    assert found.exponents.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-4)
    assert found.exponents[0] == pytest.approx(0.9056, abs=4 * found.errors[0])
    assert abs(found.exponents[1]) < 0.01
    assert found.kaplan_yorke == pytest.approx(2.062, abs=0.003)
    assert found.errors[0] < 0.015


def test_equations_and_torch_have_the_same_exponents():
    options = {"duration": 3, "interval": 0.5, "rtol": 1e-8, "atol": 1e-8}
    by_equations = dynamics.lyapunov_spectrum(models.lorenz(), **options)
    by_torch = dynamics.lyapunov_spectrum(lorenz_by_torch, [1.0, 1.0, 1.0], **options)
    assert by_torch.exponents == pytest.approx(by_equations.exponents, abs=1e-5)


def test_exponents_of_maps():
    many = dynamics.lyapunov_spectrum(
        models.henon(), {"x": np.linspace(-0.1, 0.1, 40), "y": 0.1}, duration=1500, transient=50
    )
    assert many.exponents.shape == (40, 2)
    assert many.exponents[:, 0].mean() == pytest.approx(0.4192, abs=0.004)
    assert many.exponents.sum(axis=1) == pytest.approx(np.log(0.3), abs=1e-9)
    logistic = dynamics.lyapunov_spectrum(Map(lambda s: 4 * s * (1 - s)), [[0.3]], duration=4000)
    assert logistic.exponents[0, 0] == pytest.approx(np.log(2), abs=0.02)


def test_learned_functions_have_exponents_natively():
    force = sp.Function("force")
    system = System({x: v, v: force(x) - v}, learned={force: MLP(hidden=(4,))}, initial={x: 0.5, v: 0.0})
    field = sciml.compile(system, seed=3)
    by_field = dynamics.lyapunov_spectrum(field, duration=5)
    plain = lambda t, s: field(t, s)  # noqa: E731 (hides the System)
    by_torch = dynamics.lyapunov_spectrum(plain, [0.5, 0.0], duration=5)
    assert by_field.exponents == pytest.approx(by_torch.exponents, abs=1e-6)
    assert by_field.exponents.sum() == pytest.approx(-1.0, abs=1e-6)


def test_a_section_of_a_circle_is_a_point_each_turn():
    circle = System({x: v, v: -x}, initial={x: 1.0, v: 0.0})
    frame = dynamics.poincare_section(circle, x, duration=20.0)
    assert frame.index.to_numpy() == pytest.approx(1.5 * np.pi + 2 * np.pi * np.arange(3), abs=1e-6)
    assert frame["v"].to_numpy() == pytest.approx(1.0, abs=1e-6)
    by_torch = dynamics.poincare_section(
        lambda t, s: torch.stack([s[..., 1], -s[..., 0]], -1), lambda t, s: s[..., 0], [1.0, 0.0], duration=20.0
    )
    assert by_torch.index.to_numpy() == pytest.approx(frame.index.to_numpy(), abs=1e-6)


def test_periods_double_where_theory_says():
    frame = dynamics.bifurcation_sweep(
        models.logistic_map(), "r", [2.9, 3.2, 3.5], transient=2000, duration=64, decimals=6
    )
    assert frame.groupby("r").size().tolist() == [1, 2, 4]
    flow = dynamics.bifurcation_sweep(models.rossler(), "c", [2.5, 3.5], transient=100, duration=20, decimals=1)
    assert flow.groupby("c").size().tolist() == [1, 2]


def test_torch_functions_are_swept_as_systems_are():
    def logistic(r):
        return dynamics.Map(lambda y: r * y * (1 - y))

    given = {"transient": 300, "duration": 32, "decimals": 6}
    by_torch = dynamics.bifurcation_sweep(logistic, "r", [2.9, 3.5, 4.5], y0=[0.2], **given)
    by_system = dynamics.bifurcation_sweep(models.logistic_map(), "r", [2.9, 3.5, 4.5], y0={"x": 0.2}, **given)
    assert by_torch.columns.tolist() == ["r", "y0"]  # at 4.5 all escape, and no row is left
    np.testing.assert_allclose(by_torch, by_system, atol=1e-6)

    def van_der_pol(mu):
        return lambda t, y: torch.stack([y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], dim=-1)

    given = {"transient": 40, "duration": 20, "decimals": 3}
    by_torch = dynamics.bifurcation_sweep(van_der_pol, "mu", [0.5, 1.0], y0=[2.0, 0.0], **given)
    by_system = dynamics.bifurcation_sweep(models.van_der_pol(), "mu", [0.5, 1.0], y0={"x": 2.0, "v": 0.0}, **given)
    np.testing.assert_allclose(by_torch, by_system, atol=2e-3)


def test_a_balance_closes_and_tells_what_is_kept():
    system = models.hamiltonian_pendulum()
    q, p = system.states
    length, mass = 1.0, 1.0
    energy = p**2 / (2 * mass * length**2) - mass * 9.81 * length * sp.cos(q)
    kept = dynamics.energy_balance(system, energy, np.linspace(0, 10, 11), initial={q: 1.0, p: 0.0})
    assert kept.drift < 1e-7
    damped = models.damped_oscillator()
    position, speed = damped.states
    lost = dynamics.energy_balance(damped, (position**2 + speed**2) / 2, np.linspace(0, 5, 6))
    assert not lost.conserved
    assert lost.values[-1] < lost.values[0]
    assert lost.residual < 1e-8


def test_the_constants_of_lotka_volterra_and_of_a_rigid_body_are_found():
    system = models.lotka_volterra()
    prey, predator = system.states
    library = [prey, predator, prey**2, prey * predator, sp.log(prey), sp.log(predator)]
    (kept,) = dynamics.conserved_quantities(system, library, {prey: (0.5, 3), predator: (0.5, 3)})
    assert sp.simplify(system.time_derivative(kept).subs({k: p.value for k, p in system.parameters.items()})) == 0 or (
        abs(
            sp.lambdify(
                [prey, predator], system.time_derivative(kept).subs({k: p.value for k, p in system.parameters.items()})
            )(1.3, 0.7)
        )
        < 1e-9
    )
    a, b, c = sp.symbols("a b c", real=True)
    body = System({a: b * c, b: -2 * a * c, c: a * b})
    assert len(dynamics.conserved_quantities(body, 2, {a: (-1, 1), b: (-1, 1), c: (-1, 1)})) == 2
    assert dynamics.conserved_quantities(models.lorenz(), 2, CUBE) == []


def test_gradient_fields_are_told_from_others():
    bowl = lambda t, s: -torch.stack([4 * s[..., 0] ** 3 + s[..., 1], s[..., 0] + 2 * s[..., 1]], -1)  # noqa: E731
    assert dynamics.is_gradient_field(bowl, ([-1, -1], [1, 1]))
    verdict = dynamics.is_gradient_field(System({x: y, y: -x}), {x: (-1, 1), y: (-1, 1)})
    assert not verdict
    assert verdict.asymmetry == pytest.approx(1.0)
    assert "d(x')/dy = 1 but d(y')/dx = -1" in repr(verdict)


def test_the_spectrum_of_van_der_pol_turns_unstable_inside_its_cycle():
    system = models.van_der_pol(damping=5.0)
    path = sciml.simulate(system, np.linspace(0, 20, 101))
    eigenvalues = dynamics.jacobian_spectrum(system, path.states, path.times)
    trace = 5.0 * (1 - path["x"] ** 2)
    assert eigenvalues.sum(axis=1) == pytest.approx(trace, abs=1e-9)
    assert eigenvalues.real.max() > 0 > -5 > eigenvalues.real.min()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dynamics.fixed_points(lambda t, s: s[..., :1], ([0, 0], [1, 1])), ModelError, "not square"),
        (lambda: dynamics.jacobian_spectrum(lambda t, s: s[..., :1], np.ones((1, 2))), ModelError, "not square"),
        (lambda: dynamics.is_gradient_field(lambda t, s: s[..., :1], ([0, 0], [1, 1])), ModelError, "not square"),
        (lambda: dynamics.lyapunov_spectrum(TO_THREE, [1.0, 2.0], duration=9), ModelError, "not square"),
        (lambda: dynamics.backpropagate(TO_THREE, torch.ones(3, 2), torch.ones(2)), ModelError, "not square"),
        (lambda: dynamics.fixed_points(dynamics.Map(torch.tanh), [(-1, 1)]), DataError, "`bounds` has 1 entries"),
        (lambda: dynamics.fixed_points(models.lorenz(), {"x": (0, 1)}), DataError, "no entry for the state `y`"),
        (lambda: dynamics.fixed_points(models.logistic_map(), {"x": (1, 0)}), DataError, "below the upper one"),
        (lambda: dynamics.fixed_points(3.0, ([0], [1])), ModelError, "cannot be analyzed"),
        (lambda: dynamics.lyapunov_spectrum(models.lorenz(), duration=0), DataError, "`duration=0` must be positive"),
        (lambda: dynamics.lyapunov_spectrum(models.lorenz(), duration=1, count=4), ModelError, "between 1 and 3"),
        (lambda: dynamics.lyapunov_spectrum(lorenz_by_torch, duration=1), DataError, "give `y0`"),
        (lambda: dynamics.lyapunov_spectrum(models.bouncing_ball(), duration=1), ModelError, "has events"),
        (
            lambda: dynamics.lyapunov_spectrum(models.henon(), [50.0, 0.0], duration=99),
            SolveError,
            "left the finite numbers",
        ),
        (lambda: dynamics.is_gradient_field(models.henon(), ([0, 0], [1, 1])), ModelError, "a map is not a field"),
        (lambda: dynamics.poincare_section(models.henon(), x, duration=1), ModelError, "is of a flow"),
        (
            lambda: dynamics.bifurcation_sweep(models.henon(), "c", [1], transient=1, duration=1),
            ModelError,
            "`c` is not",
        ),
        (
            lambda: dynamics.bifurcation_sweep(dynamics.Map(torch.tanh), "g", [1], transient=1, duration=1),
            ModelError,
            "`Map` has no parameters",
        ),
        (
            lambda: dynamics.bifurcation_sweep(models.henon(), "a", [np.nan], transient=1, duration=1),
            DataError,
            "a list of finite numbers",
        ),
        (
            lambda: dynamics.bifurcation_sweep(models.henon(), "a", [1], transient=-1, duration=1),
            DataError,
            "`transient=-1`",
        ),
        (lambda: dynamics.kaplan_yorke_dimension(np.array([1.0, -0.5])), DataError, "never add up"),
        (lambda: dynamics.conserved_quantities(models.lorenz(), [], CUBE), DataError, "holds no terms"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_pictures_of_dynamics_are_drawn(tmp_path):
    system = models.van_der_pol()
    window = {"x": (-3, 3), "v": (-4, 4)}
    path = sciml.simulate(system, np.linspace(0, 20, 201))
    points = dynamics.fixed_points(system, window)
    figure = sciml.plot.phase_portrait(
        system, window, trajectories=[path.states], points=points, path=tmp_path / "portrait.png"
    )
    assert [a.get_xlabel() for a in figure.axes] == ["x"]
    sciml.plot.spectrum(dynamics.jacobian_spectrum(system, path.states), path=tmp_path / "spectrum.png")
    sciml.plot.lyapunov(dynamics.lyapunov_spectrum(models.henon(), duration=300), tmp_path / "lyapunov.png")
    sweep = dynamics.bifurcation_sweep(
        models.logistic_map(), "r", np.linspace(2.5, 4, 300), transient=300, duration=100
    )
    sciml.plot.bifurcation(sweep, path=tmp_path / "bifurcation.png")
    assert len(list(tmp_path.glob("*.png"))) == 4
    with pytest.raises(ModelError, match="flow with two states"):
        sciml.plot.phase_portrait(models.lorenz(), CUBE)
