"""Events of a System: what is declared, what is refused, and what is simulated, fitted, saved and exported."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from torch import nn

import sciml
from sciml import LBFGS, Event, LevenbergMarquardt, Normal, Parameter, Problem, SingleShooting, System, models, simulate
from sciml.errors import DataError, ModelError, SolveError
from sciml.lowering.vector_field import compile
from sciml.measurement.loss import Loss
from sciml.solvers import Status, solve
from sciml.symbolic.serialize import decode_system, encode_system

x, v, g, e, k = sp.symbols("x v g e k", real=True)
t = sp.Symbol("t", real=True)
kick = sp.Function("kick")
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
ENGINES = ["native", "torch"]


@pytest.mark.parametrize("backend", ENGINES)
def test_the_bouncing_ball_hits_the_floor_when_it_should(backend):
    system = models.bouncing_ball(gravity=9.0, restitution=0.7, height=2.0)
    simulation = simulate(system, np.linspace(0, 2.5, 26), backend=backend, **TIGHT)
    first = np.sqrt(2 * 2.0 / 9.0)
    expected = [first * (1 + 2 * sum(0.7**j for j in range(1, n))) for n in range(1, 4)]
    events = simulation.events
    assert list(events.columns) == ["event", "x", "v"]
    assert events.index.name == "t"
    assert events.index[:3].to_numpy() == pytest.approx(expected, abs=1e-10)
    assert events["v"].to_numpy()[:3] == pytest.approx([-9 * first * 0.7**n for n in range(3)], abs=1e-8)
    assert simulation["x"].min() > -1e-9


@pytest.mark.parametrize("backend", ENGINES)
def test_the_bouncing_ball_ends_where_its_bounces_accumulate(backend):
    with pytest.raises(sciml.SolveError, match="The events chatter"):
        simulate(models.bouncing_ball(restitution=0.5), [0.0, 2.0], backend=backend)
    early = simulate(models.bouncing_ball(restitution=0.5), [0.0, 1.3], backend=backend)
    assert early.status == (Status.SUCCESS,)


@pytest.mark.parametrize("backend", ENGINES)
def test_a_terminal_event_ends_a_simulation(backend):
    system = System({x: -k * x}, {k: 1.0}, initial={x: 1.0}, events=Event(x - sp.exp(-1), terminal=True))
    simulation = simulate(system, [0.0, 0.5, 2.0], backend=backend, **TIGHT)
    assert simulation.status == (Status.EVENT,)
    assert simulation.events.index.tolist() == pytest.approx([1.0], abs=1e-9)
    assert np.isfinite(simulation.values[:2]).all()
    assert np.isnan(simulation.values[2]).all()


def test_a_system_without_events_has_an_empty_table_of_them():
    simulation = simulate(System({x: -x}, initial={x: 1.0}), [0.0, 1.0])
    assert len(simulation.events) == 0
    assert list(simulation.events.columns) == ["event", "x"]


def test_conditions_and_resets_may_hold_time_parameters_and_learned_functions():
    system = System(
        {x: -x},
        parameters={k: 0.5},
        learned={kick: nn.Linear(1, 1, dtype=torch.float64)},
        initial={x: 1.0},
        events=[Event(t - k, reset={x: x + kick(x)})],
    )
    field = compile(system)
    solution = solve(field, field.initial, torch.tensor([0.0, 1.0], dtype=torch.float64), events=field.events, **TIGHT)
    (network,) = field.networks
    before = torch.exp(torch.tensor([-0.5], dtype=torch.float64))
    expected = (before + network(before)) * torch.exp(torch.tensor([-0.5], dtype=torch.float64))
    torch.testing.assert_close(solution.ys[-1], expected, rtol=1e-8, atol=1e-8)
    # x(1) = (x(k) + kick(x(k))) exp(k - 1): what is learned gets its gradient, and so does the time of the event.
    slope = torch.autograd.grad(solution.ys[-1].sum(), [network.weight, field.p])
    w = network.weight.detach().item()
    assert slope[0].item() == pytest.approx(np.exp(-0.5) * np.exp(-0.5), rel=1e-7)
    moved = expected.item() - np.exp(-0.5) * (1 + w) * np.exp(-0.5)
    assert slope[1].item() == pytest.approx(moved, rel=1e-6)


def test_a_copy_of_a_field_has_events_of_its_own():
    field = compile(models.bouncing_ball())
    copied = deepcopy(field)
    with torch.no_grad():
        copied.p[1] = 0.1
    state = torch.tensor([0.0, -2.0], dtype=torch.float64)
    now = torch.zeros((), dtype=torch.float64)
    assert copied.events[0].reset(now, state)[1].item() == pytest.approx(0.2)
    assert field.events[0].reset(now, state)[1].item() == pytest.approx(1.6)


def bounces():
    """Heights of a ball of gravity 9.5 and restitution 0.8."""
    return simulate(models.bouncing_ball(gravity=9.5), np.linspace(0, 1.5, 16)).to_frame()[["x"]]


@pytest.mark.parametrize("backend", ENGINES)
def test_the_loss_of_a_system_with_events_has_its_exact_gradient(backend):
    ball = models.bouncing_ball(restitution=0.75)
    loss = Loss(Problem(ball, bounces(), noise={x: Normal(0.05)}, backend=backend, **TIGHT))
    assert loss.engine == backend
    theta = loss.initial()
    _, gradient = loss.value_and_gradient(theta)
    for i in range(len(theta)):
        shift = 1e-6 * np.eye(len(theta))[i]
        up, down = (loss.value_and_gradient(theta + sign * shift)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("optimizer", [LBFGS(steps=25), LevenbergMarquardt(steps=10)], ids=["lbfgs", "squares"])
def test_gravity_and_restitution_are_fitted_through_the_bounces(optimizer):
    problem = Problem(models.bouncing_ball(restitution=0.75), bounces(), noise={x: Normal(0.01)})
    fit = sciml.fit(problem, SingleShooting(None), [optimizer], progress=False)
    assert fit.backend == "native"
    values = {str(symbol): parameter.value for symbol, parameter in fit.system.parameters.items()}
    assert values == pytest.approx({"g": 9.5, "e": 0.8}, rel=1e-3)


def test_a_terminal_event_before_the_last_measurement_says_why_the_loss_is_infinite():
    falling = System(
        {x: v, v: -g},
        parameters={g: Parameter(9.81, bounds=(5, 15))},
        initial={x: 1.0, v: 0.0},
        events=[Event(x, direction="falling", terminal=True)],
    )
    data = pd.DataFrame({"x": [1.0, 0.9, 0.5, 0.2]}, index=[0.0, 0.15, 0.3, 0.6])
    lost = Problem(falling, data)
    with pytest.warns(
        UserWarning, match=r"ends the trajectory of experiment `.*` at t = 0\.451524, before .* at t = 0\.6"
    ):
        value, _ = lost.value_and_gradient(lost.initial())
    assert value == np.inf
    with pytest.raises(SolveError, match=r"infinite at all vectors.*Leave out the measurements behind the event"):
        sciml.fit(lost, SingleShooting(None), [LBFGS(steps=2)], progress=False)
    kept = Problem(falling, data[:0.4])
    assert np.isfinite(kept.value_and_gradient(kept.initial())[0])


def test_forward_sensitivities_do_not_go_through_events():
    loss = Loss(Problem(models.bouncing_ball(), bounces()))
    assert loss.engine == "native"
    with pytest.raises(ModelError, match=r"forward sensitivities do not go through events"):
        loss.scorer()


def test_systems_with_events_are_saved_and_read():
    system = System(
        {x: v, v: -g},
        parameters={g: 9.81, e: Parameter(0.8, bounds=(0, 1))},
        events=[Event(x, direction="falling", reset={v: -e * v}), Event(sp.sin(v) - t, terminal=True)],
    )
    assert decode_system(*encode_system(system)) == system
    tree, arrays = encode_system(system)
    for change, value in [
        ("direction", "sideways"),
        ("condition", 3),
        ("reset", [["x", "v"]]),
        ("direction", ["both"]),
    ]:
        broken = {**tree, "events": [{**tree["events"][0], change: value}]}
        with pytest.raises(DataError, match="file"):
            decode_system(broken, arrays)
    with pytest.raises(DataError, match="does not hold a System"):
        decode_system({**tree, "events": [{}]}, arrays)


def test_events_take_part_in_substitutions():
    system = models.bouncing_ball().substitute({e: k**2}, parameters={k: 0.9})
    assert system.events[0].reset[v] == -(k**2) * v
    law = System({x: -x}, learned={kick: nn.Linear(1, 1)}, events=[Event(kick(x))]).substitute({kick: lambda z: z - 1})
    assert law.events[0].condition == x - 1


def test_equations_of_second_order_take_events_in_functions_of_time():
    height = sp.Function("x")(t)
    system = System.from_equations(
        [sp.Eq(height.diff(t, 2), -g)],
        parameters={g: 9.81},
        events=[Event(height, direction="falling", reset={height.diff(t): -height.diff(t) / 2})],
    )
    dot = sp.Symbol("x_dot", real=True)
    assert system.events[0].condition == x
    assert system.events[0].reset == {dot: -dot / 2}


def test_states_in_a_reset_may_be_named_by_text():
    assert System({x: v, v: -g}, {g: 1.0}, events=[Event(x, reset={"v": -v})]).events[0].reset == {v: -v}


def test_exports_show_events():
    text = sciml.export.latex(models.bouncing_ball())
    assert r"x &= 0 \;\Rightarrow\; v \mapsto - 0.8\, v" in text
    system = System({x: -x}, events=[Event(x - 1, terminal=True), Event(x - 2)])
    assert r"x - 1 &= 0 \;\Rightarrow\; \text{end}" in sciml.export.latex(system)
    assert r"x - 2 &= 0 \;\Rightarrow\; \text{event}" in system._repr_latex_()
    source = sciml.export.python(system)
    assert "event" in source
    assert "event" not in sciml.export.python(replace(system, events=()))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Event(x < 0)], r"`events\[0\]` is `x < 0`, which is true or false. Give .* through zero, `x`"),
        ([Event("x")], r"the condition of `events\[0\]` is 'x': write it as a SymPy expression"),
        ([Event(x), Event(lambda t, y: y)], r"`events\[1\]` holds a function. A System takes SymPy"),
        ([Event(x, reset=lambda t, y: y)], r"`events\[0\]` holds a function"),
        ([Event(x, reset={})], r"the reset of `events\[0\]` is {}: give a dict"),
        ([Event(x, reset={"w": -v})], "`w` is not a state. The system has `x`, `v`"),
        ([Event(x, reset={g: 1})], "`g` is not a state"),
        ([Event(x, reset={v: "-v"})], r"the reset of `v` in `events\[0\]` is '-v': write it"),
        ([Event(k * x)], r"`k` in the condition of `events\[0\]` is neither a state nor a parameter"),
        ([Event(x, reset={v: -k * v})], r"`k` in the reset of `v` in `events\[0\]` is neither"),
        ([Event(kick(x))], r"`kick\(x\)` in the condition of `events\[0\]` is an unknown function"),
        ([x], r"`events\[0\]` is of type `Symbol`. Expected an `Event"),
    ],
)
def test_bad_events_say_what_to_do(events, message):
    with pytest.raises(ModelError, match=message):
        System({x: v, v: -g}, {g: 9.81}, events=events)
    assert System({x: v, v: -g}, {g: 9.81}, events=[Event(x, reset={v: -v})]).events[0].direction == "both"
