"""Gradients of solutions: against finite differences, against each other, and beside failures."""

import functools

import pytest
import torch
from problems import explosion, pendulum
from torch import nn

from sciml.errors import ModelError, SolveError
from sciml.solvers import RK4, Backsolve, Direct, Dopri5, Euler, Heun, Tsit5, solve

SOLVERS = [Euler(step=0.1), Heun(step=0.1), RK4(step=0.1), Dopri5(), Tsit5(), Tsit5(step=0.2)]
DIRECT = [Direct(parallel=False), Direct(parallel=True)]
TS = torch.linspace(0, 2, 6, dtype=torch.float64)
WEIGHTS = (2.0, 0.3, 0.7)


def weights():
    return torch.tensor(WEIGHTS, dtype=torch.float64, requires_grad=True)


def state(batch):
    y0 = torch.tensor([0.4, -0.2], dtype=torch.float64)
    y0 = torch.stack([y0, -2 * y0, y0 + 1]) if batch else y0
    return y0.requires_grad_()


def loss(y0, w, gradients=None, ts=TS, **options):
    ys = solve(pendulum(w), y0, ts, gradients=gradients or Direct(), **options).ys
    return torch.nansum(ys * torch.sin(1 + torch.arange(ys.numel()).view(ys.shape)))


def gradient(y0, w, gradients, **options):
    return torch.autograd.grad(loss(y0, w, gradients, **options), [y0, w])


def finite_differences(function, x, step=1e-5):
    found = torch.zeros_like(x)
    for i in range(x.numel()):
        shift = torch.zeros(x.numel(), dtype=x.dtype)
        shift[i] = step
        shift = shift.view(x.shape)
        with torch.no_grad():
            found.view(-1)[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return found


def relative_error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("direct", DIRECT)
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_direct_gradients_match_finite_differences(solver, direct, batch):
    options = {"solver": solver, "rtol": 1e-11, "atol": 1e-11}
    y0, w = state(batch), weights()
    by_state, by_weights = gradient(y0, w, direct, **options)
    assert relative_error(by_state, finite_differences(lambda x: loss(x, w, **options), y0)) < 1e-6
    assert relative_error(by_weights, finite_differences(lambda x: loss(y0, x, **options), w)) < 1e-6


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_all_stages_at_once_give_the_gradient_of_step_by_step(solver, batch):
    ts = torch.stack([TS, -TS, TS / 2]) if batch else TS
    if batch:
        ts[0, 4:] = torch.nan
    one, other = (gradient(state(batch), weights(), direct, solver=solver, ts=ts) for direct in DIRECT)
    # The order of sums changes the error estimate, and with it the lengths of the steps that it steers.
    tolerance = 1e-9 if solver.adaptive else 1e-12
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("solver", [Dopri5(), Tsit5(), RK4(step=0.02)], ids=str)
def test_backsolve_matches_direct(solver, batch):
    options = {"solver": solver, "rtol": 1e-8, "atol": 1e-8}
    for a, b in zip(
        gradient(state(batch), weights(), Backsolve(), **options),
        gradient(state(batch), weights(), Direct(), **options),
    ):
        assert relative_error(a, b) < 1e-5


@pytest.mark.parametrize("direct", DIRECT)
def test_direct_has_second_derivatives_with_fixed_steps(direct):
    def final(y0, w):
        return solve(pendulum(w), y0, TS[:3], solver=RK4(step=0.2), gradients=direct).ys

    assert torch.autograd.gradcheck(final, (state(False), weights()))
    assert torch.autograd.gradgradcheck(final, (state(False), weights()))


@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.05)], ids=str)
@pytest.mark.parametrize("gradients", [*DIRECT, Backsolve()])
def test_a_diverging_trajectory_does_not_change_the_gradients_of_its_neighbors(gradients, solver):
    ts = torch.linspace(0, 2, 6, dtype=torch.float64)

    def run(starts):
        y0 = torch.tensor(starts, dtype=torch.float64)[:, None].requires_grad_()
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        solution = solve(lambda t, y: scale * explosion(t, y), y0, ts, solver=solver, gradients=gradients, throw=False)
        sound = torch.stack([row for row, status in zip(solution.ys, solution.status) if status == 0])
        by_state, by_scale = torch.autograd.grad(sound.square().sum(), [y0, scale])
        return by_state, by_scale, solution.status

    by_state, by_scale, status = run([-0.5, 3.0, 0.2])
    alone, scale_alone, _ = run([-0.5, 0.2])
    assert status[1] != 0
    torch.testing.assert_close(by_state[[0, 2]], alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_scale, scale_alone, rtol=1e-12, atol=1e-12)
    assert by_state[1].item() == 0.0


@pytest.mark.parametrize("gradients", [*DIRECT, Backsolve()])
def test_a_field_without_a_value_at_one_start_poisons_no_gradient(gradients):
    y0 = torch.tensor([[1.0], [-1.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    solution = solve(lambda t, y: scale * y.sqrt(), y0, TS, gradients=gradients, throw=False)
    by_state, by_scale = torch.autograd.grad(solution.ys[0, -1].sum(), [y0, scale])
    # y = (1 + s t / 2)^2 from y0 = 1: at t = 2, dy/ds = 4 and dy/dy0 = 2.
    assert by_scale.item() == pytest.approx(4.0, abs=1e-4)
    assert by_state.flatten().tolist() == pytest.approx([2.0, 0.0], abs=1e-4)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))

    def forward(self, t, y):
        return pendulum(self.w)(t, y)


class Plain:
    def __init__(self, w, origin=None):
        self.w, self.origin = w, origin

    def __call__(self, t, y):
        return pendulum(self.w)(t, y)

    def rate(self, t, y):
        return pendulum(self.w)(t, y)


GLOBAL = weights()


def uses_global(t, y):
    return pendulum(GLOBAL)(t, y)


def with_weights(w, t, y):
    return pendulum(w)(t, y)


def late(w, t, y):
    return y * 0 if t == 0 else pendulum(w)(t, y)


@pytest.mark.parametrize("gradients", [Direct(parallel=True), Backsolve()])
@pytest.mark.parametrize(
    "way", ["module", "closure", "partial", "bound", "object", "global", "late", "computed", "both"]
)
def test_parameters_are_found_wherever_the_field_keeps_them(way, gradients):
    w, module = weights(), Module()
    raw = weights()
    field, target = {
        "module": (module, module.w),
        "closure": (lambda t, y: pendulum(w)(t, y), w),
        "partial": (functools.partial(with_weights, w), w),
        "bound": (Plain(w).rate, w),
        "object": (Plain(w), w),
        "global": (uses_global, GLOBAL),
        "late": (functools.partial(late, w), w),
        "computed": (pendulum(raw * 1.0), raw),
        "both": (Plain(raw * 1.0, origin=raw), raw),
    }[way]
    options = {"rtol": 1e-9, "atol": 1e-9}
    y0 = state(False).detach()
    if way == "late":
        # The field starts at rest; an automatic first step cannot see that it moves.
        options["first_step"] = 1e-3
    ys = solve(field, y0, TS, gradients=gradients, **options).ys
    (found,) = torch.autograd.grad(ys.square().sum(), target, retain_graph=True)
    ys = solve(field, y0, TS, gradients=Direct(parallel=False), **options).ys
    (expected,) = torch.autograd.grad(ys.square().sum(), target)
    assert expected.abs().min() > 0
    assert relative_error(found, expected) < 1e-4


def test_a_field_that_vmap_cannot_follow_is_differentiated_step_by_step():
    w, y0 = weights(), state(False).detach()

    def branching(t, y):
        return w[0] * y if y.detach()[0].item() > 0 else -w[1] * y

    found, expected = (
        torch.autograd.grad(solve(branching, y0, TS, gradients=direct).ys.sum(), w)[0] for direct in DIRECT[::-1]
    )
    torch.testing.assert_close(found, expected)


def test_a_field_with_a_memory_is_differentiated_step_by_step():
    w, y0 = weights(), state(False).detach()
    calls = [0]

    def aging(t, y):
        calls[0] += 1
        return -w[0] * y * (1 + 1e-3 * calls[0])

    calls[0] = 0
    ys = solve(aging, y0, TS, solver=RK4(step=0.4), gradients=Direct(parallel=True)).ys
    assert torch.autograd.grad(ys.sum(), w)[0][0] != 0


@pytest.mark.parametrize("gradients", [*DIRECT, Backsolve()])
def test_nothing_to_differentiate_gives_no_graph(gradients):
    field = pendulum(weights().detach())
    assert not solve(field, state(False).detach(), TS, gradients=gradients).ys.requires_grad
    with torch.no_grad():
        assert not solve(field, state(False), TS, gradients=gradients).ys.requires_grad


def test_dense_output_carries_the_gradient():
    y0, w = state(False), weights()
    ys = solve(pendulum(w), y0, TS, dense=True).evaluate(TS[1:])
    expected = solve(pendulum(w), y0, TS).ys[1:]
    for a, b in zip(torch.autograd.grad(ys.sum(), [y0, w]), torch.autograd.grad(expected.sum(), [y0, w])):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_backsolve_refuses_what_it_cannot_do():
    y0, w = state(False), weights()
    with pytest.raises(ModelError, match=r"`Backsolve\(\)` keeps no steps for `dense=True`"):
        solve(pendulum(w), y0, TS, gradients=Backsolve(), dense=True)
    total = loss(y0, w, Backsolve())
    with pytest.raises(SolveError, match=r"no second derivatives. Use `Direct\(\)`"):
        torch.autograd.grad(total, w, create_graph=True)
