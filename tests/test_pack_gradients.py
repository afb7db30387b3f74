"""The loss and gradient of many shots side by side: what each gives alone, whatever its neighbors do."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_properties import STATES, systems

from sciml import MLP, Normal, Parameter, Problem, System
from sciml.measurement.loss import Loss
from sciml.native import loss as native
from sciml.solvers import Dopri5, Dopri8, Tsit5

x, y, k, sigma = sp.symbols("x y k sigma", real=True)
f, g = sp.symbols("f g", cls=sp.Function)
RATE = Parameter(1.5, bounds=(0, None))
HYBRID = System(
    {x: -k * x + f(x, y), y: sp.sin(x) - y + g(x, y) * sp.cos(k * x)},
    parameters={k: RATE, sigma: Parameter(0.2, bounds=(0, None))},
    learned={(f, g): MLP(hidden=(7, 5))},
)


def frames(count: int, seed: int = 0, longest: float = 3.0) -> list[pd.DataFrame]:
    """Series of different lengths and times, with gaps."""
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(count):
        rows = int(rng.integers(2, 9))
        times = np.sort(rng.uniform(0, longest, rows))
        table = pd.DataFrame(rng.normal(size=(rows, 2)), index=times, columns=["x", "y"])
        gaps = rng.uniform(size=table.shape) < 0.2
        gaps[0] = False
        tables.append(table.mask(gaps))
    return tables


def losses(problem: Problem, monkeypatch, pieces: int = 1, packed: float = 16) -> tuple[Loss, Loss]:
    """The loss in packs, and that of one trajectory after the other."""
    whole = Loss(replace(problem, backend="native"))
    found = whole.in_pieces(pieces), whole.in_pieces(pieces)
    for loss, limit in zip(found, (packed, math.inf)):
        with monkeypatch.context() as patch:
            patch.setattr(native, "PACKED", limit)
            loss.prepare()
    return found


def agree(packs: Loss, alone: Loss, seed: int = 0, relative: float = 1e-12) -> None:
    theta = alone.initial(seed)
    value, gradient = packs.value_and_gradient(theta, 3.0)
    expected, slopes = alone.value_and_gradient(theta, 3.0)
    if np.isinf(expected):
        assert np.isinf(value)
        assert not gradient.any()
        return
    assert value == pytest.approx(expected, rel=relative)
    assert np.abs(gradient - slopes).max() <= relative * np.abs(slopes).max()


def kernel(loss: Loss) -> native.Loss:
    assert loss._native is not None
    return loss._native._loss


# The error estimate of order eight is mostly rounding here, and that of a pack is another: so are lengths of steps.
@pytest.mark.parametrize(
    ("solver", "relative"), [(Tsit5(), 1e-12), (Dopri5(), 1e-12), (Dopri8(), 1e-9)], ids=["Tsit5", "Dopri5", "Dopri8"]
)
def test_the_gradient_in_packs_is_that_of_one_after_the_other(solver, relative, monkeypatch):
    problem = Problem(HYBRID, frames(21), noise={x: Normal(sigma), y: Normal(0.3)}, solver=solver)
    packs, alone = losses(problem, monkeypatch)
    assert kernel(packs).task.record["pack_vjp"][0] != 0
    assert kernel(alone).task.record["pack_value"][0] == 0
    agree(packs, alone, relative=relative)
    np.testing.assert_array_equal(kernel(packs).shots["steps"], kernel(alone).shots["steps"])
    theta = packs.initial(1)
    assert kernel(packs).value(theta) == pytest.approx(packs.value_and_gradient(theta)[0], rel=1e-14)


@pytest.mark.parametrize("count", [1, 8, 11])
def test_any_number_of_shots_takes_packs(count, monkeypatch):
    problem = Problem(HYBRID, frames(count, seed=count), noise={x: Normal(sigma), y: Normal(0.3)})
    packs, alone = losses(problem, monkeypatch, packed=1)
    assert kernel(packs).task.record["pack_vjp"][0] != 0
    agree(packs, alone, seed=count)


def test_shots_of_one_series_take_packs_and_close_their_gaps(monkeypatch):
    times = np.linspace(0, 8, 81)
    table = pd.DataFrame({"x": np.cos(times), "y": np.sin(times)}, index=times)
    packs, alone = losses(Problem(HYBRID, table, noise={x: Normal(sigma), y: Normal(0.3)}), monkeypatch, pieces=20)
    assert kernel(packs).task.record["pack_vjp"][0] != 0
    agree(packs, alone)


def test_every_experiment_in_a_pack_may_have_its_own_parameters(monkeypatch):
    system = replace(HYBRID, parameters={**HYBRID.parameters, k: replace(RATE, per_experiment=True)})
    problem = Problem(system, frames(19), noise={x: Normal(sigma), y: Normal(0.3)})
    packs, alone = losses(problem, monkeypatch)
    theta = alone.initial() + 0.1 * np.random.default_rng(0).normal(size=len(alone.initial()))
    for loss in (packs, alone):
        monkeypatch.setattr(loss, "initial", lambda seed: theta)
    agree(packs, alone)


def test_more_steps_than_there_is_room_for_get_room(monkeypatch):
    problem = Problem(HYBRID, frames(16, longest=40.0), noise={x: Normal(sigma), y: Normal(0.3)}, rtol=1e-9, atol=1e-9)
    packs, alone = losses(problem, monkeypatch)
    agree(packs, alone)
    assert kernel(packs).shots["steps"].max() > 64


def test_a_step_into_nothing_is_rejected_without_a_trace(monkeypatch):
    # The square root has no value below zero: long first steps end there, in some lanes and not in others.
    system = System({x: -k * x * sp.sqrt(x) + g(x) * x, y: -y}, {k: Parameter(20.0)}, {g: MLP(hidden=(5,))})
    starts = np.geomspace(0.01, 4, 24)
    tables = [pd.DataFrame({"x": [start, 0.1], "y": [1.0, 0.5]}, index=[0.0, 0.6]) for start in starts]
    packs, alone = losses(Problem(system, tables, noise={x: Normal(0.1), y: Normal(0.1)}), monkeypatch)
    for loss in (packs, alone):
        kernel(loss).task.set(first_step=0.6)
    agree(packs, alone)
    value, gradient = packs.value_and_gradient(packs.initial())
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_shot_that_cannot_be_solved_is_named_and_the_others_are_solved(monkeypatch):
    system = System({x: k * x**2, y: -y}, {k: RATE})
    tables = [
        pd.DataFrame({"x": [start, 1.0], "y": [1.0, 0.5]}, index=[0.0, 1.0]) for start in np.linspace(-2, 0.5, 20)
    ]
    for start, failing in ((5.0, [3]), (0.4, [])):
        tables[3] = pd.DataFrame({"x": [start, 1.0], "y": [1.0, 0.5]}, index=[0.0, 1.0])
        packs, alone = losses(Problem(system, tables, noise={x: Normal(0.1), y: Normal(0.1)}), monkeypatch)
        agree(packs, alone)
        np.testing.assert_array_equal(kernel(packs).shots["status"], kernel(alone).shots["status"])
        assert kernel(packs).shots["status"].nonzero()[0].tolist() == failing


@settings(max_examples=4, deadline=None, derandomize=True)
@given(systems(), st.integers(0, 2**32 - 1))
def test_random_systems_agree_or_fail_alike(system, seed):
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(18):
        times = np.cumsum(rng.uniform(0.05, 0.4, int(rng.integers(2, 6))))
        table = pd.DataFrame(rng.normal(size=(len(times), 3)), index=times, columns=[str(s) for s in STATES])
        tables.append(table.mask((rng.uniform(size=table.shape) < 0.3) & (np.arange(len(times)) > 0)[:, None]))
    problem = Problem(replace(system, initial={}), tables, noise={s: Normal(0.5) for s in STATES}, max_steps=500)
    with pytest.MonkeyPatch.context() as patch:
        agree(*losses(problem, patch), seed=seed % 100)
