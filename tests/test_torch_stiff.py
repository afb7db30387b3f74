"""The implicit methods in torch: reference solutions, Jacobians, batches, failures."""

import math

import ivp
import numpy as np
import pytest
import sympy as sp
import torch

import sciml
from sciml import MLP, System
from sciml.errors import SolveError
from sciml.solvers import Kvaerno3, Kvaerno5, Status, Tsit5, solve
from sciml.solvers.field import jacobian


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


def test_robertson_has_eight_digits():
    problem = ivp.robertson()
    field = sciml.compile(problem.system)
    options = {"solver": Kvaerno5(), "rtol": 1e-8, "atol": 1e-16}
    with torch.no_grad():
        ys = solve(field, grid(*problem.initial), grid(0.0, problem.end), **options).ys
    np.testing.assert_allclose(ys[-1], problem.solution, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hires", "orego", "pollution"])
def test_stiff_problems_end_at_their_reference_solution(name):
    problem = getattr(ivp, name)()
    field = sciml.compile(problem.system)
    options = {"solver": Kvaerno5(), "rtol": 1e-8, "atol": 1e-16}
    with torch.no_grad():
        ys = solve(field, grid(*problem.initial), grid(0.0, problem.end), **options).ys
    np.testing.assert_allclose(ys[-1], problem.solution, rtol=1e-6)


def van_der_pol(t, y):
    x, v = y.unbind(dim=-1)
    return torch.stack([v, 1000 * (1 - x**2) * v - x], dim=-1)


@pytest.mark.slow
def test_stiff_van_der_pol_agrees_with_radau():
    ts, options = grid(0.0, 500.0, 1500.0), {"solver": Kvaerno5(), "rtol": 1e-8, "atol": 1e-12}
    ys = solve(van_der_pol, grid(2.0, 0.0), ts, **options).ys
    # SciPy's Radau at rtol = 1e-12.
    np.testing.assert_allclose(ys[1:, 0], [1.5967689510525451, -1.3547459194865812], rtol=1e-6)


@pytest.mark.parametrize("solver", [Kvaerno3(), Kvaerno5()], ids=str)
def test_steps_follow_the_slow_manifold_and_not_the_stiffness(solver):
    def relaxation(t, y):
        return -1e6 * (y - torch.cos(t))

    solution = solve(relaxation, grid(2.0), grid(0.0, 3.0), solver=solver)
    assert solution.ys[-1, 0].item() == pytest.approx(math.cos(3.0), abs=1e-5)
    assert solution.stats.accepted[0] < 200


def test_the_jacobian_of_the_equations_is_that_of_autograd():
    x, y, k = sp.symbols("x y k", real=True)
    f = sp.Function("f")
    system = System(
        {x: -k * x * y + f(x, y) + sp.Abs(x), y: sp.Max(x, 0) * sp.floor(y) + sp.sign(x) * y},
        parameters={k: 2.0},
        learned={f: MLP(hidden=4)},
    )
    field = sciml.compile(system)
    points = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = jacobian(field, torch.zeros(5, 1, dtype=torch.float64), points)
    torch.testing.assert_close(field.jacobian(0.0, points), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(field.jacobian(0.0, points[0]), expected[0], rtol=1e-12, atol=1e-12)


def test_a_fields_own_jacobian_is_used_and_gives_the_same_solution():
    class Relaxation:
        asked = 0

        def __call__(self, t, y):
            return -100.0 * (y**3 - torch.cos(t))

        def jacobian(self, t, y):
            self.asked += 1
            return torch.diag_embed(-300.0 * y**2)

    field, ts = Relaxation(), grid(0.0, 0.5, 1.0)
    for y0 in (grid(1.5, 2.0), grid(1.5, 2.0, 1.0, 1.0).view(2, 2)):
        ys = solve(field, y0, ts, solver=Kvaerno5()).ys
        plain = solve(lambda t, y: field(t, y), y0, ts, solver=Kvaerno5()).ys
        torch.testing.assert_close(ys, plain, rtol=1e-10, atol=1e-10)
    assert field.asked > 10


@pytest.mark.parametrize("solver", [Kvaerno3(), Kvaerno5(), Kvaerno5(step=0.02)], ids=str)
@pytest.mark.parametrize("own", ["shared grid", "own ragged grids"])
def test_a_batch_equals_its_trajectories_one_by_one(solver, own):
    def field(t, y):
        return torch.stack([y[..., 1], 20 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], dim=-1)

    y0 = torch.tensor([[2.0, 0.0], [0.5, 1.0], [-1.0, 3.0]], dtype=torch.float64)
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    if own != "shared grid":
        ts = torch.stack([ts, 0.5 * ts, ts**2])
        ts[1, 3:], ts[2, 4:] = math.nan, math.nan
    options = {"solver": solver, "rtol": 1e-4, "atol": 1e-4}
    batch = solve(field, y0, ts, **options)
    for i in range(3):
        times = ts if ts.ndim == 1 else ts[i][~ts[i].isnan()]
        single = solve(field, y0[i], times, **options)
        torch.testing.assert_close(batch.ys[i, : len(times)], single.ys, rtol=1e-10, atol=1e-10)
        assert batch.ys[i, len(times) :].isnan().all()
        assert batch.stats.accepted[i] == single.stats.accepted[0]
        assert batch.stats.rejected[i] == single.stats.rejected[0]


@pytest.mark.parametrize("solver", [Kvaerno3(), Kvaerno5()], ids=str)
def test_images_are_solved_implicitly(solver):
    y0 = torch.rand(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ys = solve(lambda t, y: -50 * (y - torch.sin(t)), y0, grid(0.0, 1.0), solver=solver).ys
    # y' = -50 (y - sin t): the slow solution is (2500 sin t - 50 cos t) / 2501.
    slow = (2500 * math.sin(1.0) - 50 * math.cos(1.0)) / 2501
    torch.testing.assert_close(ys[:, -1], torch.full_like(y0, slow), rtol=0, atol=1e-5)


def test_a_step_that_newton_cannot_solve_is_shortened_or_told():
    def wrong(t, y):
        return 1e4 * (y**3 - y)

    y0 = torch.tensor([[0.5], [0.0]], dtype=torch.float64)
    adaptive = solve(wrong, y0, grid(0.0, 1.0), solver=Kvaerno5(), throw=False)
    assert adaptive.status == (Status.SUCCESS, Status.SUCCESS)
    assert adaptive.ys[0, -1].abs() < 1e-6
    runaway = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    fixed = solve(wrong, runaway, grid(0.0, 1.0), solver=Kvaerno3(step=0.1), throw=False)
    assert fixed.status == (Status.UNSOLVED, Status.SUCCESS)
    with pytest.raises(
        SolveError, match="equations of a step were not solved of trajectory 0 at t = 0 while solving with `Kvaerno3`"
    ):
        solve(wrong, runaway, grid(0.0, 1.0), solver=Kvaerno3(step=0.1))


def test_the_gradient_through_a_stiff_solve_is_exact():
    def run(w):
        def field(t, y):
            a, b, c = y.unbind(dim=-1)
            slow, fast, back = w[0] * a, w[1] * b * b, w[2] * b * c
            return torch.stack([back - slow, slow - back - fast, fast], dim=-1)

        ts = grid(0.0, 0.4, 4.0, 40.0)
        return solve(field, grid(1.0, 0.0, 0.0), ts, solver=Kvaerno5(), rtol=1e-7, atol=1e-11).ys[:, ::2].sum(dim=0)[0]

    w = torch.tensor([0.04, 3e7, 1e4], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(run(w), w)[0] * w.detach()
    expected = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for i in range(3):
            shift = torch.ones(3, dtype=torch.float64)
            shift[i] += 1e-3
            expected[i] = (run(w * shift) - run(w / shift)) / (2 * math.log1p(1e-3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


def test_an_explicit_method_says_that_a_system_is_stiff():
    problem = ivp.robertson()
    field = sciml.compile(problem.system)
    y0, ts = grid(*problem.initial), grid(0.0, 1e4)
    with pytest.raises(SolveError, match=r"`max_steps=300` .*spectral radius is \d.*looks stiff: try `Kvaerno5\(\)`"):
        solve(field, y0, ts, solver=Tsit5(), max_steps=300)
    assert solve(field, y0, ts, solver=Kvaerno5(), max_steps=300, rtol=1e-4, atol=1e-9).successful
