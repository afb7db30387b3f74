"""Fits, Systems and expressions as files: what comes back, to the last digit."""

import json
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from torch import nn

import sciml
from sciml import (
    LBFGS,
    MLP,
    RK4,
    Adam,
    Backsolve,
    LogNormal,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import DataError, ModelError
from sciml.symbolic.serialize import CONSTANTS, NODES, Decoder, decode_system, encode, encode_system

x, y, k, c, q, p = sp.symbols("x y k c q p", real=True)


f, g, V = sp.symbols("f g V", cls=sp.Function)


TIMES = np.linspace(0, 2, 7)


def fitted(system, data=None, noise=None, optimizers=None, objective=None, **options):
    data = pd.DataFrame({"x": np.exp(-TIMES)}, index=TIMES) if data is None else data
    problem = Problem(system, data, noise, **options)
    return sciml.fit(problem, objective or SingleShooting(None), optimizers or [LBFGS(steps=2)], progress=False)


def learned():
    network = MLP(hidden=(3, 2), activation="sin", factors=(x, None), decay=0.5)
    return System(
        {x: -f(x, y), y: g(x, y) - k * y},
        parameters={k: Parameter(0.7, bounds=(0, 2)), c: 3.0},
        learned={(f, g): network},
        initial={x: Parameter(1.0, bounds=(0, None)), y: c / 4},
        observed={"total": x + y},
    )


def gappy():
    frame = pd.DataFrame({"total": 1.75 * np.exp(-TIMES), "x": np.exp(-TIMES)}, index=TIMES)
    frame.iloc[2, 0] = np.nan
    frame.iloc[4] = np.nan
    return frame


FITS = {
    "bounds and a prior": lambda: fitted(
        System({x: -k * x}, parameters={k: Parameter(0.8, bounds=(0, None), prior=LogNormal(0.3))})
    ),
    "a fitted noise level": lambda: fitted(System({x: -k * x}, parameters={k: 0.9}), noise={x: LogNormal()}),
    "a declared noise level": lambda: fitted(
        System({x: -k * x}, parameters={k: Parameter(0.9), c: Parameter(0.2, bounds=(0, 1), prior=Normal(0.1))}),
        noise={x: Normal(2 * c)},
    ),
    "a network with factors, gaps, an observable": lambda: fitted(
        learned(), gappy(), {"total": Normal(0.1), "x": Normal(0.1)}, optimizers=[Adam(steps=3), LBFGS(steps=2)]
    ),
    "several experiments": lambda: fitted(
        System({x: -k * x}, parameters={k: Parameter(0.8)}),
        {"long": pd.DataFrame({"x": np.exp(-TIMES)}, index=TIMES), "short": pd.DataFrame({"x": [2, 1]}, index=[1, 2])},
    ),
    "other solver and gradients": lambda: fitted(
        System({x: -k * x}, parameters={k: Parameter(0.8)}),
        solver=RK4(step=0.1),
        gradients=Backsolve(),
        rtol=1e-5,
        atol=1e-7,
        max_steps=500,
        backend="torch",
    ),
    "notes of gaps": lambda: fitted(
        System({x: -k * x}, parameters={k: Parameter(0.1)}),
        objective=MultipleShooting(intervals=2, continuity=1e-9, raises=0, start=None),
    ),
    "failed steps": lambda: fitted(
        System({x: k * x**2}, parameters={k: Parameter(0.1)}, initial={x: 1.0}),
        pd.DataFrame({"x": 1 / (1 - 0.4 * TIMES)}, index=TIMES),
        optimizers=[Adam(steps=8, rate=9.0)],
    ),
}


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_a_fit_comes_back_to_the_last_digit(make, tmp_path):
    fit = make()
    again = sciml.load(fit.save(tmp_path / "fit.sciml"))
    assert again.loss == fit.loss
    assert np.array_equal(again.vector, fit.vector)
    assert again.problem.system == fit.problem.system
    assert again.problem.likelihoods == fit.problem.likelihoods
    assert again.estimates == fit.estimates
    assert again.log_likelihood == fit.log_likelihood
    assert list(map(astuple, again.history)) == list(map(astuple, fit.history))
    assert repr(again) == repr(fit)
    for name in ("notes", "message", "converged", "evaluations", "seconds", "seed"):
        assert getattr(again, name) == getattr(fit, name)
    for name in ("solver", "gradients", "rtol", "atol", "max_steps", "backend", "columns"):
        assert getattr(again.problem, name) == getattr(fit.problem, name)
    for one, other in zip(again.problem.experiments, fit.problem.experiments, strict=True):
        assert one.name == other.name
        assert np.array_equal(one.times, other.times)
        assert np.array_equal(one.values, other.values, equal_nan=True)


def test_the_cases_hold_what_they_are_called_after():
    assert any("gaps between shots" in note for note in FITS["notes of gaps"]().notes)
    assert np.isinf([record.loss for record in FITS["failed steps"]().history]).any()


def test_a_loaded_fit_goes_on_from_where_it_was(tmp_path):
    fit = FITS["a network with factors, gaps, an observable"]()
    again = sciml.load(fit.save(tmp_path / "fit.sciml"))
    points = np.random.default_rng(0).uniform(0.1, 2, (4, 2))
    assert np.array_equal(again.learned_values(f, points), fit.learned_values(f, points))
    assert np.array_equal(again.simulate().values, fit.simulate().values)
    refits = [sciml.fit(one.problem.with_system(one.system), progress=False, optimizers=[LBFGS(steps=2)])
              for one in (fit, again)]  # fmt: skip
    assert np.array_equal(refits[0].vector, refits[1].vector)


def test_weights_of_a_fitted_system_come_back(tmp_path):
    fit = FITS["a network with factors, gaps, an observable"]()
    start = sciml.fit(fit.problem.with_system(fit.system), progress=False, optimizers=[LBFGS(steps=1)])
    again = sciml.load(start.save(tmp_path / "fit.sciml"))
    (network,), (other,) = again.problem.system.learned.values(), start.problem.system.learned.values()
    assert np.array_equal(network.weights, other.weights)


class Doubled(nn.Module):
    """A network of the user's own, with a buffer that is no weight."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Linear(1, 2, dtype=torch.float64)
        self.register_buffer("factor", torch.tensor(2.0, dtype=torch.float64))

    def forward(self, z):
        return self.factor * torch.tanh(self.inner(z)).sum(-1, keepdim=True)


def test_a_module_of_the_user_comes_back_in_a_copy(tmp_path):
    fit = fitted(System({x: -f(x)}, learned={f: Doubled(0)}), noise={x: Normal(0.1)})
    path = fit.save(tmp_path / "fit.sciml")
    module = Doubled(1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    again = sciml.load(path, modules={"f": module})
    assert again.loss == fit.loss
    assert np.array_equal(again.rates(np.zeros(1), np.ones((1, 1))), fit.rates(np.zeros(1), np.ones((1, 1))))
    assert np.array_equal(again.problem.initial(), fit.problem.initial())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        (None, r"`f` were learned by a torch module of class `Doubled`.*modules=\{\"f\": module\}"),
        ({"g": nn.Linear(1, 1)}, "class `Doubled`"),
        ({"f": nn.Linear(1, 1)}, "4 weights were given for a network that has 2"),
    ],
    ids=["none", "another name", "another size"],
)
def test_a_module_of_the_user_must_be_given_again(tmp_path, modules, text):
    path = fitted(System({x: -f(x)}, learned={f: Doubled(0)}), noise={x: Normal(0.1)}).save(tmp_path / "fit.sciml")
    with pytest.raises(DataError, match=text):
        sciml.load(path, modules=modules)


EXAMPLES = {
    "Add": x + y,
    "Mul": 2 * x * y,
    "Pow": x ** sp.Rational(2, 3),
    "Abs": sp.Abs(x),
    "Mod": sp.Mod(x, 3),
    "Max": sp.Max(x, y, 1),
    "Min": sp.Min(x, y),
    "atan2": sp.atan2(y, x),
    "Heaviside": sp.Heaviside(x, sp.Rational(1, 2)),
    "Piecewise": sp.Piecewise((x, x > 0), (y, sp.And(y > 1, sp.Ne(x, 0))), (0, True)),
    "ExprCondPair": sp.Piecewise((x, x > 0), (0, True)),
    "Derivative": sp.Derivative(f(x), x),
    "Subs": f(2 * x).diff(x),
    "Tuple": f(x, y).diff(x, 2, y),
    "And": sp.Piecewise((x, sp.And(x > 0, y > 0)), (0, True)),
    "Or": sp.Piecewise((x, sp.Or(x > 0, y > 0)), (0, True)),
    "Not": sp.Piecewise((x, sp.Not(sp.And(x > 0, y > 0), evaluate=False)), (0, True)),
    "Equality": sp.Piecewise((x, sp.Eq(x, y)), (0, True)),
    "Unequality": sp.Piecewise((x, sp.Ne(x, y)), (0, True)),
    "StrictLessThan": sp.Piecewise((x, x < y), (0, True)),
    "LessThan": sp.Piecewise((x, x <= y), (0, True)),
    "StrictGreaterThan": sp.Piecewise((x, x > y), (0, True)),
    "GreaterThan": sp.Piecewise((x, x >= y), (0, True)),
}


def round_trip(expression):
    return Decoder().decode(json.loads(json.dumps(encode(expression))))


@pytest.mark.parametrize("name", NODES)
def test_every_node_of_the_format_comes_back(name):
    expression = EXAMPLES[name] if name in EXAMPLES else NODES[name](x + 2 * y)
    kinds = {type(node).__name__ for node in sp.preorder_traversal(expression)}
    assert name in kinds
    assert round_trip(expression) == expression


@pytest.mark.parametrize(
    "number",
    [
        sp.Integer(-(10**30)),
        sp.Rational(-22, 7),
        sp.Float(0.1),
        sp.Float(1 / 3),
        sp.Float(-1e-300),
        *CONSTANTS.values(),
    ],
    ids=str,
)
def test_numbers_come_back_to_the_last_digit(number):
    assert round_trip(number) == number


@pytest.mark.parametrize(
    "assumptions", [{}, {"real": True}, {"positive": True}, {"integer": True}, {"real": True, "nonzero": True}]
)
def test_symbols_keep_their_assumptions(assumptions):
    assert round_trip(sp.Symbol("mu_1", **assumptions)) == sp.Symbol("mu_1", **assumptions)


def test_two_dummies_of_one_name_stay_apart():
    expression = f(2 * x).diff(x) + g(3 * y).diff(y) * V(2 * x, y).diff(x, y)
    assert round_trip(expression) == expression
    assert round_trip(f(2 * x * y, y).diff(y, 2)) == f(2 * x * y, y).diff(y, 2)


@pytest.mark.parametrize("expression", [sp.factor(2 * x + 2 * y), x * sp.factor(x / 3 + y / 3), sp.factor(x**2 - 1)])
def test_factored_sums_are_not_multiplied_out(expression):
    assert round_trip(expression) == expression


def test_a_learned_function_within_another_comes_back_with_its_derivatives():
    expression = f(g(2 * x)).diff(x, 2)
    assert round_trip(expression) == expression


def test_every_system_in_the_models_comes_back():
    factories = [getattr(sciml.models, name) for name in sciml.models.__all__]
    systems = [factory() for factory in factories if callable(factory)]
    assert len(systems) > 10
    for system in [*systems, sciml.models.binary_black_hole.newtonian()]:
        assert decode_system(json.loads(json.dumps(encode_system(system)[0])), {}) == system


@pytest.mark.parametrize("expression", [sp.gamma(x), sp.Integral(x, (x, 0, y)), sp.GoldenRatio * x], ids=str)
def test_a_node_that_files_do_not_know_is_refused_when_saving(expression):
    with pytest.raises(ModelError, match=r"cannot be saved: `.*` is not a node of the file format"):
        encode(expression)


def node(name, *arguments):
    return {"node": name, "arguments": list(arguments)}


def integer(value):
    return {"integer": str(value)}
