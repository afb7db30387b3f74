"""Files: what is saved comes back to the last digit, and files that were made to harm are refused and run nothing."""

import copy
import json
import os
import pickle
from contextlib import suppress
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as to_bytes
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


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(monkeypatch, tmp_path, broken):
    fit = FITS["bounds and a prior"]()
    path = fit.save(tmp_path / "fit.sciml")
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="no space left"):
        replace(fit, message="another").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_into_a_folder_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(DataError, match=r"the folder `.*nowhere` does not exist"):
        FITS["bounds and a prior"]().save(tmp_path / "nowhere" / "fit.sciml")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Content and arrays of a file that can be read."""
    fit = FITS["a network with factors, gaps, an observable"]()
    path = fit.save(tmp_path_factory.mktemp("files") / "fit.sciml")
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["sciml"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def written(folder, content, arrays):
    path = folder / "changed.sciml"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(to_bytes(arrays, metadata={"sciml": text}))
    return path


def test_the_honest_file_is_read(honest, tmp_path):
    assert np.isfinite(sciml.load(written(tmp_path, *honest)).loss)


class Exploit:
    """Leaves a trace if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


FOREIGN = {
    "an empty file": lambda data: b"",
    "half a file": lambda data: data[: len(data) // 2],
    "a file without its last byte": lambda data: data[:-1],
    "a header that promises too much": lambda data: b"\xff" * 8 + data[8:],
    "random bytes": lambda data: np.random.default_rng(0).bytes(2000),
    "text": lambda data: b"name,value\n1,2\n",
    "another safetensors file": lambda data: to_bytes({"a": np.zeros(3)}),
    "metadata that are no JSON": lambda data: to_bytes({"a": np.zeros(3)}, metadata={"sciml": "{"}),
    "metadata that are a list": lambda data: to_bytes({"a": np.zeros(3)}, metadata={"sciml": "[]"}),
    "metadata nested 5000 deep": lambda data: to_bytes({"a": np.zeros(3)}, metadata={"sciml": "[" * 5000 + "]" * 5000}),
    "a whole number of a million digits": lambda data: to_bytes({"a": np.zeros(3)}, metadata={"sciml": "9" * 10**6}),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_or_broken_file_is_refused(honest, tmp_path, change):
    path = written(tmp_path, *honest)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=r"changed\.sciml"):
        sciml.load(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "fit.sciml", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Exploit(trace)))
    with pytest.raises(DataError, match="cannot be read as a fit"):
        sciml.load(path)
    assert not trace.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file `.*fit\.sciml`"):
        sciml.load(tmp_path / "fit.sciml")


def node(name, *arguments):
    return {"node": name, "arguments": list(arguments)}


def integer(value):
    return {"integer": str(value)}


def nested(levels, name="sin"):
    tree = encode(x)
    for _ in range(levels):
        tree = node(name, tree)
    return tree


def tower(name, bottom, levels, *rest):
    tree = bottom
    for _ in range(levels):
        tree = node(name, tree, *rest)
    return tree


SYMBOL = encode(x)
HUGE = integer("9" * 399)
EXPRESSIONS = {
    "import": node("__import__", {"symbol": "os", "assumptions": []}),
    "system": node("system", {"symbol": "ls", "assumptions": []}),
    "eval": node("eval", SYMBOL),
    "sympify": node("sympify", SYMBOL),
    "a class that is no node": node("lambdify", SYMBOL),
    "code for a function": {"call": "x.__class__", "arguments": [SYMBOL]},
    "code for a name": {"symbol": "__import__('os').system('touch trace')", "assumptions": ["real"]},
    "a line break in a name": {"symbol": "x\nimport os", "assumptions": ["real"]},
    "no name": {"symbol": "", "assumptions": ["real"]},
    "a name of braces": {"symbol": "{}", "assumptions": []},
    "an unknown assumption": {"symbol": "x", "assumptions": ["commutative"]},
    "assumptions against each other": {"symbol": "x", "assumptions": ["positive", "negative"]},
    "assumptions that are lists": {"symbol": "x", "assumptions": [[]]},
    "text": "x + 1",
    "a number": 1.0,
    "null": None,
    "an empty dict": {},
    "5000 levels": nested(5000),
    "a tower of powers of numbers": tower("Pow", HUGE, 4, integer(1000)),
    "a tower of powers of fractions": tower(
        "Pow", {"rational": ["9" * 398 + "8", "9" * 399]}, 4, integer(1000)
    ),
    "a tower of powers of a multiple": tower("Pow", node("Mul", HUGE, SYMBOL), 4, integer(1000)),
    "an exponent of many digits": node("Pow", node("Mul", integer(2), SYMBOL), integer("9" * 300)),
    "a tower of exponents": node("Pow", integer(9), node("Pow", integer(9), node("Pow", integer(9), integer(9)))),
    "a tower of exponentials": node("floor", tower("exp", integer(30), 3)),
    "a tower of floats": node("floor", tower("Pow", {"float": "1e300"}, 4, integer(1000))),
    "a logarithm of a factorial": node("loggamma", integer(10**9)),
    "a product that overflows": node("Mul", *[HUGE] * 50),
    "a derivative of high order": node("Derivative", encode(f(x)), node("Tuple", SYMBOL, integer(10**9))),
    "a derivative by half an order": node("Derivative", node("sin", SYMBOL), node("Tuple", SYMBOL, {"rational": ["1", "2"]})),
    "a substitution of anything": node(
        "Subs", node("Pow", integer(2), SYMBOL), node("Tuple", SYMBOL), node("Tuple", HUGE)
    ),
    "a whole number of 10000 digits": integer("9" * 10000),
    "a whole number that is none": integer("0x10"),
    "a fraction over zero": {"rational": ["1", "0"]},
    "nan": {"float": "nan"},
    "infinity": {"float": "1e999"},
    "zero to the minus one": node("Pow", integer(0), integer(-1)),
    "a logarithm of zero": node("log", integer(0)),
    "a root of minus one": node("Pow", integer(-1), {"rational": ["1", "2"]}),
    "an unknown constant": {"constant": "oo"},
    "a sine of two": node("sin", SYMBOL, SYMBOL),
    "a sine of nothing": node("sin"),
    "a sum of a tuple": node("Add", SYMBOL, node("Tuple", SYMBOL)),
    "a piecewise of no pairs": node("Piecewise", SYMBOL),
    "a truth value": {"constant": "true"},
    "a relation": encode(x > y),
}  # fmt: skip


@pytest.mark.timeout(60)  # some of them would take for ever
@pytest.mark.parametrize("tree", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_made_to_harm_is_refused_and_not_run(honest, tmp_path, monkeypatch, tree):
    monkeypatch.chdir(tmp_path)
    system = copy.deepcopy(honest[0]["system"])
    system["equations"][0][1] = tree
    with pytest.raises(DataError):
        decode_system(system, honest[1])
    assert list(tmp_path.iterdir()) == []


DELETE = object()
CHANGES = {
    "another format": (("format",), "pickle", "does not hold a fit"),
    "another version": (("version",), 1, "is of version 1; this version of sciml reads 5"),
    "another version of the system": (("system", "version"), 99, "version `99`"),
    "no system": (("system",), DELETE, "cannot be read as a fit"),
    "no equations": (("system", "equations"), DELETE, "equations"),
    "no equations at all": (("system", "equations"), [], "The system has none"),
    "no vector length": (("system", "parameters", 0, 1, "fixed"), True, r"shape \(\d+,\); the problem needs"),
    "code for a solver": (("solver", "name"), "os.system", r"names a solver `os\.system` that is not known"),
    "a function for a solver": (("solver", "name"), "solve", "names a solver `solve` that is not known"),
    "gradients for a solver": (("solver", "name"), "Direct", "names a solver `Direct` that is not known"),
    "a solver for gradients": (("gradients", "name"), "Tsit5", "names a solver `Tsit5` that is not known"),
    "text for a step": (("solver", "fields"), {"step": "__import__('os')"}, "that is not known"),
    "an unknown field": (("solver", "fields"), {"command": 1}, "cannot be read as a fit"),
    "a negative step": (("solver", "fields"), {"step": -1.0}, "It must be positive"),
    "an unknown backend": (("backend",), "cuda", "backend 'cuda' is not known"),
    "a tolerance that is text": (("rtol",), "small", "cannot be read as a fit"),
    "infinitely many steps": (("max_steps",), float("inf"), "cannot be read as a fit"),
    "a parameter that is nan": (("system", "parameters", 0, 1, "value"), float("nan"), "`nan` in the file is not"),
    "a parameter that is infinite": (("system", "parameters", 0, 1, "value"), float("inf"), "`inf` in the file is not"),
    "a parameter of 400 digits": (("system", "parameters", 0, 1, "value"), 10**400, "in the file is not a number"),
    "a parameter that is text": (("system", "parameters", 0, 1, "value"), "k", "'k' in the file is not a number"),
    "empty bounds": (("system", "parameters", 0, 1, "bounds"), [2, 1], "are empty"),
    "three bounds": (("system", "parameters", 0, 1, "bounds"), [0, 1, 2], "cannot be read|does not hold"),
    "an unknown prior": (("system", "parameters", 0, 1, "prior"), {"kind": "Cauchy", "scale": None}, "noise model"),
    "an unknown noise": (("noise", "x", "kind"), "__class__", "names a noise model '__class__' that is not known"),
    "noise of an unknown column": (("noise", "z"), {"kind": "Normal", "scale": None}, "`z` is neither a state"),
    "columns of another system": (("columns",), ["total", "z"], "column `z` matches no state"),
    "columns too few": (("columns",), ["x"], "cannot be read as a fit"),
    "too many experiments": (("experiments",), ["data", "more"], r"values\.1"),
    "a name that is a list": (("experiments",), [["data"]], "cannot be read as a fit"),
    "an unknown activation": (("system", "learned", 0, "mlp", "activation"), "exec", "activation `exec` is not known"),
    "negative widths": (("system", "learned", 0, "mlp", "hidden"), [-1], "positive whole numbers"),
    "a network larger than memory": (("system", "learned", 0, "mlp", "hidden"), [10**6, 10**6], "too few for a network"),
    "no functions": (("system", "learned", 0, "functions"), [], "does not hold a System"),
    "code for a learned function": (("system", "learned", 0, "functions"), ["os.system", "g"], "is not a name"),
    "a module that nobody gave": (("system", "learned", 0, "mlp"), DELETE, "cannot be read|does not hold"),
    "a history of words": (("history",), [["Adam", "one", "two", "three"]], "cannot be read as a fit"),
    "an infinite step": (("history",), [["Adam", float("inf"), 1.0, 1.0]], "cannot be read as a fit"),
    "no message": (("fit", "message"), DELETE, "message"),
    "an infinite count": (("fit", "evaluations"), float("inf"), "cannot be read as a fit"),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value", "text"), CHANGES.values(), ids=CHANGES)
def test_changed_content_is_refused_and_named(honest, tmp_path, place, value, text):
    content = copy.deepcopy(honest[0])
    *way, last = place
    part = content
    for key in way:
        part = part[key]
    if value is DELETE:
        del part[last]
    else:
        part[last] = value
    with pytest.raises(DataError, match=text):
        sciml.load(written(tmp_path, content, honest[1]))


ARRAYS = {
    "a vector too short": ("vector", lambda a: a[:-1], r"the vector in the file has shape"),
    "a vector too long": ("vector", lambda a: np.append(a, 0.0), r"the vector in the file has shape"),
    "a vector with nan": ("vector", lambda a: a * np.nan, "needs finite numbers"),
    "a matrix for a vector": ("vector", lambda a: a[None], "cannot be read as a fit|in the file has"),
    "no vector": ("vector", None, "cannot be read as a fit"),
    "no times": ("times.0", None, "cannot be read as a fit"),
    "times that run backwards": ("times.0", lambda a: a[::-1].copy(), "not sorted"),
    "times that are nan": ("times.0", lambda a: a * np.nan, "the time in row 0"),
    "fewer times than values": ("times.0", lambda a: a[:-1], "cannot be read as a fit"),
    "infinite values": ("values.0", lambda a: a + np.inf, "is infinite"),
    "nothing but gaps": ("values.0", lambda a: a * np.nan, "holds no value at all"),
}


@pytest.mark.parametrize(("name", "change", "text"), ARRAYS.values(), ids=ARRAYS)
def test_changed_arrays_are_refused(honest, tmp_path, name, change, text):
    arrays = dict(honest[1])
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = change(array)
    with pytest.raises(DataError, match=text):
        sciml.load(written(tmp_path, honest[0], arrays))


RICH = System(
    equations={
        x: -f(x, 2 * y).diff(x) + sp.Piecewise((sp.sin(x), x > 0), (sp.Max(y, 1), True)),
        y: sp.exp(-k * x) + y ** sp.Rational(1, 3) + sp.Heaviside(y) * g(x),
    },
    parameters={k: Parameter(1.0, bounds=(0, 2), prior=LogNormal(0.3)), c: 2.5},
    learned={f: MLP(hidden=(3,)), g: MLP(hidden=(2,), factors=(x,))},
    initial={x: c / 3, y: Parameter(0.1)},
    observed={"s": x + y},
    noise={x: k / 10},
)
SEED = json.loads(json.dumps(encode_system(RICH)[0]))


def places(tree, way=()):
    """Ways to everything in a JSON tree."""
    yield way
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from places(tree[key], (*way, key))


PLACES = [way for way in places(SEED) if way]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["", "x", "real", "Pow", "Mul", "exp", "sin", "Derivative", "Piecewise", "1", "-7", "9" * 500, "nan"]
    ),
    st.text(max_size=8),
    st.sampled_from([10**400, [], {}, [[]], "__import__('os')"]),
)


@st.composite
def mutations(draw):
    """The tree of a System with some of it exchanged, deleted, doubled or replaced."""
    tree = copy.deepcopy(SEED)
    for _ in range(draw(st.integers(1, 4))):
        way = draw(st.sampled_from(PLACES))
        part = tree
        try:
            for key in way[:-1]:
                part = part[key]
            match draw(st.integers(0, 3)):
                case 0:
                    part[way[-1]] = draw(SCALARS)
                case 1:
                    del part[way[-1]]
                case 2:
                    other = SEED
                    for key in draw(st.sampled_from(PLACES)):
                        other = other[key]
                    part[way[-1]] = copy.deepcopy(other)
                case _:
                    if isinstance(part, list):
                        part.append(copy.deepcopy(part[way[-1]]))
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change took that place away
    return tree


def test_the_unchanged_tree_is_read():
    assert decode_system(SEED, {}) == RICH


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=10_000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_any_change_of_a_tree_gives_a_system_or_an_error_of_ours(tree):
    with suppress(DataError, ModelError):
        assert isinstance(decode_system(tree, {}), System)
