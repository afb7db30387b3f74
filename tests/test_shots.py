"""Coordinates and bounds of a Problem, and its shots: gaps, gradients, trajectories that blow up."""

from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_problem import LEVELS, TIGHT, TIMES, check_gradient, decay, frame, k, parameters, pelts, predators, t, x

from sciml import models
from sciml.measurement.coordinates import Coordinates, Transform
from sciml.measurement.loss import Loss
from sciml.measurement.problem import Problem
from sciml.measurement.shots import cut
from sciml.simulation import simulate
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.distributions import LogNormal, Normal
from sciml.symbolic.system import System


@given(st.lists(parameters(), min_size=1, max_size=5))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_free_coordinates_map_to_values_and_back(declared):
    coordinates = Coordinates.of_parameters(parameter for parameter, _ in declared)
    values = np.array([other for _, other in declared])
    free = coordinates.free(values)
    back, slopes = coordinates.values(free)
    assert np.isfinite(free).all()
    assert back == pytest.approx(values, rel=1e-9, abs=1e-9)
    step = 1e-5
    ahead, behind = coordinates.values(free + step)[0], coordinates.values(free - step)[0]
    assert slopes == pytest.approx((ahead - behind) / (2 * step), rel=1e-5, abs=1e-6)


@given(st.lists(parameters(), min_size=1, max_size=5), st.floats(-800, 800))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_no_coordinate_leaves_the_bounds_or_the_finite_numbers(declared, place):
    coordinates = Coordinates.of_parameters(parameter for parameter, _ in declared)
    values, slopes = coordinates.values(np.full(len(coordinates), place))
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    for (parameter, _), value in zip(declared, values):
        lower, upper = parameter.bounds
        assert lower is None or value >= lower
        assert upper is None or value <= upper


@given(st.lists(parameters(), min_size=1, max_size=5))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_priors_are_gaussian_around_the_declared_values(declared):
    coordinates = Coordinates.of_parameters(parameter for parameter, _ in declared)
    values = np.array([parameter.value for parameter, _ in declared])
    penalty, slopes = coordinates.penalty(values)
    assert penalty == pytest.approx(0.0, abs=1e-12)
    assert slopes == pytest.approx(np.zeros(len(values)), abs=1e-9)
    others = np.array([max(other, 1e-3) if p.prior.__class__ is LogNormal else other for p, other in declared])
    expected = 0.0
    for (parameter, _), value in zip(declared, others):
        if isinstance(parameter.prior, Normal):
            expected += 0.5 * ((value - parameter.value) / float(parameter.prior.scale)) ** 2
        elif isinstance(parameter.prior, LogNormal):
            expected += 0.5 * (np.log(value / parameter.value) / float(parameter.prior.scale)) ** 2
    assert coordinates.penalty(others)[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("bounds", "transform"),
    [
        ((None, None), Transform.SCALED),
        ((0, None), Transform.ABOVE),
        ((None, 2), Transform.BELOW),
        ((0, 2), Transform.BETWEEN),
    ],
)
def test_every_kind_of_bounds_has_its_transform(bounds, transform):
    coordinates = Coordinates.of_parameters([Parameter(1.5, bounds=bounds)])
    assert coordinates.transform.tolist() == [transform]


def test_shots_cover_every_measurement_once():
    experiments = Problem(decay(), [frame(), frame(index=TIMES[:5])]).experiments
    shots = cut(experiments, 3)
    assert [shot.experiment for shot in shots] == [0, 0, 0, 1, 1, 1]
    assert sum(np.isfinite(shot.values).sum() for shot in shots) == 9 + 5
    for before, after in pairwise(shots):
        assert before.last or before.times[-1] == after.times[0]


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_gaps_are_zero_when_the_nodes_lie_on_the_trajectory(backend):
    system = models.lotka_volterra(1.0, 0.5, 0.8, 0.4, prey=1.5)
    data = simulate(system, np.linspace(0, 3, 10), rtol=1e-12, atol=1e-12).to_frame()
    noise = {"x": LogNormal(0.1), "y": Normal(0.1)}
    problem = Problem(system, data, noise, rtol=1e-10, atol=1e-10, backend=backend)
    loss = Loss(problem, intervals=3)
    parameters, _, _ = loss.physical(loss.initial())
    nodes = data.to_numpy()[[3, 6]]
    vector = loss.coordinates.free(np.concatenate([parameters[0], nodes.ravel()]))
    assert loss.gaps(vector).shape == (2, 2)
    assert np.abs(loss.gaps(vector)).max() < 1e-8
    value, _ = loss.value_and_gradient(vector, continuity=100.0)
    assert value == pytest.approx(problem.value_and_gradient(loss.without_nodes(vector))[0], rel=1e-7)
    vector[-1] += 0.1
    jumped = loss.gaps(vector)
    assert jumped[1, 1] == pytest.approx(-0.1, rel=1e-6), "nodes of additive quantities move by their sizes"
    priced, free = (loss.value_and_gradient(vector, continuity=price)[0] for price in (100.0, 0.0))
    assert priced - free == pytest.approx(50.0 * (jumped**2).sum(), rel=1e-6)


def test_gradients_of_multiple_shooting_match_finite_differences():
    data = [pelts(gaps=[(2, "hare")]), pelts(seed=1, rows=5)]
    loss = Loss(Problem(predators(), data, LEVELS, **TIGHT), intervals=2)
    vector = loss.initial(seed=2)
    vector = vector + np.random.default_rng(3).normal(scale=0.1, size=len(vector))
    check_gradient(lambda z: loss.value_and_gradient(z, 10.0), vector)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_a_trajectory_that_blows_up_gives_infinity_and_zeros(backend):
    system = System({x: k * x**2}, parameters={k: Parameter(0.1)}, initial={x: 1})
    data = frame(x=1 / (1 - 0.1 * TIMES))
    problem = Problem(system, data, {x: Normal(0.1)}, backend=backend)
    value, gradient = problem.value_and_gradient(problem.initial())
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    for multiple in (20.0, 1e300):
        value, gradient = problem.value_and_gradient(multiple * problem.initial())
        assert value == np.inf
        assert gradient.tolist() == [0.0]
    assert problem.loss.log_likelihood(20 * problem.initial()) == -np.inf


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_a_model_that_turns_negative_under_multiplicative_noise_gives_infinity_and_zeros(backend):
    system = System({x: -k}, parameters={k: Parameter(0.1)}, initial={x: 1})
    problem = Problem(system, frame(x=1 - 0.1 * TIMES), {x: LogNormal(0.1)}, backend=backend)
    assert np.isfinite(problem.value_and_gradient(problem.initial())[0])
    value, gradient = problem.value_and_gradient(10 * problem.initial())
    assert value == np.inf
    assert gradient.tolist() == [0.0]


FIELDS = {
    "a parameter": System({x: -k}, parameters={k: Parameter(0.4)}, initial={x: 1}),
    "a number": System({x: -sp.Rational(2, 5)}, initial={x: Parameter(0.9)}),
    "time": System({x: -t / 3}, initial={x: Parameter(0.9)}),
}


@pytest.mark.parametrize("system", FIELDS.values(), ids=FIELDS)
def test_a_right_hand_side_may_ignore_the_state(system):
    problem = Problem(system, frame(x=1 - 0.3 * TIMES), {x: Normal(0.1)}, **TIGHT)
    check_gradient(problem.value_and_gradient, problem.initial())


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_the_loss_of_a_known_system_can_be_computed(backend):
    problem = Problem(System({x: -x}, initial={x: 2}), frame(), {x: Normal(0.1)}, backend=backend)
    value, gradient = problem.value_and_gradient(problem.initial())
    assert np.isfinite(value)
    assert gradient.shape == (0,)


def test_a_parameter_of_the_user_may_be_called_like_a_noise_level():
    level = sp.Symbol("noise_level", real=True)
    problem = Problem(System({x: -level * x}, parameters={level: Parameter(1.0)}, initial={x: 2}), frame())
    assert [str(symbol) for symbol in problem.noise_parameters] == ["noise_x"]
    assert problem.with_system(problem.system).system.parameters[level] == Parameter(1.0)
