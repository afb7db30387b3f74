"""Events are the same in both engines: times, states, resets, ends, gradients, and what is said where a solve fails."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from agreement import agree
from hypothesis import given, settings
from hypothesis import strategies as st

import sciml
from sciml import (
    MLP,
    Dopri5,
    Dopri8,
    Event,
    Kvaerno5,
    Normal,
    Parameter,
    Problem,
    Rodas5P,
    System,
    Tsit5,
    models,
    simulate,
)
from sciml.errors import SolveError
from sciml.solvers import Status

t = sp.Symbol("t", real=True)
x, y, v, u = sp.symbols("x y v u", real=True)
a, b, c, d, e, level, jump, late = sp.symbols("a b c d e level jump late", real=True)

BALL = sciml.compile(models.bouncing_ball())
SWITCHED = sciml.compile(
    System(
        {x: a * x + b * y + e, y: c * x + d * y + sp.sin(t)},
        parameters=dict.fromkeys((a, b, c, d, e, level, jump, late), 1.0),
        initial={x: 0.0, y: 0.0},
        events=[
            Event(x - level, direction="rising", reset={x: x - jump, y: y + jump / 2}),
            Event(y + level, reset={y: y / 3}),
            Event(x * y - level / 4, direction="falling"),
            Event(t - late, terminal=True),
        ],
    )
)

quiet = settings(max_examples=15, deadline=None, derandomize=True)


def same(system, times, rtol=1e-7, **options):
    """Both engines give the same table and the same events, or the same error."""
    found = []
    for backend in ("torch", "native"):
        try:
            found.append(simulate(system, times, backend=backend, throw=True, **options))
        except SolveError as error:
            found.append(str(error))
    expected, own = found
    if isinstance(expected, str) or isinstance(own, str):
        number = re.compile(r"-?\d+\.?\d*(e-?\d+)?")
        assert isinstance(expected, str), own
        assert isinstance(own, str), expected
        assert number.sub("#", own) == number.sub("#", expected)
        numbers = [[float(n.group()) for n in number.finditer(text)] for text in found]
        assert numbers[1][:1] == pytest.approx(numbers[0][:1], rel=1e-4)
        return None
    assert own.status == expected.status
    np.testing.assert_allclose(own.values, expected.values, rtol=rtol, atol=rtol)
    assert own.events["event"].tolist() == expected.events["event"].tolist()
    np.testing.assert_allclose(own.events.to_numpy(), expected.events.to_numpy(), rtol=rtol, atol=rtol)
    moments = [simulation.occurrences.times.numpy() for simulation in (own, expected)]
    np.testing.assert_allclose(*moments, rtol=rtol, atol=rtol)
    return own


@quiet
@given(
    st.floats(0.2, 0.95),
    st.floats(0.5, 20.0),
    st.floats(0.1, 3.0),
    st.lists(st.floats(0.01, 0.6), min_size=1, max_size=6),
    st.sampled_from([Tsit5(), Dopri5(), Dopri8()]),
)
def test_a_ball_bounces_alike_in_both_engines(restitution, gravity, height, gaps, solver):
    values = {"e": restitution, "g": gravity}
    # Where the bounces accumulate, rounding decides which one is the last.
    times = np.cumsum([0.0, *gaps])
    times *= min(1.0, 0.99 * math.sqrt(2 * height / gravity) * (1 + restitution) / (1 - restitution) / times[-1])
    same(BALL, times, parameters=values, initial={"x": height}, solver=solver, rtol=1e-7)


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("restitution", [0.1, 0.25, 0.5, 0.8])
def test_no_ball_falls_through_the_floor_where_its_bounces_accumulate(restitution, backend):
    values = {"e": restitution, "g": np.linspace(5.0, 15.0, 7)}
    balls = simulate(BALL, [0.0, 9.0], parameters=values, throw=False, backend=backend)
    assert set(balls.status) == {Status.CHATTERING}
    assert np.isnan(balls["x"][:, 1]).all()


@quiet
@given(
    st.lists(st.floats(-2.0, 2.0), min_size=5, max_size=5),
    st.floats(0.2, 2.0),
    st.floats(0.1, 3.0),
    st.floats(0.5, 6.0),
    st.booleans(),
)
def test_thresholds_of_linear_systems_are_the_same_in_both_engines(matrix, threshold, reset, end, backwards):
    values = dict(zip("abcde", matrix)) | {"level": threshold, "jump": reset, "late": -end if backwards else end}
    times = np.linspace(0.0, 5.0, 7) * (-1 if backwards else 1)
    same(SWITCHED, times, 1e-5, parameters=values, atol=1e-8)


@pytest.mark.parametrize("solver", [Kvaerno5(), Rodas5P()], ids=str)
def test_stiff_methods_have_events_natively(solver):
    # A relaxation oscillator by resets: charged quickly, emptied at a threshold.
    times = np.linspace(0.0, 3.0, 13)
    model = System(
        {x: 50 * (sp.cos(t) + 2 - x), y: x - y},
        initial={x: 0.0, y: 0.0},
        events=[Event(y - 1, direction="rising", reset={y: 0}), Event(x - 2, direction="falling")],
    )
    own = simulate(model, times, solver=solver, backend="native", rtol=1e-9, atol=1e-9)
    expected = simulate(model, times, solver=Kvaerno5(), backend="torch", rtol=1e-9, atol=1e-9)
    assert own.backend == "native"
    assert own.events["event"].tolist() == expected.events["event"].tolist()
    assert len(own.events) >= 2
    np.testing.assert_allclose(own.values, expected.values, atol=1e-6)
    np.testing.assert_allclose(own.events.index, expected.events.index, atol=1e-6)


def test_trajectories_side_by_side_have_their_own_events():
    heights, bounce = np.linspace(0.2, 2.0, 40), np.linspace(0.9, 0.3, 40)
    many = same(BALL, [0.0, 0.6, 1.1], initial={"x": heights}, parameters={"e": bounce})
    for i in (0, 17, 39):
        alone = simulate(BALL, [0.0, 0.6, 1.1], initial={"x": heights[i]}, parameters={"e": bounce[i]})
        own = many.events.loc[i] if i in many.events.index.get_level_values(0) else many.events.iloc[:0]
        assert own.index.tolist() == alone.events.index.tolist()
        np.testing.assert_array_equal(many["x"][i], alone["x"])


def test_more_events_than_there_is_room_for_are_all_kept():
    many = simulate(System({x: v, v: -x}, initial={x: 1.0, v: 0.0}, events=Event(x)), [0.0, 1000.0])
    assert many.backend == "native"
    assert len(many.events) == int(1000 / np.pi + 0.5)
    np.testing.assert_allclose(many.events.index, (np.arange(len(many.events)) + 0.5) * np.pi, atol=0.05)


def test_resets_and_conditions_with_networks_and_inputs_are_the_same_in_both_engines():
    f = sp.Function("f")
    system = System(
        {x: u - x + f(x)},
        learned={f: MLP(hidden=4)},
        inputs=[u],
        initial={x: 0.0},
        events=[Event(x + f(x) / 10 - 0.5, direction="rising", reset={x: u / 8 + f(x) / 5})],
    )
    inputs = {"u": pd.Series([0.0, 2.0, 1.0, 3.0], index=[0.0, 0.7, 1.4, 4.0])}
    own = same(system, np.linspace(0, 4, 9), inputs=inputs, seed=3)
    assert own.backend == "native"
    assert len(own.events) >= 2


def test_failures_beside_events_keep_status_and_state():
    system = System({x: x**2, v: 1}, initial={x: 1.0, v: 0.0}, events=[Event(v - 0.5), Event(x - 30, terminal=True)])
    both = [
        simulate(system, [0.0, 0.4, 2.0], initial={"x": [0.2, 1.0, -1.0]}, backend=name, throw=False)
        for name in ("native", "torch")
    ]
    assert both[0].status == both[1].status == (Status.SUCCESS, Status.EVENT, Status.SUCCESS)
    np.testing.assert_allclose(both[0].values, both[1].values, rtol=1e-9)
    same(system, [0.0, 0.4, 2.0], initial={"x": 1.0})
    lost = System({x: -1}, initial={x: 1.0}, events=[Event(x, reset={x: sp.log(x - 1)})])
    same(lost, [0.0, 2.0])
    pole = System({x: x**2}, initial={x: 1.0}, events=[Event(x - 2)])
    same(pole, [0.0, 2.0])


def test_resets_are_counted_in_both_engines():
    step = sp.Rational(1, 20)
    back = System({x: -1}, initial={x: 1.0}, events=[Event(x, direction="falling", reset={x: x + step})])
    same(back, [0.0, 2.47])
    with pytest.raises(SolveError, match=r"`max_resets=1000` was reached at t = 50\.95 .*terminal"):
        simulate(back, [0.0, 60.0], backend="native")


@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-2.0, 2.0), min_size=5, max_size=5),
    st.floats(0.2, 1.0),
    st.floats(0.1, 2.0),
    st.integers(0, 100),
)
def test_losses_through_thresholds_have_the_same_gradient_in_both_engines(matrix, threshold, reset, seed):
    values = dict(zip("abcde", matrix)) | {"level": threshold, "jump": reset, "late": 9.0}
    free = {symbol: Parameter(values[str(symbol)]) for symbol in SWITCHED.system.parameters}
    system = replace(SWITCHED.system, parameters=free).with_initial({x: Parameter(0.1), y: Parameter(-0.1)})
    times = np.sort(np.random.default_rng(seed).uniform(0.0, 2.0, 6))
    frame = pd.DataFrame({"x": np.cos(times), "y": np.sin(times)}, index=times)
    problem = Problem(system, frame, {x: Normal(0.3), y: Normal(0.3)}, rtol=1e-8, atol=1e-8)
    if not np.isfinite(replace(problem, backend="torch").value_and_gradient(problem.initial())[0]):
        assert problem.value_and_gradient(problem.initial())[0] == np.inf
        return
    agree(problem, 1e-7, 1e-6)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri8(), Kvaerno5(), Rodas5P()], ids=lambda s: type(s).__name__)
def test_gradients_through_resets_with_networks_and_inputs_match_finite_differences(solver):
    f = sp.Function("f")
    system = System(
        {x: u - a * x + f(x)},
        parameters={a: Parameter(1.1), b: Parameter(5.0), level: Parameter(0.5)},
        learned={f: MLP(hidden=3)},
        inputs=[u],
        initial={x: Parameter(0.05)},
        events=[Event(x + f(x) / 10 - level * (1 + t / 9), direction="rising", reset={x: u / 8 + f(x) / b + t / 50})],
    )
    inputs = pd.DataFrame({"u": [0.0, 2.0, 1.0, 3.0]}, index=[0.0, 0.7, 1.4, 4.0])
    times = np.linspace(0.0, 4.0, 9)
    frame = pd.DataFrame({"x": 0.3 + 0.1 * np.sin(times)}, index=times)
    problem = Problem(system, frame, {x: Normal(0.2)}, inputs=inputs, solver=solver, rtol=1e-10, atol=1e-10)
    assert problem.engine == "native"
    theta = problem.initial(seed=2)
    _, gradient = problem.value_and_gradient(theta)
    # Steps change with the parameters, and dense output is less accurate than they are: not too small a difference.
    shifts = 1e-4 * np.eye(len(theta))
    ends = [[problem.value_and_gradient(theta + sign * shift)[0] for sign in (1, -1)] for shift in shifts]
    expected = np.array([(up - down) / 2e-4 for up, down in ends])
    assert np.abs(gradient - expected).max() <= 2e-5 * np.abs(expected).max()


def test_many_events_between_data_and_one_at_the_last_are_differentiated():
    # A clock that is set back again and again, at the last measurement, too.
    clock = System(
        {x: a},
        parameters={a: Parameter(1.0), b: Parameter(1.0)},
        initial={x: Parameter(0.0)},
        events=[Event(x - 1, direction="rising", reset={x: x - b}), Event(x - sp.Rational(1, 2))],
    )
    times = np.array([0.0, 40.25, 80.5, 81.0])
    data = pd.DataFrame({"x": [0.0, 0.25, 0.5, 0.9]}, index=times)
    agree(Problem(clock, data, {x: Normal(0.1)}, rtol=1e-8, atol=1e-8))
