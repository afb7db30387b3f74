"""Files that are broken, foreign or made to harm: refused by name, nothing run, nothing left half written."""

import copy
import json
import os
import pickle
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as to_bytes
from test_files import FITS, c, f, g, integer, k, node, x, y

import sciml
from sciml import (
    MLP,
    LogNormal,
    Parameter,
    System,
)
from sciml.errors import DataError, ModelError
from sciml.symbolic.serialize import decode_system, encode, encode_system


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
