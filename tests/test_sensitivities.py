"""Forward sensitivities and descents by scoring, against the reverse pass and against L-BFGS."""

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import MLP, Kvaerno5, LogNormal, Normal, Parameter, Problem, Rodas5P, SingleShooting, System
from sciml.errors import ModelError
from sciml.native import likelihood

x, y, a, b, c, s = sp.symbols("x y a b c s", real=True)
f = sp.Function("f")
TIMES = np.linspace(0, 2, 9)
RATES = {a: Parameter(1.1, bounds=(0, 3)), b: Parameter(0.9), c: Parameter(0.8, bounds=(0, None))}
PREY = {x: a * x - b * x * y, y: c * x * y - 1.5 * y}


def measured(seed=0):
    rng = np.random.default_rng(seed)
    truth = System(PREY, parameters=dict(zip(RATES, (1.3, 0.9, 0.8))), initial={x: 1.0, y: 2.0})
    frame = sciml.simulate(truth, TIMES).to_frame()
    frame = frame * np.exp(0.02 * rng.standard_normal(frame.shape))
    frame.iloc[3, 0] = np.nan
    return frame


PROBLEMS = {
    "free noise": lambda: Problem(System(PREY, parameters=RATES), measured()),
    "known noise": lambda: Problem(System(PREY, parameters=RATES), measured(), {x: Normal(0.1), y: LogNormal(0.05)}),
    "one level for both": lambda: Problem(
        System(PREY, parameters={**RATES, s: Parameter(0.1, bounds=(0, None))}),
        measured(),
        {x: LogNormal(s), y: LogNormal(s)},
    ),
    "a level with a prior": lambda: Problem(
        System(PREY, parameters={**RATES, s: Parameter(0.1, bounds=(0, None), prior=LogNormal(0.2))}),
        measured(),
        {x: LogNormal(s), y: Normal(s)},
    ),
    "priors": lambda: Problem(
        System(
            {x: a * x - b * x * y, y: x * y - c * y},
            parameters={a: Parameter(1.0, bounds=(0, 4), prior=Normal(0.5)), b: Parameter(1.0, prior=Normal(0.1)), c: 1.5},
        ),
        measured(),
        {x: Normal(0.1), y: Normal(0.1)},
    ),
    "two experiments": lambda: Problem(System(PREY, parameters=RATES), [measured(0), measured(1).iloc[:5]]),
    "given initial values": lambda: Problem(
        System(PREY, parameters=RATES, initial={x: a, y: Parameter(2.0)}), measured(), {x: Normal(0.1), y: Normal(0.1)}
    ),
    "an observable": lambda: Problem(
        System(PREY, parameters=RATES, initial={x: 1.0, y: Parameter(2.0)}, observed={"both": x + c * y**2}),
        measured().rename(columns={"y": "both"})[["both"]],
        {"both": Normal(0.1)},
    ),
    "an implicit method": lambda: Problem(
        System(PREY, parameters=RATES), measured(), {x: Normal(0.1), y: Normal(0.1)}, solver=Kvaerno5()
    ),
    "a network": lambda: Problem(
        System({x: a * x - f(x, y), y: f(x, y) - y}, parameters={a: Parameter(1.0)}, learned={f: MLP(hidden=(4,))}),
        measured(),
        {x: Normal(0.1), y: Normal(0.1)},
    ),
}  # fmt: skip


def moving(problem, scorer):
    return np.setdiff1d(np.arange(len(problem.initial())), scorer.noise)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_weighted_tangents_hold_the_gradient_of_the_reverse_pass(make):
    problem = make()
    scorer, vector = problem.loss.scorer(), problem.initial(seed=1)
    coordinates = moving(problem, scorer)
    descent = scorer.descend(vector, coordinates, steps=2)
    rows, rest = scorer.tangents(descent.theta, coordinates)
    value, gradient = problem.value_and_gradient(descent.theta)
    values, slopes = problem.loss.coordinates.values(descent.theta)
    priors = (problem.loss.coordinates.penalty(values)[1] * slopes)[coordinates]
    assert descent.value == pytest.approx(value, rel=1e-12)
    size = np.abs(rows.T) @ np.abs(rest)
    assert np.abs(-rows.T @ rest + priors - gradient[coordinates]).max() < 1e-9 * size.max()
    profiled = [k for k in scorer.noise if k >= 0]
    assert np.abs(gradient[profiled]).max(initial=0.0) < 1e-9


@pytest.mark.parametrize(
    "name", ["free noise", "one level for both", "a level with a prior", "priors", "an observable"]
)
def test_a_descent_ends_where_lbfgs_ends(name):
    problem = PROBLEMS[name]()
    scorer = problem.loss.scorer()
    descent = scorer.descend(problem.initial(), moving(problem, scorer), steps=200, tolerance=1e-9)
    fit = sciml.fit(problem, SingleShooting(None), [sciml.LBFGS(tolerance=1e-14)], progress=False)
    assert descent.converged
    assert descent.value == pytest.approx(fit.loss, abs=1e-5)


def test_coordinates_that_are_held_do_not_move():
    problem = PROBLEMS["known noise"]()
    start = problem.initial()
    descent = problem.loss.scorer().descend(start, np.array([0, 3]))
    assert (np.delete(descent.theta, [0, 3]) == np.delete(start, [0, 3])).all()
    assert (descent.theta[[0, 3]] != start[[0, 3]]).all()
    assert descent.value < problem.value_and_gradient(start)[0]


def test_predictions_beyond_the_limit_are_refused():
    problem = Problem(
        System({x: a * x}, parameters={a: Parameter(9.0)}), pd.DataFrame({"x": np.exp(TIMES)}, index=TIMES)
    )
    assert problem.loss.scorer(limits=10.0).descend(problem.initial(), [0]).value == np.inf
    assert problem.loss.scorer().descend(problem.initial(), [0]).value < np.inf
    assert problem.loss.scorer(limits=10.0).tangents(problem.initial(), [0]) is None


def test_more_steps_than_there_is_memory_for_are_no_obstacle():
    times = np.linspace(0, 60, 40)
    frame = pd.DataFrame({"x": np.cos(2 * times), "y": -np.sin(2 * times)}, index=times)
    problem = Problem(System({x: a * y, y: -a * x}, parameters={a: Parameter(1.999)}), frame, rtol=1e-9, atol=1e-9)
    scorer = problem.loss.scorer()
    assert scorer.descend(problem.initial(), moving(problem, scorer), tolerance=1e-9).theta[0] * 1.999 == (
        pytest.approx(2.0, abs=1e-6)
    )


def test_torch_and_linearly_implicit_methods_have_no_scorer():
    problem = Problem(System(PREY, parameters=RATES), measured(), backend="torch")
    with pytest.raises(
        ModelError, match="forward sensitivities are native only, and this problem is computed by torch"
    ):
        problem.loss.scorer()
    problem = Problem(System(PREY, parameters=RATES), measured(), solver=Rodas5P())
    with pytest.raises(ModelError, match=r"`Rodas5P\(\)` has no forward sensitivities: use `Kvaerno5\(\)`"):
        problem.loss.scorer()
    assert PROBLEMS["an implicit method"]().loss.scorer().noise == [-1, -1]


@pytest.mark.parametrize(
    ("name", "mean", "scale", "constant", "sample"),
    [
        ("normal", 2.0, 0.5, 0.0, lambda rng, n: 2 + 0.5 * rng.standard_normal(n)),
        ("lognormal", 2.0, 0.5, 0.0, lambda rng, n: np.log(2) + 0.5 * rng.standard_normal(n)),
        ("student_t", 2.0, 0.5, 4.0, lambda rng, n: 2 + 0.5 * rng.standard_t(4, n)),
        ("poisson", 3.0, 1.0, 0.0, lambda rng, n: rng.poisson(3.0, n).astype(float)),
        ("negative_binomial", 3.0, 2.0, 0.0, lambda rng, n: rng.negative_binomial(2, 2 / 5, n).astype(float)),
    ],
)
def test_the_information_is_the_mean_square_of_the_slopes(name, mean, scale, constant, sample):
    code = likelihood.CODES[name]
    draws = sample(np.random.default_rng(0), 4000)
    slopes = np.array([likelihood.misfit.py_func(code, z, mean, scale, constant)[1:] for z in draws])
    on = np.mean([likelihood.information.py_func(code, z, mean, scale, constant) for z in draws], axis=0)
    assert np.mean(slopes**2, axis=0) == pytest.approx(on, rel=0.15)
