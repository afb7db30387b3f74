"""Losses of the compiled engine: their gradient against autograd through the same steps and against differences."""

import math
import pickle

import numpy as np
import pytest
import torch
from native_models import (
    COLUMNS,
    START,
    TIMES,
    close,
    differences,
    everything_free,
    hybrid,
    lotka_volterra,
    noisy,
    random_weights,
    replay,
    torch_hybrid,
    torch_lotka_volterra,
)

from sciml.native import likelihood, transforms
from sciml.native.explicit import FULL
from sciml.native.loss import Coordinates, Loss, Shot
from sciml.native.solve import solve
from sciml.solvers.methods.dopri5 import DOPRI5
from sciml.solvers.methods.tsit5 import TSIT5


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


def test_a_loss_survives_pickling():
    loss, theta = chain()
    copy = pickle.loads(pickle.dumps(loss))
    assert copy(theta)[0] == loss(theta)[0]
