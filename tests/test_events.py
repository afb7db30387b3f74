"""Events: where they are found, what happens there, their gradients, and what is said about bad ones."""

import math

import pytest
import torch
from problems import rotation

from sciml.errors import ModelError, SolveError
from sciml.event import Event
from sciml.solvers import RK4, Backsolve, Direct, Dopri5, Status, Tsit5, solve

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
GRADIENTS = [Direct(parallel=False), Direct(parallel=True), Backsolve()]


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


def first(t, y):
    return y[..., 0]


def second(t, y):
    return y[..., 1]


def ball(height, gravity, restitution, ts, *, drag=0.0, **options):
    """A ball dropped on a floor that throws it back with `restitution` times its speed."""

    def fall(t, y):
        speed = y[..., 1]
        return torch.stack([speed, -gravity - drag * speed], dim=-1)

    def bounce(t, y):
        return torch.stack([y[..., 0], -restitution * y[..., 1]], dim=-1)

    y0 = torch.stack([height, torch.zeros_like(height)], dim=-1)
    return solve(fall, y0, ts, events=[Event(first, direction="falling", reset=bounce)], **options)


def impact(n, height, gravity, restitution):
    """Time of the n-th impact."""
    bounces = sum((restitution**k for k in range(1, n)), torch.zeros_like(height))
    return torch.sqrt(2 * height / gravity) * (1 + 2 * bounces)


def leaves(*values):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


@pytest.mark.parametrize("gradients", GRADIENTS, ids=str)
def test_the_nth_impact_of_a_bouncing_ball_has_its_analytic_gradient(gradients):
    parameters = leaves(1.3, 9.81, 0.8)
    times = ball(*parameters, grid(0.0, 3.0), gradients=gradients).events.times
    assert len(times) >= 4
    for n in range(1, 5):
        expected = impact(n, *parameters)
        assert times[n - 1].item() == pytest.approx(expected.item(), abs=1e-12)
        found = torch.autograd.grad(times[n - 1], parameters, retain_graph=True, materialize_grads=True)
        wanted = torch.autograd.grad(expected, parameters, materialize_grads=True)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), RK4(step=0.01)], ids=str)
@pytest.mark.parametrize("gradients", GRADIENTS, ids=str)
def test_gradients_through_resets_match_finite_differences(gradients, solver):
    ts = grid(0.0, 0.9, 1.7, 2.4)

    def loss(height, gravity, restitution, gradients):
        solution = ball(height, gravity, restitution, ts, drag=0.4, solver=solver, gradients=gradients, **TIGHT)
        assert len(solution.events) >= 4
        heavy = solution.events.states[3, 1] + solution.events.times[2]
        return solution.ys[1:].mul(grid(1.0, -2.0, 3.0)[:, None]).sum() + heavy

    values = (1.3, 9.81, 0.8)
    parameters = leaves(*values)
    found = torch.autograd.grad(loss(*parameters, gradients), parameters)
    for i, derivative in enumerate(found):
        shifted = [[v + (j == i) * s for j, v in enumerate(values)] for s in (1e-6, -1e-6)]
        with torch.no_grad():
            up, down = (loss(*(grid(v)[0] for v in point), Direct()).item() for point in shifted)
        assert derivative.item() == pytest.approx((up - down) / 2e-6, rel=2e-5)


@pytest.mark.parametrize("gradients", GRADIENTS, ids=str)
def test_a_terminal_event_depends_on_the_parameters_of_field_and_condition(gradients):
    # y' = -a t y from 1 falls to w at t = sqrt(-2 log(w) / a).
    a, w = leaves(0.7, 0.3)
    reaches = Event(lambda t, y: y[..., 0] - w, terminal=True)
    solution = solve(lambda t, y: -a * t * y, grid(1.0), grid(0.0, 9.0), events=[reaches], gradients=gradients, **TIGHT)
    exact = torch.sqrt(-2 * torch.log(w) / a)
    assert solution.events.times.item() == pytest.approx(exact.item(), abs=1e-9)
    found = torch.autograd.grad(solution.events.times.sum(), (a, w), retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(exact, (a, w)), rtol=1e-7, atol=1e-8)
    # At the event the state is w, whatever a is.
    found = torch.autograd.grad(solution.events.states.sum(), (a, w), materialize_grads=True)
    torch.testing.assert_close(found, (grid(0.0)[0], grid(1.0)[0]), rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(step=0.3), RK4(step=0.05)], ids=str)
@pytest.mark.parametrize(
    ("direction", "turns"), [("both", [0.5, 1.5, 2.5, 3.5]), ("rising", [1.5, 3.5]), ("falling", [0.5, 2.5])]
)
def test_events_are_recorded_in_their_direction(direction, turns, solver):
    event = Event(first, direction=direction)
    solution = solve(rotation.field, rotation.y0, grid(0.0, 12.0), events=[event], solver=solver, **TIGHT)
    assert solution.status == (Status.SUCCESS,)
    assert (solution.events.times / math.pi).tolist() == pytest.approx(turns, abs=1e-4)
    plain = solve(rotation.field, rotation.y0, grid(0.0, 12.0), solver=solver, **TIGHT)
    torch.testing.assert_close(solution.ys, plain.ys, rtol=0, atol=1e-13)


def test_backwards_in_time_directions_are_seen_along_the_solve():
    # Backwards from (1, 0) the first component falls, too.
    event = Event(first, direction="falling", terminal=True)
    solution = solve(rotation.field, rotation.y0, grid(0.0, -1.0, -5.0), events=[event], **TIGHT)
    assert solution.status == (Status.EVENT,)
    assert solution.successful
    assert solution.events.times.item() == pytest.approx(-math.pi / 2, abs=1e-8)
    assert solution.ys[:2].isfinite().all()
    assert solution.ys[2].isnan().all()


def test_an_event_is_found_on_the_side_that_the_trajectory_came_from():
    # A tank that empties: the field has no value below zero.
    solution = solve(
        lambda t, y: -y.sqrt(), grid(1.0), grid(0.0, 5.0), events=[Event(first, terminal=True)], throw=False
    )
    assert solution.status in ((Status.EVENT,), (Status.NON_FINITE,))
    empty = Event(lambda t, y: y[..., 0] - 1e-3, terminal=True)
    solution = solve(lambda t, y: -y.sqrt(), grid(1.0), grid(0.0, 5.0), events=[empty], **TIGHT)
    assert solution.events.states.item() >= 1e-3
    assert solution.events.times.item() == pytest.approx(2 * (1 - math.sqrt(1e-3)), abs=1e-8)


@pytest.mark.parametrize("gradients", GRADIENTS, ids=str)
def test_each_trajectory_of_a_batch_has_its_own_events(gradients):
    heights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    _, gravity, restitution = leaves(1.0, 9.81, 0.9)
    ts = torch.tensor([[0.0, 1.0, 2.5], [0.0, 0.2, math.nan], [0.0, 0.5, 1.5]], dtype=torch.float64)
    batch = ball(heights, gravity, restitution, ts, gradients=gradients, dense=not isinstance(gradients, Backsolve))
    for i in range(3):
        row = ts[i][~ts[i].isnan()]
        alone = ball(heights[i], gravity, restitution, row, gradients=gradients)
        events = batch.events.select(trajectory=i)
        assert set(events.trajectory) <= {i}
        torch.testing.assert_close(events.times, alone.events.times, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(batch.ys[i, : len(row)], alone.ys, rtol=1e-11, atol=1e-11)
        if len(events):
            one, other = (
                torch.autograd.grad(e.times.sum(), [heights, gravity], retain_graph=True)
                for e in (events, alone.events)
            )
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert len(batch.events.select(trajectory=1)) == 0
    assert len(batch.events) == len(batch.events.select(event=0))


def test_dense_output_goes_through_resets():
    solution = ball(*leaves(1.0, 9.81, 0.8), grid(0.0, 0.3, 1.0, 2.0), dense=True)
    times = grid(0.0, 0.3, 1.0, 2.0)
    torch.testing.assert_close(solution.evaluate(times), solution.ys, rtol=1e-12, atol=1e-12)
    first_impact = solution.events.times[0].item()
    assert solution.evaluate(first_impact)[1] < 0 < solution.evaluate(first_impact + 1e-6)[1]
    assert solution.evaluate(grid(2.1)).isnan().all()


def test_a_failing_trajectory_leaves_the_events_of_its_neighbors_alone():
    y0 = torch.tensor([[0.5], [4.0]], dtype=torch.float64, requires_grad=True)
    event = Event(lambda t, y: y[..., 0] - 0.8, terminal=True)
    solution = solve(lambda t, y: y**2, y0, grid(0.0, 1.0), events=[event], throw=False, **TIGHT)
    assert solution.status == (Status.EVENT, Status.STEP_UNDERFLOW)
    # y = 1 / (1/y0 - t) reaches 0.8 at t = 1/y0 - 1.25.
    assert solution.events.times.tolist() == pytest.approx([0.75], abs=1e-8)
    (by_state,) = torch.autograd.grad(solution.events.times.sum(), y0)
    assert by_state.flatten().tolist() == pytest.approx([-4.0, 0.0], abs=1e-6)


def test_several_events_happen_in_the_order_of_their_times():
    # A particle between two walls, recorded at the middle.
    def turn(t, y):
        return torch.stack([y[..., 0], -y[..., 1]], dim=-1)

    walls = [Event(lambda t, y: y[..., 0] - 1, reset=turn), Event(lambda t, y: y[..., 0] + 1, reset=turn)]
    moving = torch.tensor([0.0, 1.0], dtype=torch.float64)
    solution = solve(
        lambda t, y: torch.stack([y[..., 1], 0 * y[..., 1]], dim=-1),
        moving,
        grid(0.0, 6.5),
        events=[*walls, Event(first)],
    )
    assert solution.events.event.tolist() == [0, 2, 1, 2, 0, 2]
    assert solution.events.times.tolist() == pytest.approx([1, 2, 3, 4, 5, 6], abs=1e-12)
    assert solution.ys[-1].tolist() == pytest.approx([-0.5, -1.0], abs=1e-12)


def test_two_events_at_one_time_both_happen():
    # A billiard ball that runs into a corner turns back on its way.
    def mirror(i):
        return lambda t, y: torch.cat([y[..., :2], y[..., 2:] * (1 - 2 * torch.eye(2, dtype=y.dtype)[i])], dim=-1)

    walls = [Event(lambda t, y, i=i: 1 - y[..., i], direction="falling", reset=mirror(i)) for i in range(2)]
    y0 = grid(0.0, 0.0, 1.0, 1.0)
    solution = solve(lambda t, y: torch.cat([y[2:], 0 * y[2:]]), y0, grid(0.0, 2.0), events=walls)
    assert solution.events.event.tolist() == [0, 1]
    assert solution.ys[-1].tolist() == pytest.approx([0.0, 0.0, -1.0, -1.0], abs=1e-12)


def test_a_condition_that_starts_at_zero_is_an_event_when_it_comes_back():
    # Thrown up from the floor at 3 m/s, with steps longer than the flight.
    rise = torch.tensor([0.0, 3.0], dtype=torch.float64)
    solution = solve(
        lambda t, y: torch.stack([y[..., 1], 0 * y[..., 1] - 10.0], dim=-1),
        rise,
        grid(0.0, 9.0),
        events=[Event(first, terminal=True)],
        first_step=0.7,
    )
    assert solution.events.times.tolist() == pytest.approx([0.6], abs=1e-12)


def test_an_output_at_the_time_of_a_reset_is_the_state_before_it():
    # A dose of 1 at t = 1 in a decay.
    dose = Event(lambda t, y: t - 1.0, reset=lambda t, y: y + 1.0)
    solution = solve(lambda t, y: -y, grid(1.0), grid(0.0, 1.0, 2.0), events=[dose], **TIGHT)
    assert solution.events.times.tolist() == pytest.approx([1.0], abs=1e-12)
    assert solution.ys.flatten().tolist() == pytest.approx(
        [1, math.exp(-1), (math.exp(-1) + 1) * math.exp(-1)], abs=1e-8
    )


def test_images_and_float32_have_events():
    y0 = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)) + 0.5
    event = Event(lambda t, y: y.flatten(1).mean(1) - 0.4, terminal=True)
    solution = solve(lambda t, y: -y, y0, torch.tensor([0.0, 4.0]), events=[event])
    assert solution.events.states.shape == (2, 3, 4)
    torch.testing.assert_close(solution.events.times, torch.log(y0.flatten(1).mean(1) / 0.4), rtol=1e-4, atol=1e-5)


def test_an_event_that_never_happens_leaves_status_and_table_to_say_so():
    event = Event(lambda t, y: y[..., 0] - 7, terminal=True)
    solution = solve(rotation.field, rotation.y0, grid(0.0, 3.0), events=[event])
    assert solution.status == (Status.SUCCESS,)
    assert len(solution.events) == 0
    assert solution.events.states.shape == (0, 2)
    assert solve(rotation.field, rotation.y0, grid(0.0, 3.0)).events is None


def test_events_that_chatter_are_an_error_with_the_time_at_which_they_accumulate():
    parameters = [grid(v)[0] for v in (1.0, 9.81, 0.5)]
    end = impact(100, *parameters).item()
    with pytest.raises(SolveError, match=r"no time passes between the resets at t = .*The events chatter.*terminal"):
        ball(*parameters, grid(0.0, 5.0))
    solution = ball(*parameters, grid(0.0, 1.0, 5.0), throw=False)
    assert solution.status == (Status.CHATTERING,)
    assert solution.failures[0].time == pytest.approx(end, abs=1e-9)
    assert solution.ys[1].isfinite().all()
    assert solution.ys[2].isnan().all()
    with pytest.raises(SolveError, match=r"`max_resets=7` was reached of trajectory 0 .*terminal"):
        ball(torch.ones(2, dtype=torch.float64), *parameters[1:], grid(0.0, 5.0), max_resets=7)
    assert ball(*parameters, grid(0.0, 0.9 * end)).successful


def test_a_reset_that_changes_nothing_lets_the_state_go_on():
    idle = Event(first, direction="falling", reset=lambda t, y: y)
    solution = solve(lambda t, y: 0 * y - 1.0, grid(1.0), grid(0.0, 3.0), events=[idle])
    assert solution.events.times.tolist() == pytest.approx([1.0], abs=1e-12)
    assert solution.ys[-1].item() == pytest.approx(-2.0, abs=1e-12)


def test_a_state_that_is_put_back_again_and_again_is_counted():
    back = Event(first, direction="falling", reset=lambda t, y: y + 0.25)
    solution = solve(lambda t, y: 0 * y - 1.0, grid(1.0), grid(0.0, 2.9), events=[back])
    assert solution.events.times.tolist() == pytest.approx([1 + 0.25 * n for n in range(8)], abs=1e-11)
    solution = solve(lambda t, y: 0 * y - 1.0, grid(1.0), grid(0.0, 3.0), events=[back], max_resets=4, throw=False)
    assert solution.status == (Status.MAX_RESETS,)
    assert len(solution.events) == 4


def test_second_derivatives_of_event_times_are_refused():
    (start,) = leaves(1.0)
    event = Event(first, terminal=True)
    solution = solve(lambda t, y: -torch.ones_like(y), start[None], grid(0.0, 3.0), events=[event])
    with pytest.raises(SolveError, match="no second derivatives"):
        torch.autograd.grad(solution.events.times.sum(), start, create_graph=True)
    assert torch.autograd.grad(solution.events.times.sum(), start)[0].item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "condition", [lambda t, y: (y[..., 0] > 0).double() - 0.5, lambda t, y: y[..., 0] ** 3], ids=["jump", "cubic"]
)
def test_a_condition_without_a_rate_has_a_time_but_no_gradient(condition):
    start = grid(1.0)
    event = Event(condition, terminal=True)

    def fall(t, y):
        return -torch.ones_like(y)

    assert solve(fall, start, grid(0.0, 3.0), events=[event]).events.times.tolist() == pytest.approx([1.0], abs=1e-6)
    jump = Event(lambda t, y: (y[..., 0] > 0).double() - 0.5, terminal=True)
    with pytest.raises(SolveError, match=r"of trajectory 0 has no rate of change at t = 1: .*`torch.no_grad\(\)`"):
        solve(fall, start.requires_grad_(), grid(0.0, 3.0), events=[jump])
    assert solve(fall, start, grid(0.0, 3.0), events=[Event(first, terminal=True)]).events.times.requires_grad


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Event(first, direction="risng"), r"`direction='risng'`.*`both`, `rising`, `falling`.*mean `rising`"),
        (lambda: Event(first, terminal=True, reset=first), "`terminal=True` ends the trajectory"),
        (lambda: [Event(3.0)], r"the condition of `events\[0\]` is of type `float`"),
        (lambda: [Event(first), Event(first, reset={})], r"the reset of `events\[1\]` is of type `dict`"),
        (lambda: [first], r"`events\[0\]` is of type `function`. Expected an `Event"),
        (lambda: [Event(lambda t, y: y)], r"returns shape \(2,\). Expected a tensor of shape \(\)"),
        (lambda: [Event(lambda t, y: 1.0)], "returns a `float`"),
    ],
)
def test_bad_events_say_what_to_do(build, message):
    with pytest.raises(ModelError, match=message):
        solve(rotation.field, rotation.y0, grid(0.0, 1.0), events=build())
    assert solve(rotation.field, rotation.y0, grid(0.0, 1.0), events=Event(second)).successful


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        (lambda t, y: y[..., :1], r"the reset of an `Event` returns shape \(1,\)"),
        (lambda t, y: y.float(), "returns .*torch.float32.* Expected a state like `y`"),
        (lambda t, y: 0.0, "returns a `float`"),
    ],
)
def test_bad_resets_say_what_to_do(reset, message):
    with pytest.raises(ModelError, match=message):
        solve(rotation.field, rotation.y0, grid(0.0, 3.0), events=[Event(first, reset=reset)])
