"""Every method with every gradient mode: against finite differences and against each other."""

import pytest
import torch
from problems import METHODS, driven, lorenz, pendulum

from sciml.errors import DataError, ModelError, SolveError
from sciml.solvers import (
    RK4,
    Backsolve,
    Bosh3,
    Checkpointed,
    Direct,
    Dopri5,
    Dopri8,
    Euler,
    Heun,
    Kvaerno3,
    Kvaerno5,
    Leapfrog,
    Midpoint,
    Tsit5,
    Yoshida4,
    Yoshida6,
    solve,
)

TS = torch.linspace(0, 1, 4, dtype=torch.float64)
SPLITTINGS = {f"{m.__name__}(step=0.1)": m(step=0.1, momenta=(1,)) for m in (Leapfrog, Yoshida4, Yoshida6)}
FIXED = {
    str(method): method
    for method in (
        *(Euler(step=0.02), Midpoint(step=0.05), Heun(step=0.05), Bosh3(step=0.1), RK4(step=0.1)),
        *(Dopri5(step=0.2), Tsit5(step=0.2), Dopri8(step=0.3), Kvaerno3(step=0.1), Kvaerno5(step=0.2)),
    )
}
ADAPTIVE = {f"{m.__name__}()": m() for m in (Heun, Bosh3, Dopri5, Tsit5, Dopri8, Kvaerno3, Kvaerno5)}
# Bosh3 and Heun would need thousands of steps for the finite differences.
LOOSE = {"Heun()": 1e-7, "Bosh3()": 1e-6, "Kvaerno3()": 1e-6}
SOLVERS = {**FIXED, **SPLITTINGS, **ADAPTIVE}
EXACT = {
    "step by step": Direct(parallel=False),
    "all stages at once": Direct(parallel=True),
    "checkpointed": Checkpointed(),
    "three segments": Checkpointed(segments=3),
}


def weights():
    return torch.tensor([2.0, 0.3, 0.7], dtype=torch.float64, requires_grad=True)


def state(batch):
    y0 = torch.tensor([0.4, -0.2], dtype=torch.float64)
    return (torch.stack([y0, -2 * y0, y0 + 1]) if batch else y0).requires_grad_()


def loss(y0, w, solver, gradients=None, ts=TS, tolerance=1e-9):
    ys = solve(driven(w), y0, ts, solver=solver, gradients=gradients or Direct(), rtol=tolerance, atol=tolerance).ys
    return torch.nansum(ys * torch.sin(1 + torch.arange(ys.numel()).view(ys.shape)))


def gradient(solver, gradients, batch=False, **options):
    y0, w = state(batch), weights()
    return torch.autograd.grad(loss(y0, w, solver, gradients, **options), [y0, w])


def differences(function, x, step=1e-4):
    """Central differences of order 4."""
    shifts = step * torch.eye(len(x), dtype=x.dtype)
    with torch.no_grad():
        near = torch.stack([function(x + s) - function(x - s) for s in shifts])
        far = torch.stack([function(x + 2 * s) - function(x - 2 * s) for s in shifts])
    return (8 * near - far) / (12 * step)


def relative_error(found, expected):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_exact_gradient_is_that_of_finite_differences(name):
    solver, y0, w = SOLVERS[name], state(False), weights()
    adaptive = solver.step is None
    # The steps of an adaptive method change with the parameters: the difference shrinks with the tolerance.
    tolerance = LOOSE.get(name, 1e-9 if "Kvaerno" in name else 1e-11)
    found = gradient(solver, Direct(), tolerance=tolerance)
    expected = (
        differences(lambda x: loss(x, w, solver, tolerance=tolerance), y0),
        differences(lambda x: loss(y0, x, solver, tolerance=tolerance), w),
    )
    limit = 1e-7 if not adaptive else max(1e-6, 300 * tolerance)
    assert relative_error(found, expected) < limit


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("name", SOLVERS)
def test_all_exact_modes_give_the_same_gradient(name, batch):
    ts = torch.stack([TS, -TS, TS / 2]) if batch else TS
    if batch:
        ts[0, 2:] = torch.nan
    options = {"batch": batch, "ts": ts, "tolerance": 1e-3}
    one, *others = (gradient(SOLVERS[name], mode, **options) for mode in EXACT.values())
    # Newton's iteration ends within a thousandth of the tolerance: the modes see the stage before and after the rest.
    # Without a graph NumPy takes the steps: another rounding of the error estimate, other lengths of the steps.
    limit = 1e-5 if "Kvaerno" in name else 1e-9 if name in ADAPTIVE else 1e-12
    for other in others:
        assert relative_error(other, one) < limit


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("name", SOLVERS)
def test_the_continuous_adjoint_approaches_the_exact_gradient(name, batch):
    solver = SOLVERS[name]
    tolerance = 1e-5 if name in LOOSE else 1e-7
    found, expected = (
        gradient(solver, mode, batch=batch, tolerance=tolerance) for mode in (Backsolve(), Direct(parallel=True))
    )
    limits = {"Euler": 0.1, "Midpoint": 1e-2, "Heun": 1e-2, "Bosh3": 1e-3, "Kvaerno3": 1e-3}
    limit = 1e-2 if name in LOOSE else limits.get(name.split("(")[0], 1e-4)
    # A splitting is reversible: the adjoint of its steps is the splitting of the adjoint.
    limit = 1e-12 if name in SPLITTINGS else limit
    assert relative_error(found, expected) < limit


def test_the_table_covers_every_method():
    assert {name.split("(")[0] for name in SOLVERS} == set(METHODS)


# Second derivatives and forward mode

SMOOTH = [RK4(step=0.25), Kvaerno5(step=0.5), Leapfrog(step=0.25, momenta=(1,))]


@pytest.mark.parametrize("direct", [Direct(parallel=False), Direct(parallel=True)], ids=["steps", "stages"])
@pytest.mark.parametrize("solver", SMOOTH, ids=str)
def test_second_derivatives_pass_gradgradcheck(solver, direct):
    def final(y0, w):
        return solve(driven(w), y0, TS[:3], solver=solver, gradients=direct, rtol=1e-12, atol=1e-12).ys

    assert torch.autograd.gradcheck(final, (state(False), weights()))
    assert torch.autograd.gradgradcheck(final, (state(False), weights()))


@pytest.mark.parametrize("direct", [Direct(parallel=False), Direct(parallel=True)], ids=["steps", "stages"])
def test_third_derivatives_through_implicit_steps_are_right_or_refused(direct):
    def end(rate, solver=SMOOTH[1]):
        options = {"gradients": direct, "rtol": 1e-12, "atol": 1e-12}
        y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 0.5], dtype=torch.float64)
        return solve(lambda t, y: -rate * y**2, y0, ts, solver=solver, **options).ys[-1].sum()

    rate = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(end(rate), rate, create_graph=True)
    # Two derivatives are right, and may be taken again.
    (second,) = torch.autograd.grad(first, rate, retain_graph=True)
    assert second.item() == pytest.approx(2 * 0.5**2 / 1.25**3, rel=2e-3)
    (kept,) = torch.autograd.grad(first, rate, create_graph=True)
    with pytest.raises(SolveError, match=r"two derivatives by `torch.autograd`.*`create_graph=True`.*`jacfwd`"):
        torch.autograd.grad(kept, rate)
    # An explicit method has all of them, and so have transforms of torch.func.
    slope = end(rate, RK4(step=0.05))
    for _ in range(3):
        (slope,) = torch.autograd.grad(slope, rate, create_graph=True)
    exact = -6 * 0.5**3 / 1.25**4
    assert slope.item() == pytest.approx(exact, rel=1e-2)
    third = torch.func.grad(torch.func.grad(torch.func.grad(end)))(rate.detach())
    assert third.item() == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("solver", [Tsit5(), *SMOOTH], ids=str)
def test_hessian_vector_products_match_differences_of_gradients(solver):
    y0, v = state(False).detach(), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def value(w):
        ys = solve(driven(w), y0, TS, solver=solver, rtol=1e-11, atol=1e-11).ys
        return ys.square().sum()

    w = weights()
    (slope,) = torch.autograd.grad(value(w), w, create_graph=True)
    (product,) = torch.autograd.grad(slope, w, v)
    step = 1e-4
    ahead, behind = (torch.autograd.grad(value(x), x)[0] for x in (w + step * v, w - step * v))
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.autograd.functional.hvp(value, w.detach(), v)[1], product, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.func.hessian(value)(w.detach()) @ v, product, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("name", ["Tsit5()", "Kvaerno5()", "Euler(step=0.02)", "Yoshida4(step=0.1)"])
def test_forward_mode_gives_the_sensitivities_of_reverse_mode(name, batch):
    y0 = state(batch).detach()

    def states(w):
        return solve(driven(w), y0, TS[:2], solver=SOLVERS[name]).ys

    expected = torch.autograd.functional.jacobian(states, weights().detach())
    torch.testing.assert_close(torch.func.jacfwd(states)(weights().detach()), expected, rtol=1e-9, atol=1e-9)
    direction = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    _, tangent = torch.func.jvp(states, (weights().detach(),), (direction,))
    torch.testing.assert_close(tangent, expected @ direction, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", [Checkpointed(), Backsolve()], ids=lambda m: type(m).__name__)
def test_what_a_mode_cannot_differentiate_is_refused(mode):
    name = type(mode).__name__
    y0, w = state(False), weights()
    with pytest.raises(ModelError, match=rf"`{name}\(\)` does not work inside transforms of `torch.func`"):
        torch.func.jacfwd(lambda w: loss(y0.detach(), w, Tsit5(), mode))(w.detach())
    with pytest.raises(ModelError, match=rf"`{name}\(\)` keeps no steps for `dense=True`"):
        solve(driven(w), y0, TS, gradients=mode, dense=True)
    with pytest.raises(SolveError, match=r"no second derivatives. Use `Direct\(\)`"):
        torch.autograd.grad(loss(y0, w, Tsit5(), mode), w, create_graph=True)
    assert gradient(Tsit5(), mode)[1].abs().min() > 0


# Gradients that cannot go missing


class Hidden:
    """Weights where no look finds them: behind slots and an index."""

    __slots__ = ("values",)

    def __init__(self, values):
        self.values = {"a": [values]}


@pytest.mark.parametrize("solver", [Tsit5(), Kvaerno5()], ids=str)
@pytest.mark.parametrize("mode", [*EXACT.values(), Backsolve()], ids=[*EXACT, "backsolve"])
def test_a_dependence_that_shows_late_is_found_or_refused(mode, solver):
    w, fixed = weights(), weights().detach()
    box = Hidden(w)

    def field(t, y):
        # At the initial time there is nothing to see; a value decides, which one call does not show.
        late = float(t.detach().max()) - 0.3
        return driven(fixed + late**3 * box.values["a"][0] if late > 0 else fixed)(t, y)

    def run():
        ys = solve(field, state(False).detach(), TS, solver=solver, gradients=mode, rtol=1e-7, atol=1e-7).ys
        return torch.autograd.grad(ys.square().sum(), w)[0]

    if isinstance(mode, Direct):
        assert run().abs().min() > 0
        return
    name = type(mode).__name__
    with pytest.raises(SolveError, match=rf"tensor of shape \(3,\).*`{name}\(parameters="):
        run()
    named = type(mode)(parameters=(w,))
    ys = solve(field, state(False).detach(), TS, solver=solver, gradients=named, rtol=1e-7, atol=1e-7).ys
    found = torch.autograd.grad(ys.square().sum(), w)[0]
    mode = Direct(parallel=False)
    torch.testing.assert_close(found, run(), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("solver", "form"), [(Tsit5(step=0.25), "function"), (Kvaerno3(step=0.25), "module")])
@pytest.mark.parametrize("mode", [*EXACT.values(), Backsolve()], ids=[*EXACT, "backsolve"])
def test_compiled_fields_have_the_gradient_of_plain_ones(mode, solver, form):
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()

    def field(t, y):
        return network(y) * torch.cos(t)

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, t, y):
            return self.network(y) * torch.cos(t)

    compiled = torch.compile(field if form == "function" else Module(), backend="eager")
    y0 = state(True).detach()

    def run(right_hand_side):
        ys = solve(right_hand_side, y0, TS, solver=solver, gradients=mode, rtol=1e-6, atol=1e-6).ys
        return torch.autograd.grad(ys.square().sum(), list(network.parameters()))

    assert relative_error(run(compiled), run(field)) < 1e-9


# Failures and the path backwards


@pytest.mark.parametrize("mode", [*EXACT.values(), Backsolve()], ids=[*EXACT, "backsolve"])
@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.05), Kvaerno3(step=0.1)], ids=str)
def test_failures_leave_the_gradients_of_the_others_alone(mode, solver):
    ts = torch.linspace(0, 2, 5, dtype=torch.float64)

    def run(starts):
        y0 = torch.tensor(starts, dtype=torch.float64)[:, None].requires_grad_()
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        options = {"solver": solver, "gradients": mode, "throw": False}
        solution = solve(lambda t, y: scale * y**2 / y.abs().sqrt(), y0, ts, **options)
        sound = torch.stack([row for row, status in zip(solution.ys, solution.status) if status == 0])
        return *torch.autograd.grad(sound.square().sum(), [y0, scale]), solution.status

    by_state, by_scale, status = run([-0.5, 30.0, 0.2])
    alone, scale_alone, _ = run([-0.5, 0.2])
    assert status[1] != 0
    assert status[0] == status[2] == 0
    torch.testing.assert_close(by_state[[0, 2]], alone, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(by_scale, scale_alone, rtol=1e-11, atol=1e-11)
    assert by_state[1].item() == 0.0


LORENZ = torch.tensor([10.0, 28.0, 8 / 3], dtype=torch.float64)


def lorenz_gradient(mode, tolerance=1e-3):
    w = LORENZ.clone().requires_grad_()
    ts = torch.tensor([0.0, 5.0], dtype=torch.float64)
    y0 = torch.ones(3, dtype=torch.float64)
    ys = solve(lorenz(w), y0, ts, gradients=mode, rtol=tolerance, atol=tolerance).ys
    return torch.autograd.grad(ys[-1].sum(), w)


def test_backsolve_warns_where_the_path_cannot_be_followed_and_solves_it_in_parts():
    with pytest.warns(UserWarning, match="from t = 5 to t = 0 left the forward path"):
        found = lorenz_gradient(Backsolve())
    assert relative_error(found, lorenz_gradient(Direct(), tolerance=1e-8)) < 0.1


@pytest.mark.filterwarnings("error")
def test_backsolve_with_checkpoints_follows_the_path():
    found = lorenz_gradient(Backsolve(checkpoints=40), tolerance=1e-6)
    assert relative_error(found, lorenz_gradient(Direct(), tolerance=1e-9)) < 1e-3


@pytest.mark.filterwarnings("error")
def test_backsolve_is_silent_on_a_path_that_it_follows():
    assert relative_error(gradient(Tsit5(), Backsolve()), gradient(Tsit5(), Direct())) < 1e-6


def test_options_of_gradient_modes_are_checked():
    for mode, options, expected in [
        (Checkpointed, {"segments": 0}, "`segments` is 0. Expected a positive number"),
        (Backsolve, {"checkpoints": -1}, "`checkpoints` is -1. Expected a whole number, 0 or more"),
        (Backsolve, {"checkpoints": 1.5}, "`checkpoints` is 1.5"),
        (Backsolve, {"rtol": 0.0}, "`rtol` is 0.0"),
    ]:
        with pytest.raises(DataError, match=expected):
            mode(**options)
    assert Backsolve(checkpoints=3).checkpoints == 3


def test_checkpoints_keep_few_states():
    field = pendulum(weights())
    trace_sizes = []
    for end in (10.0, 160.0):
        ts = torch.tensor([0.0, end], dtype=torch.float64)
        solution = solve(field, state(False), ts, solver=RK4(step=0.05), gradients=Checkpointed())
        node = solution.ys.grad_fn
        while not hasattr(node, "plan"):
            node = node.next_functions[0][0]
        trace_sizes.append(len(node.plan.trace.states))
        assert len(node.plan.trace.t) == round(end / 0.05)
    # Sixteen times the steps, four times the states.
    assert trace_sizes[1] <= 6 * trace_sizes[0]
    assert trace_sizes[1] < 120
