"""Solvers: order, tolerance, batches, grids, failures, and what is said about bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import EXACT_PROBLEMS, explosion, logistic, pendulum, rotation

from sciml.errors import DataError, ModelError, SolveError
from sciml.solvers import RK4, Dopri5, Euler, Status, Tsit5, solve
from sciml.solvers.control import accepted_factor, rejected_factor

ADAPTIVE = [Dopri5(), Tsit5()]
DRIVEN = pendulum(torch.tensor([2.0, 0.3, 0.7], dtype=torch.float64))


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


def slope(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("solver", ADAPTIVE)
@pytest.mark.parametrize("problem", EXACT_PROBLEMS, ids=lambda p: p.name)
def test_the_error_is_proportional_to_the_tolerance(solver, problem):
    ts = torch.linspace(0, problem.end, 50, dtype=torch.float64)
    tolerances = np.array([1e-6, 1e-8, 1e-10, 1e-12])
    errors = []
    for tolerance in tolerances:
        ys = solve(problem.field, problem.y0, ts, solver=solver, rtol=tolerance, atol=tolerance).ys
        errors.append((ys - problem.exact(ts)).abs().max().item())
    assert slope(tolerances, errors) == pytest.approx(1.0, abs=0.25)
    assert np.all(errors < 100 * tolerances)


@pytest.mark.parametrize("solver", [*ADAPTIVE, RK4(step=0.01)])
def test_backwards_in_time_returns_to_the_start(solver):
    y0, ts = grid(0.4, -0.2), torch.linspace(0, 3, 7, dtype=torch.float64)
    there = solve(DRIVEN, y0, ts, solver=solver, rtol=1e-10, atol=1e-10).ys
    back = solve(DRIVEN, there[-1], ts.flip(0), solver=solver, rtol=1e-10, atol=1e-10).ys
    torch.testing.assert_close(back.flip(0), there, rtol=0, atol=1e-7)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), RK4(step=0.1), Tsit5(step=0.1)])
@pytest.mark.parametrize("own", ["shared grid", "own ragged grids"])
def test_a_batch_equals_its_trajectories_one_by_one(solver, own):
    y0 = torch.tensor([[0.4, -0.2], [3.0, 1.0], [0.0, 8.0]], dtype=torch.float64)
    ts = torch.linspace(0, 3, 7, dtype=torch.float64)
    if own != "shared grid":
        ts = torch.stack([ts, -0.5 * ts, ts**2 / 4])
        ts[1, 5:], ts[2, 3:] = math.nan, math.nan
    batch = solve(DRIVEN, y0, ts, solver=solver)
    for i in range(3):
        times = ts if ts.ndim == 1 else ts[i][~ts[i].isnan()]
        single = solve(DRIVEN, y0[i], times, solver=solver)
        torch.testing.assert_close(batch.ys[i, : len(times)], single.ys, rtol=1e-11, atol=1e-11)
        assert batch.ys[i, len(times) :].isnan().all()
        assert batch.stats.accepted[i] == single.stats.accepted[0]
        assert batch.stats.rejected[i] == single.stats.rejected[0]


def test_images_and_float32_are_solved():
    y0 = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    seen = []

    def decay(t, y):
        seen.append((t.shape, y.shape, t.dtype))
        return -y * (1 + 0 * t)

    solution = solve(decay, y0, torch.tensor([0.0, 0.5, 1.0]), dense=True)
    assert set(seen) == {((2, 1, 1), (2, 3, 4), torch.float32)}
    assert solution.ys.shape == (2, 3, 3, 4)
    torch.testing.assert_close(solution.ys[:, -1], y0 * math.exp(-1), rtol=1e-5, atol=1e-6)
    assert solution.evaluate(0.5).shape == y0.shape
    torch.testing.assert_close(solution.evaluate(0.5), solution.ys[:, 1], rtol=1e-5, atol=1e-6)


def test_a_single_trajectory_sees_a_time_without_dimensions():
    shapes = set()

    def field(t, y):
        shapes.add((t.shape, y.shape))
        return -t * y

    solve(field, grid(1.0), grid(0.0, 1.0))
    assert shapes == {((), (1,))}


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_diverging_trajectory_does_not_change_its_neighbors(solver):
    y0 = torch.tensor([[0.3], [2.0], [-1.0]], dtype=torch.float64)
    ts = torch.linspace(0, 1, 6, dtype=torch.float64)
    solution = solve(explosion, y0, ts, solver=solver, throw=False)
    assert solution.status == (Status.SUCCESS, Status.STEP_UNDERFLOW, Status.SUCCESS)
    assert not solution.successful
    for i in (0, 2):
        alone = solve(explosion, y0[i], ts, solver=solver).ys
        torch.testing.assert_close(solution.ys[i], alone, rtol=1e-11, atol=1e-11)
    failure = solution.failures[0]
    assert failure.trajectory == 1
    assert failure.time == pytest.approx(0.5, abs=1e-3)
    assert solution.ys[1, :3].isfinite().all()
    assert solution.ys[1, 3:].isnan().all()


def test_a_field_without_a_value_at_the_start_fails_alone():
    y0 = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    solution = solve(lambda t, y: y.sqrt(), y0, grid(0.0, 1.0), throw=False)
    assert solution.status == (Status.SUCCESS, Status.NON_FINITE)
    assert solution.ys[0, -1].item() == pytest.approx(2.25, abs=1e-5)
    assert solution.ys[1, 0].item() == -1.0
    assert solution.ys[1, 1].isnan()
    assert solution.failures[0].state.item() == -1.0


def test_failures_are_raised_with_time_trajectory_and_remedy():
    y0 = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
    with pytest.raises(SolveError, match=r"of trajectory 1 at t = 0\.5.* while solving with `Tsit5`.*`throw=False`"):
        solve(explosion, y0, grid(0.0, 1.0))
    with pytest.raises(SolveError, match=r"step size fell below 0\.001 at t = 0\.\d+ .*stiff"):
        solve(explosion, y0[1], grid(0.0, 1.0), min_step=1e-3)
    with pytest.raises(SolveError, match=r"`max_steps=5` was reached at t = .*`Dopri5`. Allow more steps"):
        solve(rotation.field, rotation.y0, grid(0.0, 50.0), max_steps=5, solver=Dopri5())
    with pytest.raises(SolveError, match=r"left the finite numbers at t = 0 .*`RK4`"):
        solve(lambda t, y: y.log(), grid(-1.0), grid(0.0, 1.0), solver=RK4(step=0.1))
    assert solve(explosion, y0, grid(0.0, 0.4)).successful


@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.1)])
def test_max_steps_ends_one_trajectory_and_not_the_others(solver):
    y0 = torch.ones(2, 1, dtype=torch.float64)
    ts = torch.tensor([[0.0, 0.4], [0.0, 40.0]], dtype=torch.float64)
    solution = solve(lambda t, y: y * torch.cos(5 * t), y0, ts, solver=solver, max_steps=20, throw=False)
    assert solution.status == (Status.SUCCESS, Status.MAX_STEPS)
    assert solution.ys[0].isfinite().all()
    assert solution.ys[1, 1].isnan()
    assert solution.stats.accepted[1] + solution.stats.rejected[1] == 20


BAD = {
    "integer state": (lambda: (torch.ones(2, dtype=torch.int64), grid(0.0, 1.0)), "`y0` has dtype torch.int64"),
    "list state": (lambda: ([1.0], grid(0.0, 1.0)), "`y0` is of type `list`"),
    "scalar state": (lambda: (grid(1.0)[0], grid(0.0, 1.0)), r"`y0` has shape \(\)"),
    "infinite state": (lambda: (grid(1.0, math.inf), grid(0.0, 1.0)), r"`y0` is inf at index \(1,\)"),
    "empty times": (lambda: (grid(1.0), grid()), "`ts` is empty"),
    "times with a gradient": (lambda: (grid(1.0), grid(0.0, 1.0).requires_grad_()), "`ts` requires a gradient"),
    "repeated time": (lambda: (grid(1.0), grid(0.0, 1.0, 1.0)), "`ts` goes from 1.0 to 1.0 at index 2"),
    "turning times": (lambda: (grid(1.0), grid(0.0, 1.0, 0.5)), "`ts` goes from 1.0 to 0.5 at index 2"),
    "missing time": (lambda: (grid(1.0), grid(0.0, math.nan, 1.0)), "`ts` is nan at index 1"),
    "infinite time": (lambda: (grid(1.0), grid(0.0, math.inf)), "`ts` is inf at index 1"),
    "hole in a grid": (
        lambda: (torch.ones(1, 1, dtype=torch.float64), grid(0.0, math.nan, 1.0)[None]),
        "row 0 of `ts` is nan at index 1.*pad the end",
    ),
    "grids without a batch": (lambda: (grid(1.0), grid(0.0, 1.0)[None]), r"Expected `\(time,\)`"),
    "too many grids": (
        lambda: (torch.ones(2, 1, dtype=torch.float64), grid(0.0, 1.0).expand(3, 2)),
        r"Expected `\(time,\)` or `\(2, time\)`",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_states_and_times_say_what_to_do(name):
    build, message = BAD[name]
    y0, ts = build()

    def untouched(t, y):
        raise AssertionError("the field must not be called")

    with pytest.raises(DataError, match=message):
        solve(untouched, y0, ts)


def test_the_accepted_neighbors_of_bad_input_are_solved():
    one, two = grid(1.0), torch.ones(2, 1, dtype=torch.float64)
    for y0, ts in [
        (one, grid(0.0)),
        (one, grid(0.0, 1.0)),
        (one, torch.tensor([0, 1])),
        (one, grid(1.0, 0.5, 0.0)),
        (two, grid(0.0, 1.0).expand(2, 2)),
        (two, torch.tensor([[0.0, 1.0, math.nan], [0.0, math.nan, math.nan]], dtype=torch.float64)),
    ]:
        solution = solve(lambda t, y: -y, y0, ts)
        assert solution.successful
        assert torch.equal(solution.ys.select(y0.ndim - 1, 0), y0)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (lambda t, y: y[:1], r"returns shape \(1,\). Expected that of `y`, \(2,\)"),
        (lambda t, y: y.float(), "returns torch.float32 for a state of torch.float64"),
        (lambda t, y: [0.0, 0.0], "returns a `list`"),
        (3.0, "`field` is of type `float`"),
    ],
)
def test_bad_fields_say_what_to_do(field, message):
    with pytest.raises(ModelError, match=message):
        solve(field, grid(1.0, 2.0), grid(0.0, 1.0))


def test_bad_options_say_what_to_do():
    arguments = (rotation.field, rotation.y0, grid(0.0, 1.0))
    for options, message in [
        ({"rtol": 0.0}, "`rtol` is 0.0"),
        ({"atol": math.nan}, "`atol` is nan"),
        ({"first_step": -1.0}, "`first_step` is -1.0"),
        ({"max_steps": 0}, "`max_steps` is 0"),
    ]:
        with pytest.raises(DataError, match=message):
            solve(*arguments, **options)
    with pytest.raises(ModelError, match=r"`Euler` has no error estimate.*`Euler\(step=0.01\)`"):
        Euler()
    with pytest.raises(ModelError, match="`step` of `Tsit5` is -1"):
        Tsit5(step=-1.0)
    with pytest.raises(DataError, match="`dense=True`"):
        solve(*arguments).evaluate(0.5)
    assert solve(*arguments, first_step=0.1).successful


@given(inner=st.lists(st.floats(0.01, 3.99), min_size=1, max_size=6, unique=True), backwards=st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_outputs_do_not_depend_on_which_others_are_asked_for(inner, backwards):
    sign = -1.0 if backwards else 1.0
    asked = sign * grid(0.0, *sorted(inner), 4.0)
    some = solve(logistic.field, logistic.y0, asked).ys
    for i in range(1, len(asked)):
        alone = solve(logistic.field, logistic.y0, torch.unique_consecutive(asked[[0, i, -1]])).ys[1]
        torch.testing.assert_close(some[i], alone, rtol=1e-13, atol=1e-13)


def test_dense_output_agrees_with_outputs_and_is_missing_outside():
    ts = torch.linspace(0, 3, 11, dtype=torch.float64)
    y0 = torch.stack([rotation.y0, 2 * rotation.y0])
    solution = solve(rotation.field, y0, ts, dense=True)
    torch.testing.assert_close(solution.evaluate(ts), solution.ys, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(solution.evaluate(ts.expand(2, 11)), solution.ys, rtol=1e-13, atol=1e-13)
    assert solution.evaluate(grid(-0.1, 3.1)).isnan().all()


def test_a_field_without_gradients_keeps_only_steps_with_outputs():
    solution = solve(rotation.field, rotation.y0, grid(0.0, 1.5, 50.0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(solution.ys[1], rotation.exact(grid(1.5))[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(solution.ys[2], rotation.exact(grid(50.0))[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128], ids=str)
def test_numpy_takes_the_steps_that_torch_takes(monkeypatch, shape, dtype):
    torch.manual_seed(0)
    y0, ts = torch.randn(shape, dtype=dtype), torch.linspace(0, 2, 5, dtype=torch.float64)

    def solution(tolerance):
        with torch.no_grad():
            # A conjugate is a view with a sign of its own, which NumPy does not know.
            return solve(lambda t, y: torch.sin(t) * y.conj() - y**3, y0, ts, rtol=tolerance, atol=tolerance)

    tolerance, limit = (1e-4, 1e-3) if dtype == torch.float32 else (1e-8, 1e-10)
    on_host = solution(tolerance)
    monkeypatch.setattr("sciml.solvers.host.LARGEST", 0)
    by_torch = solution(tolerance)
    # In single precision rounding decides whether a step at the edge of its tolerance is taken.
    assert dtype == torch.float32 or on_host.stats == by_torch.stats
    # Rounding changes the lengths of the steps, and with them the error.
    torch.testing.assert_close(on_host.ys, by_torch.ys, rtol=0, atol=limit)


def test_tangents_are_kept_where_no_graph_is_wanted():
    y0, rate = grid(1.0), torch.tensor(-1.0, dtype=torch.float64)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(rate, torch.ones_like(rate))
        ys = solve(lambda t, y: dual * y, y0, grid(0.0, 1.0), rtol=1e-9, atol=1e-9).ys
        tangent = torch.autograd.forward_ad.unpack_dual(ys[-1]).tangent
    assert tangent.item() == pytest.approx(math.exp(-1), abs=1e-7)


@pytest.mark.parametrize("previous", [math.nan, 1e-4, 1.0])
@pytest.mark.parametrize("error", [0.0, 1e-12, 1e-3, 1.0, 5.0, math.inf, math.nan])
def test_one_number_and_an_array_change_the_step_alike(error, previous):
    errors = np.array([error])
    assert rejected_factor(error, 5) == pytest.approx(rejected_factor(errors, 5)[0], rel=1e-15)
    if error <= 1.0:
        for after in (False, True):
            expected = accepted_factor(errors, np.array([previous]), 5, np.array([after]))[0]
            assert accepted_factor(error, previous, 5, after) == pytest.approx(expected, rel=1e-15)


def test_the_first_step_grows_by_its_own_error_alone():
    assert accepted_factor(0.9**5, math.nan, 5, False) == pytest.approx(1.0, rel=1e-12)
    assert accepted_factor(0.9**5, 1e-4, 5, False) < 0.75


@pytest.mark.parametrize("batch", [(), (5,)])
def test_an_explicit_step_waits_for_the_device_once(monkeypatch, batch):
    # On the host there is nothing to wait for, and NumPy takes the steps.
    monkeypatch.setattr("sciml.solvers.host.LARGEST", 0)
    waits = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        original = getattr(torch.Tensor, name)

        def counted(self, *arguments, original=original, name=name, **options):
            waits.append(name)
            return original(self, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    y0, found = rotation.y0.expand(*batch, 2), []
    for end in (10.0, 40.0):
        waits.clear()
        with torch.no_grad():
            stats = solve(rotation.field, y0, grid(0.0, end)).stats
        found.append((max(np.add(stats.accepted, stats.rejected)), len(waits)))
    (few, least), (many, most) = found
    assert many > 2 * few
    # The rest are looks at the input, which do not grow with the steps.
    assert most - least == many - few
