"""Problems with a cost instead of data: learned feedback, its gradient, its errors."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import (
    LBFGS,
    MLP,
    Adam,
    Box,
    DataError,
    Holdout,
    LevenbergMarquardt,
    ModelError,
    MultipleShooting,
    Normal,
    Parameter,
    Penalty,
    Problem,
    System,
)

x, v, k, q, t, u = sp.symbols("x v k q t u", real=True)
policy = sp.Function("policy")
COST = sp.Integral(x**2 + (k * x) ** 2, (t, 0, 8))


def regulated(**options):
    """x' = x + w with the feedback w = -k x: the best k for a cost x² + w² is 1 + √2, whatever the start."""
    return System({x: x - k * x}, parameters={k: Parameter(1.5, bounds=(0, None))}, **options)


def steered(**network):
    return System({x: v, v: policy(x, v)}, learned={policy: MLP(**({"hidden": (4,)} | network))})


@pytest.fixture(scope="module")
def problem():
    cost = sp.Integral(x**2 + policy(x, v) ** 2, (t, 0, 2)) + 3 * v**2
    states = pd.DataFrame({"x": [1.0, -0.5, 0.3], "v": [0.0, 1.0, -0.4]})
    return Problem(steered(), cost=cost, initial_states=states, penalties=[Penalty(x < 0.9, 10.0, points=20)])


def test_the_best_gain_is_that_of_riccatis_equation():
    problem = Problem(regulated(), cost=COST, initial_states=Box({x: (-1, 1)}, count=3))
    fit = sciml.fit(problem)
    assert fit.converged
    assert fit.estimates["k"] == pytest.approx(1 + np.sqrt(2), rel=1e-3)
    starts = np.array([e.initial["x"] for e in problem.experiments])
    assert fit.costs.to_numpy() == pytest.approx((1 + np.sqrt(2)) * starts**2, rel=1e-3)
    assert fit.loss == pytest.approx(fit.costs.sum(), rel=1e-9)
    assert fit.system.states == (x,)
    assert fit.report().terms["costs"] == pytest.approx(fit.loss, rel=1e-6)


def test_engines_agree_on_a_cost_and_its_gradient(problem):
    torch = Problem(
        problem.declared,
        cost=problem.cost,
        initial_states=pd.DataFrame([e.initial for e in problem.experiments]),
        penalties=problem.penalties,
        backend="torch",
    )
    vector = problem.initial(seed=1)
    assert problem.engine == "native"
    value, gradient = problem.value_and_gradient(vector)
    other, slope = torch.value_and_gradient(vector)
    assert value == pytest.approx(other, rel=1e-12)
    assert gradient == pytest.approx(slope, rel=1e-9, abs=1e-12)
    ahead, behind = (problem.value_and_gradient(vector + s * 1e-5 * gradient)[0] for s in (1, -1))
    assert (ahead - behind) / 2e-5 == pytest.approx(gradient @ gradient, rel=1e-5)


def test_a_cost_is_the_integral_along_the_trajectory_and_the_price_of_its_end(problem):
    fit = sciml.fit(problem, optimizers=[Adam(steps=2)], progress=False)
    for e, experiment in enumerate(problem.experiments):
        fine = fit.simulate(np.linspace(0, 2, 2001), e)
        force = fit.learned_values(policy, fine.states[:, :2])
        integral = np.trapezoid(fine["x"] ** 2 + force**2, fine.times)
        assert fit.costs[experiment.name] == pytest.approx(integral + 3 * fine["v"][-1] ** 2, rel=1e-5)
        assert fine.states[0, :2] == pytest.approx([experiment.initial["x"], experiment.initial["v"]])


def test_a_learned_feedback_lowers_the_cost_and_is_saved(problem, tmp_path):
    before = problem.value_and_gradient(problem.initial())[0]
    fit = sciml.fit(problem, optimizers=[LBFGS(steps=60)], progress=False)
    assert fit.loss < 0.8 * before
    again = sciml.load(fit.save(tmp_path / "policy.sciml"))
    assert again.loss == fit.loss
    assert again.costs.to_numpy() == pytest.approx(fit.costs.to_numpy(), abs=0)
    assert {str(s) for s in again.system.states} == {"x", "v"}
    assert replace(again.problem).value_and_gradient(fit.vector)[0] == fit.loss
    sciml.plot.fit(fit, path=tmp_path / "control.png")


def test_boxes_are_filled_evenly_and_the_seed_decides():
    box = Box({x: (-1, 1), "v": (0, 4)}, count=8, seed=2)
    drawn = box.draw()
    assert drawn.equals(box.draw())
    assert not drawn.equals(Box({x: (-1, 1), "v": (0, 4)}, count=8, seed=3).draw())
    assert sorted(np.floor(4 * (drawn["x"] + 1)).astype(int)) == list(range(8))
    assert drawn["v"].between(0, 4).all()


def test_costs_of_observables_and_pieces_of_integrals_are_read():
    system = regulated(observed={u: -k * x}, initial={x: 1.0})
    pieces = sp.Integral(x**2, (t, 0, 8)) + 2 * sp.Integral(u**2, (t, 0, 8)) / 2 + 0 * x
    fit = sciml.fit(Problem(system, cost=pieces))
    assert fit.estimates["k"] == pytest.approx(1 + np.sqrt(2), rel=1e-3)
    assert fit.costs.iloc[0] == pytest.approx(1 + np.sqrt(2), rel=1e-3)


SYSTEM = regulated(initial={x: 1.0})
DATA = pd.DataFrame({"x": [1.0, 0.5]}, index=[0.0, 1.0])
BAD = {
    "neither data nor cost": ({"cost": None}, ModelError, r"needs something to fit by: measurements, .* or a cost"),
    "both": ({"data": DATA}, ModelError, "`data` and `cost` are both given"),
    "noise": ({"noise": {x: Normal(0.1)}}, ModelError, "`noise` go with measurements"),
    "text": ({"cost": "x**2"}, ModelError, "write it as a SymPy expression"),
    "a matrix": ({"cost": sp.Matrix([x, x])}, ModelError, "not a scalar expression|not a SymPy expression"),
    "no horizon": ({"cost": x**2}, ModelError, r"the cost `x\*\*2` has no integral over time, and thus no horizon"),
    "another variable": (
        {"cost": sp.Integral(x**2, (q, 0, 1))},
        ModelError,
        r"not an integral over time .* \(t, 0, 10\)",
    ),
    "no limits": ({"cost": sp.Integral(x**2, t)}, ModelError, "not an integral over time between two limits"),
    "backwards": ({"cost": sp.Integral(x**2, (t, 1, 0))}, ModelError, "runs from `1` to `0`: give two numbers"),
    "a symbol for a limit": ({"cost": sp.Integral(x**2, (t, 0, q))}, ModelError, "runs from `0` to `q`"),
    "two horizons": (
        {"cost": sp.Integral(x**2, (t, 0, 1)) + sp.Integral(x, (t, 0, 2))},
        ModelError,
        r"different limits, \[\(0.0, 1.0\), \(0.0, 2.0\)\]",
    ),
    "a function of an integral": ({"cost": sp.sqrt(COST)}, ModelError, "is not a sum of integrals and a terminal cost"),
    "a state times an integral": ({"cost": x * COST}, ModelError, "is not a sum of integrals and a terminal cost"),
    "an unknown symbol": (
        {"cost": sp.Integral(x**2 + q, (t, 0, 1))},
        ModelError,
        r"`q` in the running cost `q \+ x\*\*2` is neither a state",
    ),
    "an unknown symbol at the end": ({"cost": COST + q}, ModelError, "`q` in the terminal cost `q` is neither"),
    "an unknown function": (
        {"cost": sp.Integral(policy(x), (t, 0, 1))},
        ModelError,
        r"`policy\(x\)` in the running cost `policy\(x\)` is an unknown function",
    ),
    "nothing to learn": (
        {"system": SYSTEM.with_parameters({k: Parameter(1.5, fixed=True)})},
        ModelError,
        "nothing can lower the cost: the System has no learned function",
    ),
    "no initial value": ({"system": regulated()}, ModelError, r"`x` has no initial value. Give it in `initial_states`"),
    "an initial value of no state": (
        {"initial_states": {"y": [1.0]}},
        DataError,
        "`initial_states` names `y`, which is no state. The System has `x`",
    ),
    "a gap": ({"initial_states": {"x": [1.0, np.nan]}}, DataError, "row 1 of `x` is not finite"),
    "no table": ({"initial_states": 3.0}, ModelError, "`initial_states` of type `float` cannot be read: give a `Box`"),
    "text in it": ({"initial_states": {"x": ["a"]}}, DataError, "`initial_states` is not a table of numbers"),
    "inputs": (
        {"system": System({x: u - k * x}, parameters={k: Parameter(1.0)}, initial={x: 1.0}, inputs=[u])},
        ModelError,
        "the System has the inputs `u`, which a cost cannot be taken over yet",
    ),
    "diffusion": ({"system": regulated(initial={x: 1.0}, noise={x: 0.1})}, ModelError, "the System has noise"),
    "initial states beside data": (
        {"cost": None, "data": DATA, "initial_states": Box({x: (0, 1)})},
        ModelError,
        "`initial_states` go with a `cost`",
    ),
}


@pytest.mark.parametrize(("change", "kind", "text"), BAD.values(), ids=BAD)
def test_bad_costs_say_what_to_do(change, kind, text):
    good = {"system": SYSTEM, "cost": COST}
    Problem(**good)
    with pytest.raises(kind, match=text):
        Problem(**(good | change))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: sciml.fit(p, MultipleShooting(3)), "needs rows of measurements: a cost is for `SingleShooting"),
        (lambda p: sciml.fit(p, optimizers=[LevenbergMarquardt()]), "`LevenbergMarquardt` needs measurements"),
        (lambda p: sciml.fit(p, validate=Holdout(after=1.0)), "`validate` needs measurements"),
        (lambda p: sciml.discover(p, sciml.SparseRegression(degree=1)), "`discover` needs measurements"),
    ],
)
def test_what_needs_measurements_refuses_a_cost(call, text):
    with pytest.raises(ModelError, match=text):
        call(Problem(SYSTEM, cost=COST))


def test_intervals_and_residuals_are_not_for_costs():
    fit = sciml.fit(Problem(SYSTEM, cost=COST), progress=False)
    for ask in (fit.laplace, lambda: fit.rmse, lambda: fit.log_likelihood, lambda: fit.profile("k"), fit.bootstrap):
        with pytest.raises(ModelError, match=r"needs? measurements, and this Problem has a cost"):
            ask()
    measured = sciml.fit(Problem(regulated(), DATA, {x: Normal(0.1)}), progress=False)
    with pytest.raises(ModelError, match="`costs` are of a Problem with a `cost`"):
        measured.costs


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Box({}), "give state -> "),
        (lambda: Box({x: (1, 0)}), r"the range of `x` in a `Box` is \(1, 0\): give the smallest and the largest"),
        (lambda: Box({x: 2.0}), "the range of `x` in a `Box` is 2.0"),
        (lambda: Box({x: (0, 1)}, count=0), r"`Box\(count=0\)` must be a whole number from 1"),
    ],
)
def test_bad_boxes_are_refused(make, text):
    with pytest.raises(ModelError, match=text):
        make()


def test_a_law_in_place_of_a_policy_that_the_cost_calls_is_refused(problem):
    law = System({x: v, v: -2 * k * x - k * v}, parameters={k: Parameter(1.0)})
    with pytest.raises(
        ModelError, match=r"the cost calls `policy\(x, v\)`, and the new System .*Pose the problem anew"
    ):
        problem.with_system(law)
    free = Problem(steered(), cost=sp.Integral(x**2, (t, 0, 2)), initial_states=pd.DataFrame({"x": [1.0], "v": [0.0]}))
    closed = free.with_system(law)
    fit = sciml.fit(closed, progress=False)
    assert fit.loss < 0.9 * closed.value_and_gradient(closed.initial())[0]
    assert np.abs(closed.value_and_gradient(fit.vector)[1]).max() < 1e-3
