"""Failures name time, trajectory, component, cause and stiffness; complex states and limits on steps."""

import math

import pytest
import sympy as sp
import torch
from problems import explosion

import sciml
from sciml.errors import ModelError, SolveError
from sciml.solvers import RK4, Backsolve, Checkpointed, Direct, Dopri5, Kvaerno5, Status, Tsit5, solve

x, y = sp.symbols("x y", real=True)
f = sp.Function("f")


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), RK4(step=0.3), Kvaerno5()], ids=str)
def test_the_term_that_left_the_finite_numbers_is_named(solver):
    field = sciml.compile(sciml.System({x: x + sp.log(1 - y), y: sp.Integer(1)}, initial={x: 1, y: 0}))
    # The first row would reach y = 1 at t = 1, the second one never.
    y0 = torch.tensor([[1.0, 0.0], [1.0, -5.0]], dtype=torch.float64)
    expected = (
        r"of trajectory 0 at t = \d.*The first to leave was the term `log\(1 - y\)` in the equation of `x`.*1 of 2"
    )
    with pytest.raises(SolveError, match=expected):
        solve(field, y0, grid(0.0, 2.0), solver=solver)
    solution = solve(field, y0, grid(0.0, 2.0), solver=solver, throw=False)
    (failure,) = solution.failures
    assert (failure.trajectory, failure.component, failure.status) == (0, "x", Status.NON_FINITE)
    assert failure.cause == "the term `log(1 - y)` in the equation of `x`"
    assert 0.8 < failure.time <= 1.0 + 1e-12
    assert solution.ys[1].isfinite().all()


def test_the_learned_output_that_left_the_finite_numbers_is_named():
    field = sciml.compile(sciml.System({x: -x + f(x)}, learned={f: sciml.MLP(hidden=3)}, initial={x: 1}))
    assert solve(field, grid(1.0), grid(0.0, 1.0)).successful
    with torch.no_grad():
        next(iter(field.networks.parameters())).fill_(math.nan)
    with pytest.raises(SolveError, match=r"at t = 0 .*first to leave was the learned `f\(x\)` in the equation of `x`"):
        solve(field, grid(1.0), grid(0.0, 1.0))


def test_a_plain_field_has_its_component_named_by_number():
    def field(t, y):
        return torch.stack([y[..., 0] * 0 + 1, (1 - y[..., 0]).sqrt()], dim=-1)

    with pytest.raises(SolveError, match="The first to leave was `1`"):
        solve(field, grid(0.0, 0.0), grid(0.0, 2.0))
    assert solve(field, grid(0.0, 0.0), grid(0.0, 0.9)).successful


def test_a_solution_that_ends_is_not_called_stiff():
    with pytest.raises(SolveError, match=r"step size fell below .* at t = 0\.5.*Its solution may end there"):
        solve(explosion, grid(2.0), grid(0.0, 1.0))


def test_failures_measure_stiffness():
    def relaxation(t, y):
        return -1e5 * (y - torch.cos(t))

    solution = solve(relaxation, grid(1.5), grid(0.0, 1.0), max_steps=200, throw=False)
    assert 1 < solution.failures[0].stiffness < 6
    assert solve(relaxation, grid(1.5), grid(0.0, 1.0), max_steps=200, solver=Kvaerno5()).successful


def test_a_field_that_autograd_cannot_follow_fails_with_its_own_reason():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y**2

    with pytest.raises(SolveError, match="step size fell below"):
        solve(lambda t, y: Opaque.apply(y), grid(2.0), grid(0.0, 1.0))


def test_first_step_and_limits_hold_backwards_too():
    seen = []

    def field(t, y):
        seen.append(float(t))
        return -y

    solve(field, grid(1.0), grid(0.0, -1.0), first_step=0.25)
    assert min(seen[1:8]) == pytest.approx(-0.25)
    with pytest.raises(SolveError, match=r"`max_steps=3` was reached at t = -"):
        solve(field, grid(1.0), grid(0.0, -50.0), max_steps=3)
    with pytest.raises(SolveError, match=r"step size fell below 0.4 at t = 0 "):
        solve(lambda t, y: -100 * y, grid(1.0), grid(0.0, -1.0), min_step=0.4, first_step=0.3)


def test_solver_and_fields_of_the_wrong_kind_are_refused():
    with pytest.raises(ModelError, match=r"`solver` is 'dopri5'. Expected a method, such as"):
        solve(explosion, grid(0.1), grid(0.0, 1.0), solver="dopri5")
    assert solve(explosion, grid(0.1), grid(0.0, 1.0), solver=Dopri5()).successful


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("method", r"no argument `method`. Here it is `solver=Dopri5\(\)`, .*; `sciml.odeint` takes names"),
        ("atoll", "no argument `atoll`. Did you mean `atol`"),
        ("colour", "no argument `colour`. There are `solver`, `rtol`, .*`max_resets`"),
    ],
)
def test_arguments_of_other_libraries_are_told_by_their_name_here(name, message):
    with pytest.raises(ModelError, match=message):
        solve(explosion, grid(0.1), grid(0.0, 1.0), **{name: 1})


# Complex states


def spiral(rates):
    def field(t, z):
        return rates * z + 0.1 * z.conj() * torch.cos(t)

    return field


RATES = torch.tensor([-0.3 + 1.0j, 0.2 - 0.5j], dtype=torch.complex128)
Z0 = torch.tensor([1.0 + 0.5j, 0.3j], dtype=torch.complex128)


@pytest.mark.parametrize("solver", [Tsit5(), Kvaerno5(), RK4(step=0.05)], ids=str)
def test_complex_states_are_those_of_real_and_imaginary_parts(solver):
    def pairs(t, y):
        z = torch.view_as_complex(y.unflatten(-1, (2, 2)))
        return torch.view_as_real(spiral(RATES)(t, z)).flatten(-2)

    ts, options = torch.linspace(0, 2, 5, dtype=torch.float64), {"solver": solver, "rtol": 1e-9, "atol": 1e-9}
    found = solve(spiral(RATES), Z0, ts, dense=True, **options)
    real = solve(pairs, torch.view_as_real(Z0).flatten(), ts, **options).ys
    assert found.ys.dtype == torch.complex128
    torch.testing.assert_close(torch.view_as_real(found.ys).flatten(1), real, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.evaluate(ts), found.ys, rtol=1e-13, atol=1e-13)
    batch = solve(spiral(RATES), torch.stack([Z0, 2 * Z0]), ts, **options).ys
    torch.testing.assert_close(batch[0], found.ys, rtol=1e-10, atol=1e-10)


def test_the_error_norm_of_complex_states_goes_by_modulus():
    def rotation(t, z):
        return 2j * z

    # Turned by any phase, a solution takes the same steps; a norm by components would not.
    ts = grid(0.0, 5.0)
    runs = [
        solve(rotation, torch.full((1,), complex(math.cos(a), math.sin(a)), dtype=torch.complex128), ts, atol=1e-12)
        for a in (0.0, 0.3, 1.1)
    ]
    for a, run in zip((0.0, 0.3, 1.1), runs):
        turned = runs[0].ys * complex(math.cos(a), math.sin(a))
        torch.testing.assert_close(run.ys, turned, rtol=1e-11, atol=1e-11)
        assert run.stats == runs[0].stats


@pytest.mark.parametrize(
    "mode", [Direct(parallel=False), Direct(parallel=True), Checkpointed(), Backsolve()], ids=lambda m: str(m)[:22]
)
def test_complex_gradients_match_finite_differences(mode):
    ts = torch.linspace(0, 1, 3, dtype=torch.float64)

    def value(rates, z0):
        ys = solve(spiral(rates), z0, ts, solver=RK4(step=0.05), gradients=mode).ys
        return ys.abs().square().sum() + ys[-1].real.sum()

    rates, z0 = RATES.clone().requires_grad_(), Z0.clone().requires_grad_()
    found = torch.autograd.grad(value(rates, z0), [rates, z0])
    step = 1e-6
    for which, slope in enumerate(found):
        for i in range(2):
            for direction, part in ((1.0, slope[i].real), (1j, slope[i].imag)):
                shift = torch.zeros(2, dtype=torch.complex128)
                shift[i] = step * direction
                ahead, behind = (
                    value(*(p + s * shift if k == which else p for k, p in enumerate((RATES, Z0)))) for s in (1, -1)
                )
                expected = (ahead - behind) / (2 * step)
                assert float(part) == pytest.approx(float(expected), rel=2e-5, abs=1e-6)


def test_a_failing_complex_trajectory_tells_its_component_and_state():
    z0 = torch.tensor([[0.1, 2.0], [0.1, 0.1]], dtype=torch.complex128)
    solution = solve(explosion, z0, grid(0.0, 1.0), throw=False)
    assert solution.status == (Status.STEP_UNDERFLOW, Status.SUCCESS)
    assert solution.failures[0].component == "1"
    assert solution.failures[0].state.dtype == torch.complex128
