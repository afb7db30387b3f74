"""torchdiffeq's events, jumps, callbacks, options and errors, by our drop-in."""

import itertools
import math

import pytest
import torch
from test_dropin import GRID, Pendulum, grid, run, torchdiffeq
from torch import nn

import sciml
from sciml.dropin.options import METHODS
from sciml.errors import DataError, ModelError, SolveError

SHARED = [name for name in METHODS if name != "tsit5"]


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_event_times_have_the_gradient_of_torchdiffeq(interface, reverse):
    found = []
    for library in (sciml, torchdiffeq):
        field, y0, t0 = Pendulum(), grid(0.4, -0.2).requires_grad_(), grid(0.5)[0].requires_grad_()
        t, y = library.odeint_event(
            field,
            y0,
            t0,
            event_fn=lambda t, y: torch.stack([y[0] + 0.1, y[1] - 7]),
            reverse_time=reverse,
            odeint_interface=getattr(library, interface),
            rtol=1e-9,
            atol=1e-9,
        )
        found.append((t.detach(), y.detach(), *torch.autograd.grad(t + y[-1].sum(), (y0, field.w, t0))))
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", [m for m in SHARED if m != "scipy_solver"])
def test_an_event_is_found_by_every_method(method):
    options = {"step_size": 0.01, "interp": "cubic"} if method in GRID else {}
    height, gravity, level = (grid(v)[0].requires_grad_() for v in (2.0, 9.81, 0.5))

    def fall(t, y):
        return torch.stack([y[1], -gravity])

    y0, t0 = torch.stack([height, 0 * height]), grid(0.0)[0]
    tolerances = {"rtol": 1e-6, "atol": 1e-8}
    t, y = sciml.odeint_event(
        fall, y0, t0, event_fn=lambda t, y: y[0] - level, method=method, options=options, **tolerances
    )
    exact = torch.sqrt(2 * (height - level) / gravity)
    loose = 2e-2 if method == "euler" else 1e-5
    assert t.item() == pytest.approx(exact.item(), rel=loose)
    # torchdiffeq gives no gradient by what the event function closes over.
    inputs = (height, gravity, level)
    torch.testing.assert_close(
        torch.autograd.grad(t, inputs, retain_graph=True), torch.autograd.grad(exact, inputs), rtol=2 * loose, atol=1e-6
    )
    torch.testing.assert_close(torch.autograd.grad(y[-1, 0], inputs)[2], grid(1.0)[0], rtol=0, atol=1e-6)


def test_event_times_have_a_gradient_by_the_initial_time_on_a_grid():
    t0 = grid(0.5)[0].requires_grad_()
    options = {"method": "rk4", "options": {"step_size": 0.01, "interp": "cubic"}}
    t, _ = sciml.odeint_event(
        lambda t, y: t * torch.ones_like(y), grid(0.0), t0, event_fn=lambda t, y: y - 1, **options
    )
    # t² = t0² + 2.
    assert t.item() == pytest.approx(1.5, abs=1e-8)
    assert torch.autograd.grad(t, t0)[0].item() == pytest.approx(0.5 / 1.5, abs=1e-7)


def test_second_derivatives_by_times_are_those_of_the_flow():
    # y = exp(t²/2 - t0²/2): y'' = (1 + t²) y by t, (t0² - 1) y by t0, and -t t0 y by both.
    t = grid(0.3, 1.2).requires_grad_()
    y = sciml.odeint(lambda t, y: t * y, grid(1.0), t, rtol=1e-10, atol=1e-10)[-1, 0]
    (slope,) = torch.autograd.grad(y, t, create_graph=True)
    rows = torch.stack([torch.autograd.grad(s, t, retain_graph=True)[0] for s in slope])
    value = math.exp((1.2**2 - 0.3**2) / 2)
    expected = value * grid(0.3**2 - 1, -0.36, -0.36, 1 + 1.2**2).view(2, 2)
    torch.testing.assert_close(rows, expected, rtol=1e-7, atol=1e-7)


def test_a_bouncing_ball_is_differentiated_event_by_event():
    height, restitution = grid(1.0)[0].requires_grad_(), grid(0.8)[0].requires_grad_()
    t, y = grid(0.0)[0], torch.stack([height, 0 * height])
    for _ in range(3):
        t, ys = sciml.odeint_event(
            lambda t, y: torch.stack([y[1], grid(-10.0)[0]]), y, t, event_fn=lambda t, y: y[0], rtol=1e-10, atol=1e-10
        )
        y = torch.stack([grid(1e-12)[0], -restitution * ys[-1, 1]])
    exact = torch.sqrt(height / 5) * (1 + 2 * restitution + 2 * restitution**2)
    assert t.item() == pytest.approx(exact.item(), abs=1e-6)
    found, expected = (torch.autograd.grad(x, (height, restitution)) for x in (t, exact))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_an_event_that_never_comes_is_an_error():
    # torchdiffeq goes on for ever.
    never = {"event_fn": lambda t, y: y[0] - 7}
    field, y0, t0 = Pendulum(), grid(0.4, -0.2), grid(0.0)[0]
    with pytest.raises(
        SolveError, match=r"`max_num_steps=40` was reached at t = .* without an event. The event may never"
    ):
        sciml.odeint_event(field, y0, t0, options={"max_num_steps": 40}, **never)
    with pytest.raises(SolveError, match=r"went on to t = .* without an event"):
        sciml.odeint_event(lambda t, y: 0 * y, y0, t0, **never)
    with pytest.raises(SolveError, match=r"left the finite numbers at t = .* with `euler`, without an event"):
        sciml.odeint_event(lambda t, y: y**3, 1e3 + y0, t0, method="euler", options={"step_size": 1.0}, **never)
    assert sciml.odeint_event(field, y0, t0, event_fn=lambda t, y: y[0] - 0.4)[0] == 0.0


def test_without_a_limit_of_the_user_a_search_for_an_event_is_bounded(monkeypatch):
    monkeypatch.setattr("sciml.dropin.adaptive.EVENT_STEPS", 30)
    monkeypatch.setattr("sciml.dropin.fixed.EVENT_STEPS", 30)
    never = {"event_fn": lambda t, y: y[0] - 7}
    field, y0, t0 = Pendulum(), grid(0.4, -0.2), grid(0.0)[0]
    with pytest.raises(
        SolveError, match=r"`max_num_steps=30` was reached .* check the sign of `event_fn`.* or allow more"
    ):
        sciml.odeint_event(field, y0, t0, **never)
    with pytest.raises(SolveError, match=r"30 steps of `rk4` up to t = 3 met no event.* or give a larger `step_size`"):
        sciml.odeint_event(field, y0, t0, method="rk4", options={"step_size": 0.1}, **never)


def test_steps_end_at_jumps_and_at_chosen_times():
    seen = []

    def field(t, y):
        seen.append(t.item())
        return -y if t < 0.5 else y

    with torch.no_grad():
        y = sciml.odeint(field, grid(1.0), grid(0.0, 1.0), options={"jump_t": grid(0.5)}, rtol=1e-9, atol=1e-9)
    assert y[-1].item() == pytest.approx(1.0, abs=1e-9)
    assert 0.5 not in seen
    ends = []

    class Watched(Pendulum):
        def callback_accept_step(self, t, y, dt):
            ends.append((t - dt).item())

    sciml.odeint(Watched(), grid(0.4, -0.2), grid(3.0, 0.0), options={"step_t": grid(2.2, 1.1)})
    assert all(min(abs(end - wanted) for end in ends) < 1e-12 for wanted in (2.2, 1.1))


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("shape", ["tensor", "tuple"])
def test_callbacks_see_each_step(shape, backwards):
    log = {"step": [], "accept": [], "reject": [], "adjoint": []}

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(grid(3.0))

        def forward(self, t, y):
            dy = -self.rate * torch.sin(20 * t) * (y if shape == "tensor" else y[0])
            return dy if shape == "tensor" else (dy,)

        def callback_step(self, t, y, dt):
            log["step"].append((t.item(), y, dt.item()))

        def callback_accept_step(self, t, y, dt):
            log["accept"].append((t.item(), y, dt.item()))

        def callback_reject_step(self, t, y, dt):
            log["reject"].append((t.item(), y, dt.item()))

        def callback_step_adjoint(self, t, y, dt):
            log["adjoint"].append(len(y))

    y0 = grid(1.0) if shape == "tensor" else (grid(1.0),)
    t = grid(1.0, 0.0) if backwards else grid(0.0, 1.0)
    y = sciml.odeint_adjoint(Watched(), y0, t)
    assert len(log["step"]) == len(log["accept"]) + len(log["reject"])
    assert log["reject"]
    assert all(isinstance(y, tuple) == (shape == "tuple") for _, y, _ in log["step"])
    times = [t for t, _, _ in log["accept"]]
    assert times == sorted(times, reverse=backwards)
    assert all(dt > 0 for _, _, dt in log["step"])
    assert sum(dt for _, _, dt in log["accept"]) == pytest.approx(1.0)
    (y if shape == "tensor" else y[0])[-1].sum().backward()
    assert set(log["adjoint"]) == {4}


def test_the_options_of_the_step_size_are_heeded():
    steps = []

    class Watched(Pendulum):
        def callback_accept_step(self, t, y, dt):
            steps.append(dt.item())

    def lengths(**options):
        steps.clear()
        with torch.no_grad():
            sciml.odeint(Watched(), grid(0.4, -0.2), grid(0.0, 3.0), options=options)
        return list(steps)

    plain = lengths()
    assert max(lengths(max_step=0.05)) == pytest.approx(0.05)
    assert lengths(first_step=1e-3)[0] == pytest.approx(1e-3)
    assert min(lengths(min_step=0.5)[:-1]) == pytest.approx(0.5)
    assert len(lengths(safety=0.3)) > 1.5 * len(plain)
    slow = lengths(first_step=1e-3, ifactor=1.5)
    assert all(b <= 1.5000001 * a for a, b in itertools.pairwise(slow))
    assert len(lengths(norm=lambda x: 100 * x.abs().max())) > 1.5 * len(plain)
    assert lengths(dtype=torch.float32) == plain


def test_the_numbers_do_not_depend_on_whether_a_gradient_is_wanted():
    with torch.no_grad():
        plain = sciml.odeint(Pendulum(), grid(0.4, -0.2), torch.linspace(0, 3, 9, dtype=torch.float64))
    y, _ = run(sciml.odeint, count=9)
    torch.testing.assert_close(y, plain, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["wide", "branching"])
def test_fields_that_are_not_differentiated_in_one_call_have_the_same_gradient(name):
    w = grid(0.7).requires_grad_()

    def branching(t, y):
        return -w * y if y.detach().sum().item() > 0 else w * y

    size = 20 if name == "wide" else 2
    field = (lambda t, y: -w * y) if name == "wide" else branching
    y = sciml.odeint(field, torch.ones(size, dtype=torch.float64), grid(0.0, 1.0))
    (found,) = torch.autograd.grad(y[-1].sum(), w)
    assert found.item() == pytest.approx(-size * math.exp(-0.7), rel=1e-6)


def test_stiff_problems_end_in_an_error_with_time_and_entry():
    def robertson(t, y):
        a, b, c = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
        return torch.stack([-a + c, a - c - b, b])

    y0 = grid(1.0, 0.0, 0.0)
    with pytest.raises(SolveError, match=r"`max_num_steps=200` was reached at t = .*Allow more steps"):
        sciml.odeint(robertson, y0, grid(0.0, 1e5), options={"max_num_steps": 200})
    with pytest.raises(
        SolveError, match=r"fell below .* at t = 1 while solving with `dopri5`: entry 1 of the flat state"
    ):
        sciml.odeint(lambda t, y: torch.stack([-y[0], y[1] ** 2]), grid(1.0, 1.0), grid(0.0, 2.0))
    with pytest.raises(SolveError, match=r"left the finite numbers at t = .*Check `func` there"):
        sciml.odeint(lambda t, y: -torch.log(y), grid(0.5) - 1, grid(0.0, 2.0))
    assert sciml.odeint(robertson, y0, grid(0.0, 0.1)).isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "midpiont"}, ModelError, "`method='midpiont'` is not known.*mean `midpoint`"),
        ({"options": {"first_stp": 0.1}}, ModelError, "`first_stp` is not an option of `dopri5`.*mean `first_step`"),
        ({"options": {"step_size": 0.1}}, ModelError, "`step_size` is not an option of `dopri5`"),
        ({"options": {"grid_points": grid(0.5)}}, ModelError, "`grid_points` is not an option of `dopri5`"),
        ({"method": "rk4", "options": {"interp": "spline"}}, ModelError, "`interp` is 'spline'"),
        ({"method": "rk4", "options": {"step_size": -1.0}}, DataError, "`step_size` is -1.0"),
        (
            {"method": "rk4", "options": {"step_size": 0.1, "grid_constructor": lambda f, y, t: t}},
            ModelError,
            "Give one of them",
        ),
        (
            {"method": "rk4", "options": {"grid_constructor": lambda f, y, t: t[:1].repeat(2)}},
            DataError,
            r"`grid_constructor` returns times from 0.0 to 0.0. Expected .* begins with 0.0 and ends with 1.0",
        ),
        ({"method": "explicit_adams", "options": {"max_order": 13}}, ModelError, "`max_order` is 13"),
        ({"method": "scipy_solver", "options": {"solver": "RK54"}}, ModelError, "`solver` is 'RK54'.*mean `RK45`"),
        ({"options": {"step_t": grid(0.5), "jump_t": grid(0.5)}}, DataError, "hold 0.5 more than once"),
        ({"options": {"min_step": 2.0, "max_step": 1.0}}, DataError, "`min_step` is 2.0 and `max_step` 1.0"),
        ({"rtol": -1.0}, DataError, "`rtol` is -1.0"),
        ({"t": grid(0.0, 1.0, 1.0)}, DataError, "strictly increasing"),
        ({"t": torch.tensor([0, 1])}, DataError, "`t` is of torch.int64"),
        ({"t": grid(0.0, 1.0)[None]}, DataError, r"`t` has shape \(1, 2\)"),
        ({"t": grid()}, DataError, r"`t` has shape \(0,\)"),
        ({"y0": torch.tensor([1])}, DataError, "`y0` has dtype torch.int64"),
        ({"y0": [1.0]}, DataError, "`y0` is of type `list`"),
        ({"y0": (grid(1.0), torch.ones(1))}, DataError, "`y0` mixes"),
        ({"y0": grid(math.nan)}, DataError, "not finite"),
        ({"func": 3.0}, ModelError, "`func` is of type `float`"),
        ({"func": lambda t, y: y[:0]}, ModelError, r"returns shape \(0,\)"),
        ({"func": lambda t, y: y.float()}, ModelError, r"returns torch.float32 for a state of torch.float64"),
        ({"event_fn": lambda t, y: y[0], "t": grid(0.0, 1.0, 2.0)}, DataError, "`t` has 3 entries. Expected two"),
        (
            {"event_fn": lambda t, y: y[0] - 2, "method": "scipy_solver"},
            ModelError,
            "`scipy_solver` looks for no events",
        ),
        ({"event_fn": lambda t, y: y[0] - 2, "method": "rk4"}, ModelError, "`rk4` needs `options={'step_size'"),
    ],
)
def test_bad_input_says_what_to_do(change, error, message):
    arguments = {"func": lambda t, y: -y, "y0": grid(1.0), "t": grid(0.0, 1.0)}
    assert sciml.odeint(**arguments).isfinite().all()
    with pytest.raises(error, match=message):
        sciml.odeint(**{**arguments, **change})


def test_bad_input_of_the_adjoint_says_what_to_do():
    arguments = {"func": lambda t, y: -y, "y0": grid(1.0).requires_grad_(), "t": grid(0.0, 1.0)}
    for change, error, message in [
        ({"options": {"first_step": 0.1}, "adjoint_method": "bosh3"}, ModelError, "Give `adjoint_options`, too"),
        ({"adjoint_options": {"norm": "semi"}}, ModelError, "the adjoint `norm` is 'semi'"),
        ({"adjoint_options": {"nrm": None}}, ModelError, "`nrm` is not an option of `dopri5`"),
        ({"rtol": grid(1e-7)}, DataError, "Give one number as `adjoint_rtol`"),
    ]:
        with pytest.raises(error, match=message):
            sciml.odeint_adjoint(**{**arguments, **change})
    y = sciml.odeint_adjoint(**arguments)
    with pytest.raises(SolveError, match=r"no second derivatives\. Use `odeint`"):
        torch.autograd.grad(y.sum(), arguments["y0"], create_graph=True)
