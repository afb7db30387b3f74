"""torchdiffeq's functions: signatures, values and gradients against torchdiffeq, and where its faults are not kept."""

import inspect
import math

import pytest
import torch
from torch import nn

import sciml
from sciml.dropin.options import METHODS, AdaptiveOptions, FixedOptions

torchdiffeq = pytest.importorskip("torchdiffeq")


FUNCTIONS = ("odeint", "odeint_adjoint", "odeint_event")


ADAPTIVE = [name for name, method in METHODS.items() if method.options is AdaptiveOptions]


GRID = [name for name, method in METHODS.items() if issubclass(method.options, FixedOptions)]


GRIDS = [{}, {"step_size": 0.075}, {"step_size": 0.075, "interp": "cubic"}, {"perturb": True}]


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


class Pendulum(nn.Module):
    """A driven, damped pendulum."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(grid(2.0, 0.3, 0.7))

    def forward(self, t, y):
        return torch.stack([y[1], -self.w[0] * torch.sin(y[0]) - self.w[1] * y[1] + self.w[2] * torch.cos(t)])


def weighted(y):
    return (y * torch.sin(1 + torch.arange(y.numel(), dtype=torch.float64).view(y.shape))).sum()


def run(function, *, count=31, backwards=False, **options):
    """Values, and gradients by initial state, times and parameters."""
    field, y0 = Pendulum(), grid(0.4, -0.2).requires_grad_()
    t = torch.linspace(0, -3 if backwards else 3, count, dtype=torch.float64).requires_grad_()
    y = function(field, y0, t, **options)
    return y.detach(), torch.autograd.grad(weighted(y), (y0, field.w, t))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_those_of_torchdiffeq(name):
    ours, theirs = (inspect.signature(getattr(library, name)).parameters for library in (sciml, torchdiffeq))
    assert list(ours) == list(theirs)
    for parameter, other in zip(ours.values(), theirs.values()):
        assert parameter.kind == other.kind
        if name != "odeint_event":
            assert parameter.default == other.default


def test_every_method_of_torchdiffeq_is_there():
    from torchdiffeq._impl.odeint import SOLVERS

    assert set(SOLVERS) <= set(METHODS)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", [m for m in ADAPTIVE if m not in ("tsit5", "adaptive_heun")])
def test_adaptive_methods_agree_with_torchdiffeq(method, backwards):
    # Both differ from the solution by what their tolerances and their dense output allow.
    options = {"method": method, "backwards": backwards, "rtol": 1e-9, "atol": 1e-9}
    if method in ("fehlberg2", "bosh3"):
        options |= {"rtol": 1e-6, "atol": 1e-6}
    (y, gradients), (expected, others) = run(sciml.odeint, **options), run(torchdiffeq.odeint, **options)
    loose = {"fehlberg2": 1e-3, "bosh3": 1e-3, "dopri8": 1e-4}.get(method, 1e-6)
    torch.testing.assert_close(y, expected, rtol=loose, atol=loose)
    for gradient, other in zip(gradients[:2], others):
        torch.testing.assert_close(gradient, other, rtol=20 * loose, atol=20 * loose)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_methods_follow_the_solution_and_its_derivatives(method):
    tolerance = 1e-6 if method in ("fehlberg2", "adaptive_heun", "bosh3") else 1e-9
    y, gradients = run(sciml.odeint, method=method, rtol=tolerance, atol=tolerance, count=7)
    exact, derivatives = run(sciml.odeint, method="dopri5", rtol=1e-12, atol=1e-12, count=7)
    torch.testing.assert_close(y, exact, rtol=0, atol=500 * tolerance)
    for gradient, derivative in zip(gradients, derivatives):
        torch.testing.assert_close(gradient, derivative, rtol=0, atol=2000 * tolerance)


@pytest.mark.parametrize("options", GRIDS, ids=str)
@pytest.mark.parametrize("method", [m for m in GRID if m != "explicit_adams"])
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_methods_on_a_grid_compute_the_numbers_of_torchdiffeq(method, options):
    # Outputs between steps; uniform steps, and a corrector that converges: elsewhere torchdiffeq's Adams loses its order.
    options = options | ({"max_order": 5} if "adams" in method else {})
    arguments = {"method": method, "options": options, "count": 14 if "step_size" in options else 32}
    (y, gradients), (expected, others) = run(sciml.odeint, **arguments), run(torchdiffeq.odeint, **arguments)
    loose = 1e-5 if "adams" in method else 1e-12
    torch.testing.assert_close(y, expected, rtol=loose, atol=loose)
    # torchdiffeq holds the weights of Adams' methods constant when times move.
    for gradient, other in list(zip(gradients, others))[: 2 if "adams" in method else 3]:
        torch.testing.assert_close(gradient, other, rtol=10 * loose, atol=10 * loose)


@pytest.mark.parametrize("method", GRID)
@pytest.mark.parametrize("options", [{}, {"step_size": 0.1}, {"step_size": 0.1, "interp": "cubic"}], ids=str)
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_time_gradients_on_a_grid_match_finite_differences(method, options):
    field, y0, t = Pendulum(), grid(0.4, -0.2), torch.linspace(0, 1.2, 7, dtype=torch.float64)
    options = options | ({"max_order": 4} if "adams" in method else {})

    def loss(t):
        return weighted(sciml.odeint(field, y0, t, method=method, options=options))

    (found,) = torch.autograd.grad(loss(t.requires_grad_()), t)
    for i in range(7):
        shift = 1e-6 * torch.eye(7, dtype=torch.float64)[i]
        # Outputs at the ends of steps move between two interpolants: either side will do.
        with torch.no_grad():
            left, middle, right = (loss(t + s * shift).item() for s in (-1, 0, 1))
        sides = [(middle - left) / 1e-6, (right - middle) / 1e-6, (right - left) / 2e-6]
        assert min(abs(found[i].item() - side) for side in sides) < 2e-5 * max(1.0, abs(sides[0]))


@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams"])
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_adams_methods_reach_order_four_on_a_grid_that_is_not_uniform(method):
    def error(count):
        t = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        t = 3 * (t + 0.1 * torch.sin(6 * t) * (1 - t))
        y = sciml.odeint(lambda t, y: y * torch.cos(t), grid(1.0), t, method=method, options={"max_order": 5})
        return (y[-1, 0] - math.exp(math.sin(3))).abs().item()

    assert math.log2(error(40) / error(80)) > 3.7


def test_explicit_adams_stays_stable_at_its_highest_order():
    # torchdiffeq's is off by 1e5 here: high differences amplify rounding.
    options = {"step_size": 0.05}
    y, _ = run(sciml.odeint, method="explicit_adams", options=options, count=7)
    exact, _ = run(sciml.odeint, rtol=1e-11, atol=1e-11, count=7)
    torch.testing.assert_close(y, exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", ["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"])
def test_scipys_solvers_are_differentiated_by_the_adjoint(solver):
    options = {"method": "scipy_solver", "options": {"solver": solver}, "count": 4, "rtol": 1e-7, "atol": 1e-9}
    y, gradients = run(sciml.odeint, **options)
    exact, derivatives = run(sciml.odeint, rtol=1e-10, atol=1e-10, count=4)
    torch.testing.assert_close(y, exact, rtol=0, atol=1e-4)
    for gradient, derivative in zip(gradients, derivatives):
        torch.testing.assert_close(gradient, derivative, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "tsit5", "rk4"])
@pytest.mark.parametrize(
    "extra", [{}, {"adjoint_options": {"norm": "seminorm"}}, {"adjoint_method": "dopri5"}], ids=str
)
def test_the_adjoint_has_the_gradient_of_the_steps(method, extra):
    options = {"step_size": 0.01} if method == "rk4" else None
    extra = extra | ({"adjoint_options": {}} if "adjoint_method" in extra else {})
    if method == "rk4" and "norm" in extra.get("adjoint_options", {}):
        extra["adjoint_options"]["step_size"] = 0.01
    arguments = {"method": method, "options": options, "rtol": 1e-9, "atol": 1e-9, "count": 5}
    (y, gradients), (expected, others) = run(sciml.odeint_adjoint, **arguments, **extra), run(sciml.odeint, **arguments)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    for gradient, other in zip(gradients[:2], others):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)
    # On a grid with linear interpolation the steps' own derivative by time is that of the interpolant.
    loose = 1e-2 if method == "rk4" else 1e-4
    torch.testing.assert_close(gradients[2], others[2], rtol=loose, atol=loose)


@pytest.mark.parametrize("function", [sciml.odeint, sciml.odeint_adjoint])
def test_tuples_of_any_shape_are_solved(function):
    rates = grid(0.5, 1.5).requires_grad_()

    def decay(t, y):
        return -rates[0] * y[0], -rates[1] * y[1]

    y0 = grid(1.0)[0], torch.ones(2, 3, dtype=torch.float64)
    tolerances = {"rtol": (1e-8, 1e-8), "atol": 1e-9} if function is sciml.odeint else {"rtol": 1e-8, "atol": 1e-9}
    first, second = function(decay, y0, grid(0.0, 1.0, 2.0), **tolerances)
    assert first.shape == (3,)
    assert second.shape == (3, 2, 3)
    torch.testing.assert_close(first, torch.exp(-0.5 * grid(0, 1, 2)), rtol=1e-7, atol=1e-7)
    (found,) = torch.autograd.grad(first[-1] + second[-1, 1, 1], rates)
    torch.testing.assert_close(found, -2 * torch.exp(-2 * rates.detach()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("function", [sciml.odeint, sciml.odeint_adjoint])
def test_complex_states_are_solved(function):
    w = grid(2.0)[0].requires_grad_()
    y = function(lambda t, y: 1j * w * y, torch.ones(2, dtype=torch.complex128), grid(0.0, 1.0))
    exact = torch.exp(2j * torch.ones(2, dtype=torch.complex128))
    torch.testing.assert_close(y[-1].detach(), exact, rtol=1e-6, atol=1e-6)
    (found,) = torch.autograd.grad(y[-1].real.sum(), w)
    assert found.item() == pytest.approx(-2 * math.sin(2), abs=1e-6)


def test_parameters_outside_modules_are_found_by_the_adjoint():
    # torchdiffeq gives no gradient for them, and says nothing.
    inside, outside = Pendulum(), grid(1.3).requires_grad_()

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = inside

        def forward(self, t, y):
            return outside * self.inside(t, y)

    y0, t = grid(0.4, -0.2), grid(0.0, 1.0)
    for field in (Both(), Both().forward, lambda t, y: outside * inside(t, y)):
        found, expected = (
            torch.autograd.grad(weighted(function(field, y0, t, rtol=1e-9, atol=1e-9)), (outside, inside.w))
            for function in (sciml.odeint_adjoint, sciml.odeint)
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    with pytest.warns(UserWarning, match=r"`adjoint_params` leaves out 1 tensors .*\(1,\)"):
        sciml.odeint_adjoint(lambda t, y: outside * y, y0.requires_grad_(), t, adjoint_params=())
