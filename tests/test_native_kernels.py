"""The compiled engine: elementary functions, steppers, likelihoods, and its gradient against torch and differences."""

import ast
import itertools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

from sciml.native import activations, likelihood, transforms
from sciml.native.explicit import FULL, MAX_STEPS, NON_FINITE, STEP_UNDERFLOW, SUCCESS
from sciml.native.loss import Column, Coordinates, Loss, Shot
from sciml.native.model import Model
from sciml.native.networks import Perceptron, aligned
from sciml.native.preambles import PREAMBLE
from sciml.native.solve import evaluate, solve
from sciml.solvers.methods.dopri5 import DOPRI5
from sciml.solvers.methods.euler import EULER
from sciml.solvers.methods.heun import HEUN
from sciml.solvers.methods.rk4 import RK4_TABLEAU
from sciml.solvers.methods.tsit5 import TSIT5

TORCH_ACTIVATIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "softplus": lambda x: torch.nn.functional.softplus(x, threshold=1e9),
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "rbf": lambda x: torch.exp(-x * x),
    "identity": lambda x: x,
}

# p: birth, eaten, born, death, noise.
LOTKA_VOLTERRA = """
@value
def field_value(t, y, p, u, tape, out):
    out[0] = p[0] * y[0] - p[1] * y[0] * y[1]
    out[1] = p[2] * y[0] * y[1] - p[3] * y[1]

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = g[0] * (p[0] - p[1] * y[1]) + g[1] * p[2] * y[1]
    gy[1] = -g[0] * p[1] * y[0] + g[1] * (p[2] * y[0] - p[3])
    gp[0] += g[0] * y[0]
    gp[1] -= g[0] * y[0] * y[1]
    gp[2] += g[1] * y[0] * y[1]
    gp[3] -= g[1] * y[1]
"""
# Means are the states, the scale of both is p[{noise}].
OBSERVABLES = """
@value
def observables_value(t, y, p, u, tape, out):
    out[0] = y[0]
    out[1] = y[1]
    out[2] = p[{noise}]

@vjp
def observables_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = g[0]
    gy[1] = g[1]
    gp[{noise}] += g[2]
"""
# The initial state is the two free values times p[0], with an input on top.
INITIAL = """
@value
def initial_value(t, y, p, u, tape, out):
    out[0] = p[0] * y[0] + u[0]
    out[1] = p[0] * y[1]

@vjp
def initial_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = p[0] * g[0]
    gy[1] = p[0] * g[1]
    gp[0] += g[0] * y[0] + g[1] * y[1]
"""
# p: birth, death, noise, weights; a network of two outputs stands for both interactions.
HYBRID = """
@prepare
def copies(p):
    n0_prepare(p)

prepare = copies

@value
def field_value(t, y, p, u, tape, out):
    tape[0] = y[0]
    tape[1] = y[1]
    n0_forward(p, tape, 0)
    out[0] = p[0] * y[0] - tape[{output}]
    out[1] = tape[{output} + 1] - p[1] * y[1]

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    tape[{output_cotangent}] = -g[0]
    tape[{output_cotangent} + 1] = g[1]
    n0_backward(p, tape, 0)
    gy[0] = p[0] * g[0] + tape[{input_cotangent}]
    gy[1] = -p[1] * g[1] + tape[{input_cotangent} + 1]
    gp[0] += g[0] * y[0]
    gp[1] -= g[1] * y[1]

@weights
def field_weights(tapes, rows, gp):
    n0_weights(tapes, rows, {tape}, 0, gp)
"""
START = np.array([0.44249296, 4.6280594])
TIMES = np.linspace(0.0, 3.0, 31)


def lotka_volterra(initial: bool = False) -> Model:
    source = PREAMBLE + LOTKA_VOLTERRA + OBSERVABLES.format(noise=4) + (INITIAL if initial else "")
    return Model(source, states=2, parameters=5, storage=5, free=2, outputs={"observables": 3})


def hybrid(widths: tuple[int, ...] = (2, 32, 32, 2), activation: str = "tanh") -> Model:
    parameters = 3 + sum((n + 1) * m for n, m in itertools.pairwise(widths))
    activations = (*[activation] * (len(widths) - 2), "identity")
    network = Perceptron("n0", widths, activations, weights=3, copies=aligned(parameters))
    names = ("output", "output_cotangent", "input_cotangent", "tape")
    field = HYBRID.format(**{name: getattr(network, name) for name in names})
    return Model(
        PREAMBLE + network.source() + field + OBSERVABLES.format(noise=2),
        states=2,
        parameters=parameters,
        storage=aligned(parameters) + network.scratch,
        free=2,
        outputs={"observables": 3},
        tapes={"field": network.tape},
    )


def random_weights(widths: tuple[int, ...], seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    parts = []
    for n, m in itertools.pairwise(widths):
        parts += [generator.normal(0, 0.7 / math.sqrt(n), n * m), generator.normal(0, 0.1, m)]
    parts[-2] *= 0.3
    return np.concatenate(parts)


def torch_network(x: torch.Tensor, weights: torch.Tensor, widths: tuple[int, ...], activation: str) -> torch.Tensor:
    position = 0
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        matrix = weights[position : position + n * m].view(m, n)
        x = x @ matrix.T + weights[position + n * m : position + (n + 1) * m]
        position += (n + 1) * m
        if i < len(widths) - 2:
            x = TORCH_ACTIVATIONS[activation](x)
    return x


def torch_hybrid(widths: tuple[int, ...], activation: str):
    def field(t, y, p):
        n = torch_network(y, p[3:], widths, activation)
        return torch.stack([p[0] * y[0] - n[0], n[1] - p[1] * y[1]])

    return field


def torch_lotka_volterra(t, y, p):
    return torch.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


def replay(field, p, y0, times, steps, tableau):
    """The states at `times` from given steps, in torch, for autograd."""
    a, c = torch.tensor(tableau.a), tableau.c
    y, row, states = y0, 0, []
    while row < len(times) and times[row] == steps[0][0]:
        states, row = [*states, y], row + 1
    for number, (t, h) in enumerate(steps):
        k = [field(t, y, p)]
        for i in range(1, tableau.stages):
            new = y + h * sum(a[i, j] * k[j] for j in range(i))
            k.append(field(t + c[i] * h, new, p))
        last = number == len(steps) - 1
        while row < len(times) and (last or times[row] <= t + h):
            w = tableau.dense_weights(np.array((times[row] - t) / h))
            states, row = [*states, y + h * sum(x * kj for x, kj in zip(w, k))], row + 1
        y = new
    return torch.stack(states)


def everything_free(numbers: np.ndarray, positive: tuple[int, ...] = (), precision: float = 0.0) -> Coordinates:
    count = len(numbers)
    codes = np.zeros(count, dtype=np.int64)
    codes[list(positive)] = transforms.EXP
    return Coordinates(
        places=np.arange(count),
        codes=codes,
        a=np.zeros(count),
        b=np.ones(count),
        mean=np.full(count, 0.1),
        precision=np.full(count, precision),
    )


def noisy(times: np.ndarray, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    clean = np.stack([0.5 * np.exp(0.5 * times), 4.5 * np.exp(-0.9 * times)], axis=1)
    return clean * np.exp(0.05 * generator.normal(size=clean.shape))


def differences(function, theta: np.ndarray, places, step: float = 1e-5) -> np.ndarray:
    """Fourth-order central differences."""
    result = []
    for place in places:
        e = np.zeros_like(theta)
        e[place] = step
        near = function(theta + e) - function(theta - e)
        far = function(theta + 2 * e) - function(theta - 2 * e)
        result.append((8 * near - far) / (12 * step))
    return np.array(result)


def close(actual, expected, tolerance: float) -> bool:
    actual, expected = np.asarray(actual), np.asarray(expected)
    return bool(np.abs(actual - expected).max() <= tolerance * np.abs(expected).max())


# Elementary functions


def elementwise(function):
    @njit(error_model="numpy")
    def apply(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        apply(x, out)
        return out

    return call


def sample_points() -> np.ndarray:
    generator = np.random.default_rng(0)
    signs = generator.choice([-1.0, 1.0], 100_000)
    return np.concatenate(
        [
            generator.normal(0, 3, 200_000),
            generator.uniform(-1, 1, 200_000),
            generator.uniform(-30, 30, 100_000),
            signs * 10.0 ** generator.uniform(-307, 3, 100_000),
        ]
    )


@pytest.mark.parametrize("name", ["tanh", "exp"])
def test_elementary_functions_are_within_four_units_in_the_last_place(name):
    x = sample_points()
    exact = getattr(np, name)(x.astype(np.longdouble))
    inside = np.abs(exact) < 1e308
    inside &= np.abs(exact) > 1e-307
    error = np.abs(elementwise(getattr(activations, name))(x) - exact)[inside]
    assert (error / np.spacing(np.abs(exact[inside]).astype(np.float64))).max() < 4


def test_elementary_functions_keep_the_limits_and_nan():
    x = np.array([np.inf, -np.inf, np.nan, 0.0, 5e-324, 709.7, 710.0, -745.0, -746.0])
    tanh, exp = elementwise(activations.tanh)(x), elementwise(activations.exp)(x)
    np.testing.assert_array_equal(tanh, np.tanh(x))
    np.testing.assert_allclose(exp, [np.inf, 0, np.nan, 1, 1, math.exp(709.7), np.inf, 5e-324, 0], rtol=1e-15)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_and_their_two_derivatives_agree_with_torch(name):
    entry = activations.ACTIVATIONS[name]
    value, slope, curvature = (getattr(activations, part) for part in entry[:3])

    @njit
    def both(x, out):
        for i in range(x.size):
            h = value(x[i])
            out[0, i], out[1, i], out[2, i] = h, slope(x[i], h), curvature(x[i], h)

    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    out = np.empty((3, 101))
    both(x.detach().numpy(), out)
    h = TORCH_ACTIVATIONS[name](x)
    first = torch.autograd.grad(h.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x)[0] if first.requires_grad else torch.zeros_like(x)
    expected = torch.stack([h, first, second]).detach().numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)


# Networks


@pytest.mark.parametrize(
    ("widths", "activation"),
    [((2, 32, 32, 2), "tanh"), ((2, 5, 2), "softplus"), ((2, 13, 9, 2), "silu"), ((2, 2), "tanh"), ((2, 40, 2), "rbf")],
)
def test_a_generated_network_has_the_values_and_gradients_of_torch(widths, activation):
    model, weights = hybrid(widths, activation), random_weights(widths)
    p = np.concatenate([[1.3, 1.8, 0.5], weights])
    q = torch.tensor(p, requires_grad=True)
    y = np.random.default_rng(2).normal(size=(7, 2))
    expected = torch.stack([torch_hybrid(widths, activation)(0.0, torch.tensor(row), q) for row in y])
    np.testing.assert_allclose(evaluate(model, "field", np.zeros(7), y, p), expected.detach().numpy(), rtol=1e-13)


# Steppers


@pytest.mark.parametrize(
    ("tableau", "order"),
    [(EULER, 1), (HEUN, 2), (RK4_TABLEAU, 4), (TSIT5, 5), (DOPRI5, 5)],
    ids=["euler", "heun", "rk4", "tsit5", "dopri5"],
)
def test_the_error_of_a_method_falls_at_its_order(tableau, order):
    # y = exp(sin t)
    model, times = one_state("y[0] * math.cos(t)"), np.array([0.0, 3.0])

    def error(steps):
        settings = {"rtol": 1e9, "atol": 1e9, "first_step": 3.0 / steps, "largest_step": 3.0 / steps}
        end = solve(model, np.zeros(1), [1.0], times, tableau=tableau, **settings).states[0, -1, 0]
        return abs(end - math.exp(math.sin(3.0)))

    assert abs(math.log2(error(40) / error(80)) - order) < 0.2


@pytest.mark.parametrize("tableau", [TSIT5, DOPRI5], ids=["tsit5", "dopri5"])
def test_dense_output_is_as_accurate_as_the_steps(tableau):
    model, p = lotka_volterra(), np.array([1.3, 0.9, 0.8, 1.8, 0.5])
    times = np.linspace(0, 10, 333)
    exact = solve(model, p, [1.0, 1.0], times, rtol=1e-12, atol=1e-12).states
    assert np.abs(solve(model, p, [1.0, 1.0], times, tableau=tableau, rtol=1e-7, atol=1e-7).states - exact).max() < 1e-5


def test_time_can_run_backwards_and_many_trajectories_run_at_once():
    model, p = lotka_volterra(), np.array([1.3, 0.9, 0.8, 1.8, 0.5])
    starts = np.random.default_rng(0).uniform(0.5, 2, (100, 2))
    there = solve(model, p, starts, np.array([0.0, 3.0]), rtol=1e-10, atol=1e-10)
    back = solve(model, p, there.states[:, -1], np.array([3.0, 1.0, 0.0]), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(back.states[:, -1], starts, rtol=1e-6)
    alone = solve(model, p, starts[17], np.array([0.0, 3.0]), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(alone.states[0], there.states[17])


# The gradient


def loss_by_replay(loss, field, theta, tableau, numbers_of, shots, coordinates):
    """The loss and its gradient in torch, from the same steps."""
    free = torch.tensor(theta, requires_grad=True)
    numbers = numbers_of(free)
    parameters = loss.model.parameters
    total = (0.5 * torch.tensor(coordinates.precision) * (free - torch.tensor(coordinates.mean)) ** 2).sum()
    for number, shot in enumerate(shots):
        y0 = numbers[parameters + shot.free : parameters + shot.free + 2]
        p = numbers[:parameters]
        arguments = {"start": shot.start, "keep_steps": True, "tableau": tableau}
        taken = solve(loss.model, p.detach().numpy(), y0.detach().numpy(), shot.times, **arguments)
        assert taken.steps[0] == loss.shots["steps"][number]
        states = replay(field, p, y0, shot.times, list(zip(taken.t, taken.h)), tableau)
        sigma = p[4] if field is torch_lotka_volterra else p[2]
        data = torch.tensor(shot.data)
        seen = ~torch.isnan(data)
        first = torch.distributions.Normal(states[:, 0], sigma).log_prob(torch.nan_to_num(data[:, 0], 1.0))
        second = torch.distributions.LogNormal(states[:, 1].log(), sigma).log_prob(torch.nan_to_num(data[:, 1], 1.0))
        total = total - (torch.where(seen[:, 0], first, 0.0) + torch.where(seen[:, 1], second, 0.0)).sum()
    (gradient,) = torch.autograd.grad(total, free)
    return total.item(), gradient.numpy()


COLUMNS = [Column("normal", 0, 2), Column("lognormal", 1, 2)]


@pytest.mark.parametrize("tableau", [TSIT5, DOPRI5], ids=["tsit5", "dopri5"])
@pytest.mark.parametrize("kind", ["hybrid", "plain"])
def test_the_gradient_is_that_of_autograd_through_the_same_steps(kind, tableau):
    widths = (2, 32, 32, 2)
    if kind == "hybrid":
        model, scalars, field = hybrid(widths), [1.3, 1.8, 0.5], torch_hybrid(widths, "tanh")
        weights = random_weights(widths)
    else:
        model, scalars, field, weights = lotka_volterra(), [1.3, 0.9, 0.8, 1.8, 0.5], torch_lotka_volterra, []
    noise = len(scalars) - 1
    data = noisy(TIMES)
    data[3, 0] = data[7, :] = data[20:22, 1] = np.nan
    shots = [Shot(TIMES, data, start=0.0, free=0), Shot(TIMES[5:12], data[5:12], start=0.2, free=2)]
    numbers = np.concatenate([scalars, weights, START, START + 0.1])
    coordinates = everything_free(numbers, positive=(noise,), precision=0.01)
    loss = Loss(model, shots, COLUMNS, coordinates, numbers, tableau=tableau)
    theta = numbers.copy()
    theta[noise] = math.log(0.5)

    def numbers_of(free):
        return torch.cat([free[:noise], free[noise : noise + 1].exp(), free[noise + 1 :]])

    value, gradient = loss(theta)
    expected_value, expected = loss_by_replay(loss, field, theta, tableau, numbers_of, shots, coordinates)
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert close(gradient, expected, 1e-11)


def test_the_gradient_agrees_with_finite_differences_at_tight_tolerance():
    widths = (2, 8, 2)
    numbers = np.concatenate([[1.3, 1.8, 0.5], random_weights(widths), START])
    loss = Loss(
        hybrid(widths),
        [Shot(TIMES, noisy(TIMES), start=0.0, free=0)],
        COLUMNS,
        everything_free(numbers),
        numbers,
        rtol=1e-12,
        atol=1e-12,
    )
    _, gradient = loss(numbers)
    places = [0, 1, 2, 5, 20, 30, len(numbers) - 2, len(numbers) - 1]
    assert close(gradient[places], differences(loss.value, numbers, places, 1e-4), 1e-8)


def test_value_alone_is_the_value_with_gradient():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    loss = Loss(lotka_volterra(), [Shot(TIMES, noisy(TIMES), 0.0, 0)], COLUMNS, everything_free(numbers), numbers)
    assert loss.value(numbers) == loss(numbers)[0]


def test_steps_beyond_the_first_allocation_change_nothing_but_memory():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    settings = {"rtol": 1e-12, "atol": 1e-12}
    shots = [Shot(TIMES, noisy(TIMES), 0.0, 0)]
    loss = Loss(lotka_volterra(), shots, COLUMNS, everything_free(numbers), numbers, **settings)
    value, gradient = loss(numbers)
    assert loss.shots["steps"][0] > 64
    assert close(gradient, differences(loss.value, numbers, range(7), 1e-4), 1e-8)
    assert value == loss.value(numbers)


def test_rows_without_data_do_not_change_the_loss():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    data = noisy(TIMES)
    data[10:20] = np.nan
    seen = ~np.isnan(data[:, 0])
    coordinates = everything_free(numbers)
    with_gaps = Loss(lotka_volterra(), [Shot(TIMES, data, 0.0, 0)], COLUMNS, coordinates, numbers)
    without = Loss(lotka_volterra(), [Shot(TIMES[seen], data[seen], 0.0, 0)], COLUMNS, coordinates, numbers)
    assert with_gaps(numbers)[0] == pytest.approx(without(numbers)[0], rel=1e-14)
    assert close(with_gaps(numbers)[1], without(numbers)[1], 1e-12)


# Shots


def chain(
    parallel: bool = False, continuity: float = 10.0, initial: bool = False, count: int = 5
) -> tuple[Loss, np.ndarray]:
    edges = np.linspace(0, 3, count + 1)
    starts = np.stack([0.5 * np.exp(0.5 * edges), 4.5 * np.exp(-0.9 * edges)], axis=1)[:-1] / (1.3 if initial else 1)
    shots = []
    for i in range(count):
        times = np.linspace(edges[i], edges[i + 1], 8)
        following = i + 1 if i + 1 < count else -1
        shots.append(Shot(times, noisy(times, i), edges[i], 2 * i, inputs=np.array([0.01 * i]), next=following))
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], starts.ravel()])
    settings = {"continuity": np.array([continuity, 2 * continuity]), "logarithmic": np.array([False, True])}
    model = lotka_volterra(initial)
    settings |= {"rtol": 1e-10, "atol": 1e-10, "parallel": parallel}
    return Loss(model, shots, COLUMNS, everything_free(numbers), numbers, **settings), numbers


def test_the_continuity_weight_can_change_in_place():
    loss, theta = chain(continuity=10.0)
    loss.set_continuity(0.0)
    free, _ = chain(continuity=0.0)
    assert loss(theta)[0] == free(theta)[0]
    np.testing.assert_array_equal(loss(theta)[1], free(theta)[1])


@pytest.mark.parametrize("initial", [False, True], ids=["free initial states", "computed initial states"])
def test_the_continuity_penalty_has_the_right_value_and_gradient(initial):
    loss, theta = chain(initial=initial)
    without, _ = chain(continuity=0.0, initial=initial)
    model, penalty = lotka_volterra(), 0.0
    starts = theta[5:].reshape(5, 2) * (theta[0] if initial else 1.0)
    starts[:, 0] += 0.01 * np.arange(5) * initial
    for i in range(4):
        times = np.array([0.6 * i, 0.6 * (i + 1)])
        end = solve(model, theta[:5], starts[i], times, rtol=1e-10, atol=1e-10).states[0, -1]
        penalty += 5.0 * (end[0] - starts[i + 1, 0]) ** 2 + 10.0 * math.log(end[1] / starts[i + 1, 1]) ** 2
    assert loss(theta)[0] - without(theta)[0] == pytest.approx(penalty, rel=1e-7)
    assert close(loss(theta)[1], differences(loss.value, theta, range(len(theta)), 1e-4), 1e-7)


def test_parallel_equals_serial_and_repeats_exactly():
    serial, theta = chain(count=40)
    parallel, _ = chain(parallel=True, count=40)
    value, gradient = parallel(theta)
    assert value == serial(theta)[0]
    assert close(gradient, serial(theta)[1], 1e-14)
    for _ in range(5):
        again = parallel(theta)
        assert again[0] == value
        np.testing.assert_array_equal(again[1], gradient)


def test_shots_may_share_their_initial_values():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    shots = [Shot(TIMES, noisy(TIMES, seed), 0.0, 0) for seed in (1, 2, 3)]
    loss = Loss(lotka_volterra(), shots, COLUMNS, everything_free(numbers), numbers)
    single = [Loss(lotka_volterra(), [shot], COLUMNS, everything_free(numbers), numbers) for shot in shots]
    assert close(loss(numbers)[1], sum(one(numbers)[1] for one in single), 1e-12)


# Likelihoods, priors and coordinates


@pytest.mark.parametrize("name", [name for name in likelihood.CODES if name not in ("penalty", "cost")])
def test_likelihood_values_and_gradients_agree_with_torch(name):
    function, d = getattr(likelihood, name), torch.distributions
    m, s = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (2.3, 0.7))
    distribution = {
        "normal": lambda: d.Normal(m, s),
        "lognormal": lambda: d.LogNormal(m.log(), s),
        "student_t": lambda: d.StudentT(4.0, m, s),
        "poisson": lambda: d.Poisson(m),
        "negative_binomial": lambda: d.NegativeBinomial(s, probs=m / (m + s)),
    }[name]
    for z in (0.0, 1.0, 4.0) if name in ("poisson", "negative_binomial") else (0.4, 3.1):
        nll = -distribution().log_prob(torch.tensor(z, dtype=torch.float64))
        expected = torch.autograd.grad(nll, (m, s), allow_unused=True, materialize_grads=True)
        values, constant = likelihood.prepare_data(likelihood.CODES[name], np.array([z, np.nan]))
        value, by_mean, by_scale = function(values[0], 2.3, 0.7, 4.0)
        assert value + constant == pytest.approx(nll.item(), rel=1e-12)
        assert by_mean == pytest.approx(expected[0].item(), rel=1e-11)
        assert by_scale == pytest.approx(expected[1].item(), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("code", range(4))
def test_transforms_invert_and_have_the_right_derivative(code):
    for x in (-3.0, 0.2, 4.0):
        value, slope = transforms.transform(code, x)
        assert transforms.inverse(code, 1.0, 2.0, 1.0 + 2.0 * value) == pytest.approx(x, rel=1e-10)
        e = 1e-5
        around = [transforms.transform(code, x + k * e)[0] for k in (1, -1)]
        assert slope == pytest.approx((around[0] - around[1]) / (2 * e), rel=1e-8)


def test_fixed_numbers_stay_and_bounded_coordinates_have_the_right_gradient():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    coordinates = Coordinates(
        places=np.array([6, 0, 1, 4]),
        codes=np.array([transforms.EXP, transforms.LOGIT, transforms.IDENTITY, transforms.SOFTPLUS]),
        a=np.array([0.0, 1.0, 0.5, 0.1]),
        b=np.array([1.0, 2.0, 0.3, 1.0]),
        mean=np.array([0.3, 0.0, 0.0, 1.0]),
        precision=np.array([2.0, 0.0, 5.0, 1.0]),
    )
    settings = {"rtol": 1e-11, "atol": 1e-11}
    loss = Loss(lotka_volterra(), [Shot(TIMES, noisy(TIMES), 0.0, 0)], COLUMNS, coordinates, numbers, **settings)
    theta = np.array([1.5, -1.0, 1.2, -0.3])
    assert close(loss(theta)[1], differences(loss.value, theta, range(4), 1e-4), 1e-8)


def test_a_loss_without_free_coordinates_has_a_value():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    arguments = lotka_volterra(), [Shot(TIMES, noisy(TIMES), 0.0, 0)], COLUMNS
    expected = Loss(*arguments, everything_free(numbers), numbers).value(numbers)
    value, gradient = Loss(*arguments, everything_free(np.zeros(0)), numbers)(np.zeros(0))
    assert value == expected
    assert gradient.shape == (0,)


# Failures


def one_state(rate: str) -> Model:
    field = f"""
@value
def field_value(t, y, p, u, tape, out):
    out[0] = {rate}

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = 0.0
"""
    return Model(PREAMBLE + field, states=1, parameters=1, storage=1, free=1)


@pytest.mark.parametrize(
    ("rate", "start", "status"),
    [
        ("y[0] * y[0]", 1.0, STEP_UNDERFLOW),
        ("math.sqrt(0.5 - t) + y[0]", 1.0, NON_FINITE),
        ("y[0]", math.nan, NON_FINITE),
        ("math.log(y[0])", -1.0, NON_FINITE),
        ("1e5 * (math.cos(1e3 * t) - y[0])", 1.0, MAX_STEPS),
        ("-y[0]", 1.0, SUCCESS),
    ],
)
def test_a_failing_integration_says_how_and_where(rate, start, status):
    times = np.linspace(0, 2, 5)
    solution = solve(one_state(rate), np.zeros(1), [start], times, max_steps=3000)
    assert solution.status[0] == status
    assert np.isnan(solution.states[0, times > solution.reached[0]]).all()
    if status == STEP_UNDERFLOW:
        assert solution.reached[0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, np.nan, 1e4])
def test_absurd_parameters_give_infinity_and_never_hang(value):
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    loss = Loss(
        lotka_volterra(), [Shot(TIMES, noisy(TIMES), 0.0, 0)], COLUMNS, everything_free(numbers), numbers, max_steps=500
    )
    for place in (0, 2, 5):
        theta = numbers.copy()
        theta[place] = value
        result, gradient = loss(theta)
        assert result == math.inf or np.isfinite(gradient).all()
        assert not math.isnan(result)
    assert np.isfinite(loss(numbers)[0])
    assert FULL not in loss.shots["status"]


def test_a_theta_of_the_wrong_length_is_refused():
    numbers = np.concatenate([[1.3, 0.9, 0.8, 1.8, 0.5], START])
    loss = Loss(lotka_volterra(), [Shot(TIMES, noisy(TIMES), 0.0, 0)], COLUMNS, everything_free(numbers), numbers)
    with pytest.raises(ValueError, match=r"`theta` has shape \(6,\); expected \(7,\)"):
        loss(numbers[:6])


# Processes


def test_a_loss_survives_pickling():
    loss, theta = chain()
    copy = pickle.loads(pickle.dumps(loss))
    assert copy(theta)[0] == loss(theta)[0]


def test_the_engine_imports_neither_torch_nor_sympy():
    for path in Path(activations.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "sympy"}, path.name
