"""A penalty that keeps networks from what parameters can do: its value, gradients, errors, and what it settles."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import (
    LBFGS,
    MLP,
    Box,
    GaussNewton,
    Normal,
    Orthogonal,
    Parameter,
    Penalty,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import ModelError
from sciml.measurement.information import information
from sciml.measurement.loss import Loss

x, v, t, k, c = sp.symbols("x v t k c", real=True)
f, g = sp.symbols("f g", cls=sp.Function)
TIMES = np.linspace(0, 6, 31)
LAW = System(
    {x: v, v: -k * x - c * v * sp.Abs(v)}, parameters={k: Parameter(2.0), c: Parameter(0.15)}, initial={x: 1.5, v: 0.0}
)


def data(scale: float = 1.0) -> pd.DataFrame:
    frame = sciml.simulate(LAW, TIMES, initial={x: 1.5 * scale}).to_frame()
    return frame + 0.01 * np.random.default_rng(0).standard_normal(frame.shape)


def weighing(weight: float) -> list:
    """Penalties that are the same code, whatever the weight."""
    return [Penalty(x < 1, 10.0), Orthogonal(f, weight)]


def problem(measured=None, parameter=None, **options) -> Problem:
    """A spring whose stiffness k the network f(x, v) can imitate; k and c act alike at the start of the test's vectors."""
    parameters = {k: parameter or Parameter(1.0, bounds=(0, 6)), c: Parameter(0.2)}
    model = System({x: v, v: -k * x - c * v + f(x, v)}, parameters=parameters, learned={f: MLP((4,), decay=1e-3)})
    options = {"penalties": weighing(1000.0)} | options
    return Problem(model, data() if measured is None else measured, {x: Normal(0.01), v: Normal(0.01)}, **options)


@pytest.fixture(scope="module")
def posed() -> Problem:
    return problem()


def near(posed: Problem) -> np.ndarray:
    vector = posed.initial()
    return vector + 0.1 * np.random.default_rng(1).standard_normal(len(vector))


def test_it_is_the_norm_of_the_projection(posed):
    vector = near(posed)
    fit = sciml.Fit(posed, vector, True, "")
    fine = np.unique(np.concatenate([np.linspace(a, b, 5) for a, b in pairwise(TIMES)]))
    states = fit.simulate(fine).states
    weights = np.gradient(fine) / np.ptp(fine)
    weights[[0, -1]] /= 2 if weights[0] == weights[1] else 1
    unit = posed.rates[1]
    slopes, added = -states / unit, fit.learned_values(f, states) / unit
    root = np.sqrt(weights)
    best, *_ = np.linalg.lstsq(root[:, None] * slopes, root * added, rcond=None)
    expected = 1000.0 * weights @ (slopes @ best) ** 2
    without = problem(penalties=weighing(1e-12))
    found = posed.value_and_gradient(vector)[0] - without.value_and_gradient(vector)[0]
    assert found == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_exact_in_both_engines(posed):
    vector, direction = near(posed), np.random.default_rng(2).standard_normal(len(posed.initial()))
    value, gradient = posed.value_and_gradient(vector)
    above, below = (posed.value_and_gradient(vector + s * 1e-5 * direction)[0] for s in (1, -1))
    assert posed.engine == "native"
    assert gradient @ direction == pytest.approx((above - below) / 2e-5, rel=1e-4)
    other = replace(posed, system=posed.declared, backend="torch")
    assert other.value_and_gradient(vector)[0] == pytest.approx(value, rel=1e-9)
    assert other.value_and_gradient(vector)[1] == pytest.approx(gradient, rel=1e-6, abs=1e-6 * np.abs(gradient).max())


def test_its_information_is_that_of_its_overlaps_with_the_slopes_held(posed):
    vector = near(posed)
    few = problem(data().iloc[:3])
    found, other = (
        information(p.loss, vector).matrix for p in (few, replace(few, system=few.declared, backend="torch"))
    )
    assert found == pytest.approx(other, rel=1e-6, abs=1e-8 * np.abs(found).max())
    own = information(posed.loss, vector).matrix - information(problem(penalties=weighing(1e-12)).loss, vector).matrix
    sizes = np.linalg.eigvalsh(own)
    assert (sizes > 1e-6 * sizes[-1]).sum() == 2, "one direction for each parameter"
    assert sizes[0] > -1e-9 * sizes[-1]


def test_shots_and_experiments_are_integrated_together(posed):
    two = problem([data(), data(0.5)])
    vector = near(two)
    pieces = Loss(two, 3)
    nodes = pieces.initial()
    nodes[: len(vector)] = vector
    value, gradient = pieces.value_and_gradient(nodes, 10.0)
    other = Loss(replace(two, system=two.declared, backend="torch"), 3).value_and_gradient(nodes, 10.0)
    assert value == pytest.approx(other[0], rel=1e-9)
    assert gradient == pytest.approx(other[1], rel=1e-6, abs=1e-6 * np.abs(gradient).max())
    assert two.loss.log_likelihood(vector) < 0


def test_a_parameter_that_a_network_imitates_is_settled_near_its_truth():
    found = {}
    for weight in (1e-9, 1000.0):
        posed = problem(penalties=weighing(weight))
        posed = posed.with_system(posed.declared.with_parameters({c: Parameter(0.0, fixed=True)}))
        fit = sciml.fit(posed, SingleShooting(), [LBFGS(500)], progress=False)
        low, high = fit.laplace(GaussNewton()).intervals(0.9).loc["k", ["lower", "upper"]]
        found[weight] = fit.estimates["k"], high - low
    assert found[1000.0][0] == pytest.approx(2.0, abs=0.1)
    assert found[1000.0][1] < 0.2 * found[1e-9][1]


def test_it_goes_where_the_function_goes_and_survives_a_file(posed, tmp_path):
    fit = sciml.fit(posed, SingleShooting(None), [LBFGS(2)], progress=False)
    again = sciml.load(fit.save(tmp_path / "spring.sciml"))
    assert again.problem.penalties == posed.penalties
    assert again.loss == fit.loss
    assert posed.with_system(LAW.with_parameters({c: 0.1})).penalties == (Penalty(x < 1, 10.0),)
    both = Orthogonal([f, g])
    assert both.without(["g"]) == Orthogonal(f)


def test_two_parameters_that_act_alike_are_charged_once():
    model = System({x: -(k + c) * x + f(x)}, parameters={k: Parameter(1.0), c: Parameter(0.5)}, learned={f: MLP((4,))})
    twice = Problem(model, data()[["x"]], {x: Normal(0.1)}, penalties=[Orthogonal(f)], backend="torch")
    fixed = model.with_parameters({c: Parameter(0.5, fixed=True)})
    once = Problem(fixed, data()[["x"]], {x: Normal(0.1)}, penalties=[Orthogonal(f)], backend="torch")
    vector = twice.initial()
    assert twice.value_and_gradient(vector)[0] == pytest.approx(
        once.value_and_gradient(np.delete(vector, 1))[0], rel=1e-6
    )


ORTHOGONAL = {
    "no function": (lambda: Orthogonal(3), r"`Orthogonal\(3\)` needs learned functions: `Orthogonal\(growth\)`"),
    "none": (lambda: Orthogonal([]), "needs learned functions"),
    "weight": (lambda: Orthogonal(f, weight=-1.0), "weight must be a positive number"),
    "points": (lambda: Orthogonal(f, points=0), "number of points must be a positive whole number"),
    "unknown": (
        lambda: problem(penalties=[Orthogonal(sp.Function("ff"))]),
        r"`ff` in `Orthogonal` is not a learned function. The System learns `f`. Did you mean `f`\?",
    ),
    "nothing beside it": (
        lambda: Problem(
            System({x: f(x)}, parameters={}, learned={f: MLP((2,))}),
            data()[["x"]],
            {x: Normal(1.0)},
            penalties=Orthogonal(f),
        ),
        "has nothing to keep `f` from: no free parameter occurs in the equations beside it. Leave the penalty out.",
    ),
    "own parameters": (
        lambda: problem([data(), data()], Parameter(1.0, per_experiment=True)),
        "`k` differs between experiments, `per_experiment=True`, and `Orthogonal` is for parameters that all",
    ),
    "a cost": (
        lambda: Problem(
            System({x: -k * x + f(x)}, parameters={k: Parameter(1.0)}, learned={f: MLP((2,))}),
            cost=sp.Integral(x**2, (t, 0, 1)),
            initial_states=Box({x: (-1, 1)}, count=2),
            penalties=[Orthogonal(f)],
        ),
        "`Orthogonal` go with measurements, and this Problem has a cost",
    ),
    "no penalty": (lambda: problem(penalties=[f]), r"give inequalities as `Penalty\(.*, or `Orthogonal\(function\)`"),
}


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_what_cannot_be_is_refused(name):
    make, text = ORTHOGONAL[name]
    with pytest.raises(ModelError, match=text):
        make()
