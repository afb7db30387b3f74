"""Learning as dynamics: optimizers, games and gradients through time against theory."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, j1
from torch import nn

import sciml
from sciml import dynamics, models
from sciml.dynamics import AdamDescent, Game, GradientDescent, Map, Momentum, Nesterov
from sciml.dynamics.evolution import Evolution
from sciml.errors import DataError, ModelError, SolveError

x, y, t = sp.symbols("x y t", real=True)
VALLEY = (1 - x) ** 2 / 2 + 2 * (y - x**2) ** 2
TIGHT = {"rtol": 1e-11, "atol": 1e-12}
METHODS = (GradientDescent(0.02), Momentum(0.02, 0.8), Nesterov(0.02), AdamDescent(0.05))


def valley(w):
    return (1 - w[0]) ** 2 / 2 + 2 * (w[1] - w[0] ** 2) ** 2


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    inputs = torch.randn(20, 3, dtype=torch.float64)
    return net, lambda model: ((model(inputs) - inputs.prod(dim=1, keepdim=True)) ** 2).mean()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_an_expression_and_a_torch_loss_give_the_same_map_and_flow(method):
    states = torch.rand(4, 2 * (1 + len(method.memory)), dtype=torch.float64) + 0.2
    for build in (method.descent, method.flow):
        algebra, autograd = Evolution.of(build(VALLEY, [x, y])), Evolution.of(build(valley))
        for function in (Evolution.__call__, Evolution.jacobian):
            assert function(algebra, 3.0, states) == pytest.approx(function(autograd, 3.0, states), abs=1e-12)


@pytest.mark.parametrize(
    ("method", "build"),
    [
        (GradientDescent(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        (Momentum(0.05, 0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        (AdamDescent(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    ],
    ids=["SGD", "momentum", "Adam"],
)
def test_a_map_steps_as_the_optimizer_of_torch_does(method, build):
    net, loss = network()
    value, weights = dynamics.flat_loss(net, loss)
    path = method.descent(value).path(method.start(weights), 50)
    optimizer = build(net.parameters())
    for _ in range(50):
        optimizer.zero_grad()
        loss(net).backward()
        optimizer.step()
    stepped = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    assert path[-1, : len(weights)] == pytest.approx(stepped, abs=1e-13)
    assert (stepped - weights).abs().max() > 0.05


def test_descent_follows_the_modified_loss_to_second_order():
    rates = 0.005 / 2 ** np.arange(3)
    errors = []
    for rate in rates:
        method = GradientDescent(rate)
        end = method.descent(valley).path(torch.tensor([-1.0, 1.5], dtype=torch.float64), round(1 / rate))[-1]
        ends = []
        for loss in (VALLEY, dynamics.modified_loss(VALLEY, rate, [x, y])):
            flow = method.flow(loss, [x, y], initial={x: -1.0, y: 1.5})
            ends.append(sciml.simulate(flow, [0, 1], backend="torch", **TIGHT).states[-1])
        errors.append([np.linalg.norm(end.numpy() - e) for e in ends])
    orders = np.diff(np.log(np.array(errors)), axis=0) / np.diff(np.log(rates))[:, None]
    assert orders[-1] == pytest.approx([1, 2], abs=0.1)
    point = torch.tensor([0.3, -0.4], dtype=torch.float64)
    symbolic = float(dynamics.modified_loss(VALLEY, 0.1, [x, y]).subs({x: 0.3, y: -0.4}))
    assert float(dynamics.modified_loss(valley, 0.1)(point)) == pytest.approx(symbolic, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 0.5), st.floats(0.05, 1.0), st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_momentum_shrinks_volumes_by_its_friction_whatever_the_loss(rate, momentum, state):
    method = Momentum(rate, momentum)
    jacobian = Evolution.of(method.descent(valley)).jacobian(0.0, torch.tensor([state], dtype=torch.float64))
    expected = math.exp(-method.friction * method.duration * 2)
    assert float(torch.linalg.det(jacobian)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_energy_of_the_heavy_ball_falls_by_friction():
    method = Momentum(0.01, 0.9)
    flow = method.flow(VALLEY, [x, y], initial={x: -1.0, y: 1.5})
    balance = dynamics.energy_balance(flow, method.hamiltonian(VALLEY, [x, y]), np.linspace(0, 3, 31))
    px, py = sp.symbols("x_p y_p", real=True)
    surplus = sp.Poly(sp.expand(balance.rate + method.friction * (px**2 + py**2)), x, y, px, py)
    assert max((abs(float(c)) for c in surplus.coeffs()), default=0.0) < 1e-12
    assert balance.residual < 1e-7


def test_the_best_heavy_ball_has_the_spectral_radius_of_theory():
    root = math.sqrt(50.0)
    best = Momentum(4 / (root + 1) ** 2, ((root - 1) / (root + 1)) ** 2)
    (spectrum,) = dynamics.jacobian_spectrum(best.descent(lambda w: (w[0] ** 2 + 50 * w[1] ** 2) / 2), np.zeros((1, 4)))
    assert np.abs(spectrum).max() == pytest.approx((root - 1) / (root + 1), abs=1e-6)


def test_nesterov_on_a_quadratic_is_a_bessel_function():
    method, curvature = Nesterov(1.0), 3.0
    start = method.early(curvature * x**2 / 2, [1.0], 1e-3, [x])
    times = np.concatenate([[1e-3], np.linspace(0.5, 10, 50)])
    flow = method.flow(curvature * x**2 / 2, [x], initial=start)
    found = sciml.simulate(flow, times, backend="torch", **TIGHT)["x"]
    z = math.sqrt(curvature) * times
    assert found == pytest.approx(2 * j1(z) / z, abs=1e-8)
    assert (curvature * found**2 / 2 <= 2 / times**2).all()
    by_torch = method.early(lambda w: curvature * (w**2).sum() / 2, torch.ones(1, 1, dtype=torch.float64), 1e-3)
    assert by_torch[0] == pytest.approx(list(start.values()), abs=1e-15)


def test_stationary_variance_of_descent_with_noise():
    rate, curvature, deviation = 0.4, 2.0, 0.5
    rng = np.random.default_rng(0)
    step = GradientDescent(rate).descent(lambda w: curvature * (w**2).sum() / 2)
    w, seen = torch.zeros(20_000, 1, dtype=torch.float64), []
    for n in range(120):
        w = step(n, w) - rate * deviation * torch.tensor(rng.standard_normal(w.shape))
        seen += [float((w**2).mean())] if n > 20 else []
    assert np.mean(seen) == pytest.approx(rate * deviation**2 / (curvature * (2 - rate * curvature)), rel=0.01)


def test_the_diffusion_of_descent_settles_at_the_covariance_of_theory():
    covariance = np.array([[0.5, 0.2], [0.2, 0.3]])
    system = GradientDescent(0.05).diffusion(x**2 + y**2, [x, y], covariance, initial={x: 0.0, y: 0.0})
    found = sciml.simulate(system, [0.0, 4.0], paths=20_000, seed=0)
    ends = np.stack([found["x"][..., -1], found["y"][..., -1]])
    assert np.cov(ends) == pytest.approx(0.05 * covariance / 4, rel=0.06, abs=1e-4)  # h Σ / (2 λ), λ = 2


def test_covariance_of_minibatch_gradients_is_that_of_many_batches():
    torch.manual_seed(1)
    inputs, target = torch.randn(30, 2, dtype=torch.float64), torch.randn(30, dtype=torch.float64)
    weights = torch.tensor([0.3, -0.2], dtype=torch.float64)

    def losses(w):
        return (inputs @ w - target) ** 2

    covariance = dynamics.minibatch_covariance(losses, weights)
    slopes = 2 * (inputs @ weights - target)[:, None] * inputs
    batches = slopes[torch.randint(30, (40_000, 5))].mean(dim=1)
    assert torch.cov(batches.T) == pytest.approx(covariance / 5, rel=0.05, abs=0.02)
    with pytest.raises(ModelError, match="one loss for each of at least two samples"):
        dynamics.minibatch_covariance(lambda w: (w**2).sum(), weights)


def test_a_game_turns_where_its_players_chase_each_other():
    payoff = -sp.log(1 + sp.exp(-x * y))
    game = Game([payoff, -payoff], [[x], [y]])
    plain = models.dirac_gan()
    point = torch.tensor([[0.4, -0.7]], dtype=torch.float64)
    assert Evolution.of(game.flow())(0.0, point) == pytest.approx(Evolution.of(plain)(0.0, point), abs=1e-14)
    (values,) = dynamics.jacobian_spectrum(plain, np.zeros((1, 2)))
    assert sorted(values.imag) == pytest.approx([-0.5, 0.5], abs=1e-12)
    assert not dynamics.is_gradient_field(plain, {"theta": (-1, 1), "psi": (-1, 1)})
    for step, rate, modulus in (
        (game.simultaneous, 0.2, math.hypot(1, 0.1)),
        (game.alternating, 0.2, 1.0),
        (game.alternating, 3.9, 1.0),
        (game.extragradient, 0.2, math.hypot(1 - 0.01, 0.1)),
    ):
        (found,) = dynamics.jacobian_spectrum(step(rate), np.zeros((1, 2)))
        assert np.abs(found).max() == pytest.approx(modulus, abs=1e-12)
    (calmed,) = dynamics.jacobian_spectrum(game.consensus(0.4).flow(), np.zeros((1, 2)))
    assert calmed.real == pytest.approx([-0.1, -0.1], abs=1e-12)
    (damped,) = dynamics.jacobian_spectrum(models.dirac_gan(penalty=0.4), np.zeros((1, 2)))
    assert damped[0] == pytest.approx(-0.2 + 1j * math.sqrt(0.25 - 0.04), abs=1e-12)


def test_the_flow_of_the_dirac_gan_keeps_its_distance():
    theta, psi = sp.symbols("theta psi", real=True)
    balance = dynamics.energy_balance(
        models.dirac_gan(), theta**2 + psi**2, np.linspace(0, 50, 51), rtol=1e-10, atol=1e-10
    )
    assert balance.drift < 1e-8


@pytest.mark.parametrize("way", ["flow", "simultaneous", "alternating", "extragradient", "consensus"])
def test_a_game_of_torch_losses_is_that_of_expressions(way):
    symbolic = Game([x**2 * y + x, y**2 - x * y], [[x], [y]])
    by_torch = Game([lambda w: w[0] ** 2 * w[1] + w[0], lambda w: w[1] ** 2 - w[0] * w[1]], [1, 1])
    states = torch.randn(5, 2, dtype=torch.float64)
    built = [
        game.consensus(0.3).flow() if way == "consensus" else game.flow() if way == "flow" else getattr(game, way)(0.1)
        for game in (symbolic, by_torch)
    ]
    for function in (Evolution.__call__, Evolution.jacobian):
        one, other = (function(Evolution.of(b), 0.0, states) for b in built)
        assert one == pytest.approx(other, abs=1e-12)


def test_gradients_through_time_are_products_of_jacobians():
    torch.manual_seed(2)
    cell = nn.GRUCell(2, 6).double()
    inputs = torch.randn(15, 4, 2, dtype=torch.float64)
    driven = Map(lambda n, h: cell(inputs[int(n)], h), counted=True)
    start = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    h = start
    for step in inputs:
        h = cell(step, h)
    (expected,) = torch.autograd.grad((h**3).sum(), start)
    path = driven.path(start.detach(), 15).transpose(0, 1)
    back = dynamics.backpropagate(driven, path, 3 * path[-1] ** 2)
    assert back.gradients[0] == pytest.approx(expected, abs=1e-13)
    assert back.directions.norm(dim=-1) == pytest.approx(torch.ones(16, 4).double())


def test_growth_of_gradients_through_random_matrices():
    size, steps, gain = 20, 1000, 1.2
    generator = torch.Generator().manual_seed(0)
    many = gain / math.sqrt(size) * torch.randn(steps, size, size, dtype=torch.float64, generator=generator)
    drawn = Map(lambda n, h: h @ many[int(n)].T, counted=True)
    back = dynamics.backpropagate(drawn, torch.zeros(steps + 1, size).double(), torch.ones(size).double())
    theory = math.log(gain) + (math.log(2) + digamma(size / 2) - math.log(size)) / 2
    assert float(back.growth) == pytest.approx(theory, abs=4 * 0.16 / math.sqrt(steps))
    forward = dynamics.lyapunov_spectrum(drawn, torch.ones(size).double(), duration=steps, count=1)
    assert forward.exponents[0] == pytest.approx(theory, abs=4 * 0.16 / math.sqrt(steps))


def test_a_system_and_a_map_carry_gradients_and_deviations_alike():
    henon = models.henon()
    by_torch = Map(lambda s: torch.stack([1 - 1.4 * s[:, 0] ** 2 + s[:, 1], 0.3 * s[:, 0]], dim=-1))
    path = by_torch.path(torch.tensor([0.1, 0.1], dtype=torch.float64), 30)
    seed = torch.tensor([1.0, 2.0], dtype=torch.float64)
    one, other = (dynamics.backpropagate(m, path, seed) for m in (henon, by_torch))
    assert one.log_norms == pytest.approx(other.log_norms, abs=1e-12)
    exponents = [dynamics.lyapunov_spectrum(m, [0.1, 0.1], duration=20, count=1).exponents for m in (henon, by_torch)]
    assert exponents[0] == pytest.approx(exponents[1], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 3.0), st.integers(0, 1000), st.integers(1, 40))
def test_no_gradient_passes_the_bound_of_norms(gain, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    w = gain * torch.randn(6, 6, dtype=torch.float64, generator=generator)
    net = Map(lambda h: torch.tanh(h @ w.T))
    path = net.path(torch.randn(6, dtype=torch.float64, generator=generator), steps)
    logs = dynamics.backpropagate(net, path, torch.ones(6).double()).log_norms
    assert float(logs[0] - logs[-1]) <= steps * math.log(torch.linalg.matrix_norm(w, 2)) + 1e-9


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GradientDescent(0.0), "`rate=0.0` must be positive"),
        (lambda: Momentum(0.1, 1.5), "at most 1"),
        (lambda: AdamDescent(0.1, betas=(0.9, 1.0)), "between 0 and 1"),
        (lambda: GradientDescent(0.1).descent(x**2), "needs its `variables`"),
        (lambda: GradientDescent(0.1).flow(x**2, [y]), "does not depend on `y`"),
        (lambda: GradientDescent(0.1).flow("x**2", [x]), "not `str`"),
        (
            lambda: GradientDescent(0.1).descent(lambda w: w)(0, torch.ones(1, 2)),
            r"`shape \(2,\)`; expected is one number",
        ),
        (lambda: GradientDescent(0.1).descent(lambda w: w.detach().sum())(0, torch.ones(1, 2)), "has no gradient"),
        (lambda: Momentum(0.1).descent(lambda w: w.sum())(0, torch.ones(1, 3)), "keeps 2 numbers for each weight"),
        (lambda: dynamics.flat_loss(nn.Tanh(), lambda n: torch.ones(())), "no parameter that requires a gradient"),
        (lambda: GradientDescent(0.1).descent(sp.floor(x), [x]), "has no gradient"),
        (lambda: Game([lambda w: w[0], lambda w: w[1]], [1, 2]).flow()(0, torch.ones(1, 4)), "together 3"),
        (lambda: Game([x * y], [[x], [y]]), "1 losses and 2 players"),
        (lambda: Game([x * y, -x * y], [[x], [x]]), "`x` is moved by two players"),
        (lambda: Game([x * y, lambda w: w.sum()], [[x], 1]), "give all of one kind"),
        (lambda: Game([lambda w: w[0], lambda w: w[1]], [[x], [y]]), "numbers of weights"),
        (lambda: Game([x, y], [[x], [x + y]]), "sequence of symbols"),
        (lambda: Game([x * y, y], [[x], [y]]).alternating(-1.0), "must be positive"),
        (lambda: dynamics.backpropagate(models.lorenz(), torch.ones(3, 3), torch.ones(3)), "a flow has no steps"),
    ],
)
def test_what_makes_no_sense_is_refused(call, text):
    with pytest.raises(ModelError, match=text):
        call()


def test_shapes_of_paths_and_maps_that_diverge_are_told():
    shrink = Map(lambda s: s / 2)
    with pytest.raises(DataError, match=r"with at least two times"):
        dynamics.backpropagate(shrink, torch.ones(1, 2), torch.ones(2))
    with pytest.raises(SolveError, match="trajectory 1 of the map left the finite numbers at step 4"):
        Map(lambda s: s**4).path(torch.tensor([[0.5], [2.0]]), 20)
    assert shrink.path(torch.ones(3, 2), 4).shape == (3, 5, 2)
