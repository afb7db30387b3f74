"""Maps: Systems that go in steps."""

import json

import numpy as np
import pytest
import sympy as sp
import torch

import sciml
from sciml import Event, Problem, System, models, simulate
from sciml.errors import DataError, ModelError, SolveError
from sciml.symbolic.serialize import decode_system, encode_system

x, r = sp.symbols("x r", real=True)


def test_a_map_is_iterated():
    growth = 3.2
    path = simulate(models.logistic_map(growth, 0.3), range(4))["x"]
    expected = [0.3]
    for _ in range(3):
        expected.append(growth * expected[-1] * (1 - expected[-1]))
    assert path == pytest.approx(expected, abs=1e-15)


def test_only_asked_steps_are_returned_and_trajectories_go_side_by_side():
    many = simulate(models.logistic_map(), [0, 2, 5], parameters={"r": [2.0, 3.5]})
    one = simulate(models.logistic_map(3.5), range(6))
    assert many["x"][1] == pytest.approx(one["x"][[0, 2, 5]], abs=1e-15)
    assert many["x"].shape == (2, 3)


def test_a_map_knows_which_step_it_takes():
    n = sp.Symbol("t", real=True)
    assert simulate(System({x: n}, initial={x: -1.0}, discrete=True), range(4))["x"].tolist() == [-1.0, 0.0, 1.0, 2.0]


def test_a_map_that_escapes_harms_no_other():
    with pytest.raises(SolveError, match="trajectory 1 of 2 of the map left the finite numbers by step 8"):
        simulate(models.logistic_map(), range(30), initial={"x": [0.5, 9.0]})
    kept = simulate(models.logistic_map(), range(30), initial={"x": [0.5, 9.0]}, throw=False)
    assert np.isfinite(kept["x"][0]).all()
    assert np.isnan(kept["x"][1, -1])
    assert [s.name for s in kept.status] == ["SUCCESS", "NON_FINITE"]


def test_a_map_is_saved_and_shown_as_one():
    system = models.henon()
    tree, arrays = encode_system(system)
    assert decode_system(json.loads(json.dumps(tree)), arrays) == system
    assert r"x &\mapsto" in system._repr_latex_()
    assert r"x &\mapsto" in sciml.export.latex(system)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: simulate(m, [0, 0.5]), DataError, r"whole steps, forwards; `ts` has 0\.5"),
        (lambda m: simulate(m, [3, 2]), DataError, "has falling numbers"),
        (lambda m: simulate(m, range(3), solver=sciml.RK4(step=1.0)), ModelError, "for differential equations"),
        (lambda m: m.time_derivative(x), ModelError, "a map has no time derivative"),
        (lambda m: sciml.export.python(m), ModelError, "is a map"),
        (lambda m: Problem(m, {}), ModelError, "maps are not fitted yet"),
        (lambda m: sciml.solve(sciml.compile(m), torch.ones(1).double(), torch.arange(2.0)), ModelError, "is a map"),
        (lambda m: System({x: r * x}, {r: 1.0}, events=Event(x), discrete=True), ModelError, "has no events"),
    ],
)
def test_what_a_map_cannot_do_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(models.logistic_map())
