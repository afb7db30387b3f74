"""Fields that jump in time: steps end at the jumps, so that order and gradients are those of smooth problems."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml.signals import Samples, SignalRows, Signals, joined
from sciml.solvers import (
    RK4,
    Backsolve,
    Checkpointed,
    Direct,
    Dopri5,
    Dopri8,
    Heun,
    Kvaerno5,
    Leapfrog,
    Tsit5,
    solve,
)

TIMES = np.array([0.0, 0.35, 0.9, 1.0, 1.85, 2.5])
LEVELS = np.array([1.0, -2.0, 0.5, 3.0, -1.0, 2.0])


class Driven:
    """y' = rate (u(t) - y) with levels that jump."""

    def __init__(self, rows, rate=1.0):
        self.signals = SignalRows(rows)
        self.jumps, self.rate = self.signals.jumps, rate

    def __call__(self, t, y):
        u = self.signals(t)
        return self.rate * ((u if y.ndim > 1 else u.squeeze(0) if u.ndim > 1 else u) - y)


def steps(shift=0.0) -> Signals:
    return joined([Samples(TIMES + shift, LEVELS, "constant")])


def exact(ts, y0=0.0, rate=1.0, times=TIMES):
    """The response to the levels, piece by piece."""
    found = []
    for t in ts:
        y, at = y0, times[0]
        for level, after in zip(LEVELS, [*times[1:], np.inf]):
            until = min(t, after)
            y, at = level + (y - level) * np.exp(-rate * (until - at)), until
            if t <= after:
                break
        found.append(y)
    return np.array(found)


def grid(*times):
    return torch.tensor(times, dtype=torch.float64)


@pytest.mark.parametrize("solver", [Tsit5(), Dopri5(), Dopri8(), Kvaerno5()], ids=lambda s: type(s).__name__)
def test_the_error_stays_at_the_tolerance_across_jumps(solver):
    ts = torch.linspace(0, 3, 31, dtype=torch.float64)
    for tolerance in (1e-6, 1e-9):
        ys = solve(Driven([steps()]), grid(0.0), ts, solver=solver, rtol=tolerance, atol=tolerance).ys[:, 0]
        assert np.abs(ys.numpy() - exact(ts.numpy())).max() < 30 * tolerance


@pytest.mark.parametrize(("method", "order"), [(Heun, 2), (RK4, 4), (Dopri5, 5), (Tsit5, 5)])
def test_the_order_of_fixed_steps_is_kept_across_jumps(method, order):
    ends = grid(0.0, 2.7)
    errors = []
    for step in (0.05, 0.025):
        y = solve(Driven([steps()]), grid(0.0), ends, solver=method(step=step)).ys[-1, 0]
        errors.append(abs(y.item() - exact([2.7])[0]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_without_jumps_the_order_is_lost():
    field = Driven([steps()])
    field.jumps = None
    errors = [
        abs(solve(field, grid(0.0), grid(0.0, 2.7), solver=RK4(step=step)).ys[-1, 0].item() - exact([2.7])[0])
        for step in (0.2, 0.1, 0.05)
    ]
    assert errors[-1] > 1e-4


def test_an_output_on_a_jump_and_an_end_on_a_jump_are_the_state_before_it():
    ts = torch.as_tensor(TIMES)
    for solver in (Tsit5(), RK4(step=0.01)):
        ys = solve(Driven([steps()]), grid(0.0), ts, solver=solver, rtol=1e-10, atol=1e-10).ys[:, 0]
        np.testing.assert_allclose(ys, exact(TIMES), atol=1e-8)


@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.01)], ids=["adaptive", "fixed"])
def test_backwards_from_a_jump_the_way_is_the_same(solver):
    ts = torch.as_tensor(TIMES)
    there = solve(Driven([steps()]), grid(0.0), ts, solver=solver, rtol=1e-11, atol=1e-11).ys
    back = solve(Driven([steps()]), there[-1], ts.flip(0), solver=solver, rtol=1e-11, atol=1e-11).ys
    torch.testing.assert_close(back.flip(0), there, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.05), Kvaerno5()], ids=["adaptive", "fixed", "implicit"])
def test_each_trajectory_of_a_batch_has_jumps_of_its_own(solver):
    rows = [steps(), steps(0.1), joined([Samples(np.array([0.0, 1.0]), np.array([1.0, 2.0]), "linear")])]
    ts = torch.linspace(0.1, 2.9, 8, dtype=torch.float64)
    y0 = grid(0.0, 1.0, 2.0)[:, None]
    batch = solve(Driven(rows), y0, ts, solver=solver, rtol=1e-6, atol=1e-6).ys
    for i, row in enumerate(rows):
        single = solve(Driven([row]), y0[i], ts, solver=solver, rtol=1e-6, atol=1e-6).ys
        torch.testing.assert_close(batch[i], single, rtol=1e-9, atol=1e-9)


MODES = [Direct(parallel=True), Direct(parallel=False), Checkpointed(segments=3), Backsolve()]


@pytest.mark.parametrize("gradients", MODES, ids=repr)
@pytest.mark.parametrize("solver", [Tsit5(), RK4(step=0.02), Kvaerno5()], ids=["adaptive", "fixed", "implicit"])
def test_gradients_across_jumps_match_the_exact_ones(gradients, solver):
    rate = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    y0 = grid(0.7).requires_grad_()
    ts = grid(0.0, 0.9, 1.7, 2.5)
    tolerance = 1e-8 if isinstance(solver, Kvaerno5) else 1e-10
    options = {"solver": solver, "gradients": gradients, "rtol": tolerance, "atol": tolerance}
    ys = solve(Driven([steps()], rate), y0, ts, **options).ys[:, 0]
    found = torch.autograd.grad((ys * grid(1.0, 2.0, -1.0, 0.5)).sum(), [rate, y0])
    weights, small = np.array([1.0, 2.0, -1.0, 0.5]), 1e-6

    def value(rate, y0):
        return (exact(ts.numpy(), y0, rate) * weights).sum()

    by_rate = (value(1.3 + small, 0.7) - value(1.3 - small, 0.7)) / (2 * small)
    by_start = (value(1.3, 0.7 + small) - value(1.3, 0.7 - small)) / (2 * small)
    close = 3e-5 if isinstance(solver, Kvaerno5) else 3e-6
    assert found[0].item() == pytest.approx(by_rate, rel=close)
    assert found[1].item() == pytest.approx(by_start, rel=close)


def test_a_splitting_method_lands_on_jumps():
    signals = SignalRows([joined([Samples(np.array([0.0, 1.0]), np.array([0.0, 3.0]), "constant")])])

    def field(t, y):
        return torch.stack([y[1], signals(t)[0] + 0.0 * y[0]])

    field.jumps = signals.jumps
    y = solve(field, grid(0.0, 0.0), grid(0.0, 2.0), solver=Leapfrog(step=0.3, momenta=(1,))).ys[-1]
    torch.testing.assert_close(y, grid(1.5, 3.0), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
    st.sampled_from(["constant", "linear", "cubic"]),
    st.integers(0, 2**32 - 1),
)
def test_the_integral_of_any_input_is_exact_on_any_grid(gaps, outputs, interpolation, seed):
    times = np.cumsum([0.0, *gaps])
    values = np.random.default_rng(seed).normal(size=len(times))
    signal = joined([Samples(times, values, interpolation)])
    rows = SignalRows([signal])

    def field(t, y):
        return rows(t) + 0.0 * y

    field.jumps = rows.jumps
    ts = np.cumsum([0.0, *outputs]) * times[-1] / sum(outputs)
    ts[-1] = times[-1]
    ys = solve(field, grid(0.0), torch.as_tensor(ts), rtol=1e-9, atol=1e-9).ys[:, 0].numpy()
    pieces = Samples(times, values, interpolation).polynomials().antiderivative()
    np.testing.assert_allclose(ys, pieces(ts) - pieces(0.0), atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["constant", "linear", "cubic"]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_joined_signals_are_the_signals_one_by_one(seed, interpolation):
    rng = np.random.default_rng(seed)
    one = Samples(np.cumsum(rng.uniform(0.1, 1, 5)), rng.normal(size=5).round(), interpolation)
    other = Samples(np.cumsum(rng.uniform(0.1, 1, 7)), rng.normal(size=7), "linear")
    both = joined([one, other])
    t = rng.uniform(max(one.times[0], other.times[0]), min(one.times[-1], other.times[-1]), 50)
    expected = np.stack([one.polynomials()(t), other.polynomials()(t)], axis=1)
    np.testing.assert_allclose(both(t), expected, atol=1e-12)
    np.testing.assert_allclose(SignalRows([both])(torch.as_tensor(t)[:, None]), expected, atol=1e-12)


def test_an_input_that_does_not_change_makes_no_steps():
    hold = joined([Samples(np.arange(100.0), np.r_[np.zeros(50), np.ones(50)], "constant")])
    assert hold.jumps.tolist() == [50.0]
    ramp = joined([Samples(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 2.0]), "linear")])
    assert ramp.jumps.tolist() == [1.0]
