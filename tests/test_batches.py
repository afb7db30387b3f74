"""A batch is its members: whatever their grids, lengths and directions, and whoever among them diverges."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import explosion

from sciml.solvers import RK4, Dopri5, Status, Tsit5, solve

METHODS = [Tsit5(), Dopri5(), RK4(step=0.05)]
# Below this size a state is so far from where it goes to infinity that rounding does not matter.
SMALL = 100.0


@st.composite
def members(draw):
    """Initial values and grids, one of which, y' = y^2 from 2, goes to infinity half a unit of time after its begin."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        begin, sign = draw(st.floats(-1, 1)), draw(st.sampled_from([-1.0, 1.0]))
        gaps = draw(st.lists(st.floats(0.05, 0.6), min_size=1, max_size=4))
        times = [begin + sign * sum(gaps[:i]) for i in range(len(gaps) + 1)]
        found.append((draw(st.floats(-2.0, 0.4)), times))
    place = draw(st.integers(0, len(found)))
    return [*found[:place], (2.0, [0.3, 0.6, 0.9, 1.0, 1.1]), *found[place:]], place


@given(drawn=members(), solver=st.sampled_from(METHODS), graph=st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_batch_with_a_diverging_member_equals_the_members_alone(drawn, solver, graph):
    rows, lost = drawn
    longest = max(len(times) for _, times in rows)
    ts = torch.tensor([times + [math.nan] * (longest - len(times)) for _, times in rows], dtype=torch.float64)
    y0 = torch.tensor([[start] for start, _ in rows], dtype=torch.float64, requires_grad=graph)
    batch = solve(explosion, y0, ts, solver=solver, throw=False)
    assert batch.status[lost] in (Status.STEP_UNDERFLOW, Status.NON_FINITE)
    assert [f.trajectory for f in batch.failures] == [i for i, status in enumerate(batch.status) if status]
    for i, (_, times) in enumerate(rows):
        alone = solve(explosion, y0[i].detach(), ts[i, : len(times)], solver=solver, throw=False)
        assert batch.status[i] == alone.status[0]
        assert batch.ys[i, len(times) :].isnan().all()
        one, other = batch.ys[i, : len(times)].detach(), alone.ys
        assert torch.equal(one.isnan(), other.isnan())
        small = other.abs() < SMALL
        torch.testing.assert_close(one[small], other[small], rtol=1e-8, atol=1e-8)
