"""Exports of awkward Systems: names that languages reserve, what a target lacks, failures that leave files as they were."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export import HARD_NAMES
from test_export_languages import CASES, parsed

import sciml
from sciml import DataError, ModelError, System
from sciml.symbolic.serialize import NAME

x, y = sp.symbols("x y", real=True)
TARGETS = sciml.export.targets()


def awkward():
    """Every hard name as a parameter, in one System: the sum of them is the rate of `x`."""
    names = [name for name in HARD_NAMES if name not in ("y[1]",)]
    symbols = [sp.Symbol(name, real=True) for name in names]
    rate = sum((k + 1) * symbol for k, symbol in enumerate(symbols)) * x
    return System({x: rate}, parameters=dict.fromkeys(symbols, 0.5), initial={x: 1.0})


def rate_at_two():
    return sum(k + 1 for k in range(len(awkward().parameters))) * 0.5 * 2.0


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_target_takes_every_name(name, tmp_path):
    if TARGETS[name].needs:
        pytest.importorskip({"sbml": "libsbml", "onnx": "onnx"}[name], reason="the extra is not installed")
    written = TARGETS[name].export(awkward(), tmp_path / f"law{TARGETS[name].suffix}")
    assert written
    if name in ("python", "torch", "jax"):
        compile(written, name, "exec")
    if name in ("julia", "matlab"):
        assert not parsed(name, written).has_error


def test_awkward_names_run_in_c_and_python_and_come_back(tmp_path):
    scope = {}
    exec(sciml.export.python(awkward()), scope)
    assert scope["rhs"](0.0, [2.0])[0] == pytest.approx(rate_at_two())
    assert list(scope["PARAMETERS"]) == [str(p) for p in awkward().parameters]
    assert sciml.import_json(text=sciml.export.json(awkward())) == awkward()
    sciml.export.c(awkward(), tmp_path / "law.c")
    if subprocess.run(["which", "gcc"], capture_output=True).returncode:
        pytest.skip("gcc is not installed")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable", "-fsyntax-only"]
    subprocess.run(["gcc", *flags, tmp_path / "law.c"], check=True, capture_output=True)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6),
                min_size=1, max_size=5, unique=True))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_text_is_a_name_in_every_language_that_runs_here(names):
    symbols = [sp.Symbol(name, real=True) for name in names if name not in ("x", "t")]
    try:
        system = System({x: sum(symbols, sp.Integer(0)) + x}, parameters=dict.fromkeys(symbols, 1.5))
    except ModelError:
        return  # names such as `y[0]`, which the System itself refuses
    scope = {}
    exec(sciml.export.python(system), scope)
    assert scope["rhs"](0.0, [2.0])[0] == pytest.approx(1.5 * len(symbols) + 2)
    compile(sciml.export.torch(system), "torch", "exec")
    assert not parsed("matlab", sciml.export.matlab(system)).has_error
    assert not parsed("julia", sciml.export.julia(system)).has_error
    if all(NAME.fullmatch(str(symbol)) for symbol in symbols):
        assert sciml.import_json(text=sciml.export.json(system)) == system
    else:
        with pytest.raises(ModelError, match="cannot be saved: names in files are letters"):
            sciml.export.json(system)


WRITERS = sorted(set(TARGETS) - {"latex", "markdown", "json"})


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_export_leaves_what_was_there(name, tmp_path):
    if TARGETS[name].needs:
        pytest.importorskip({"sbml": "libsbml", "onnx": "onnx"}[name], reason="the extra is not installed")
    path = tmp_path / f"law{TARGETS[name].suffix}"
    path.write_text("before")
    with pytest.raises(ModelError, match="besselj"):
        TARGETS[name].export(System({x: sp.besselj(0, x)}), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    TARGETS[name].export(System({x: sp.sin(x)}), path)
    assert path.read_bytes() != b"before"


@pytest.mark.parametrize("name", sorted(set(CASES) - {"shared", "mixed", "gelu"}))
def test_modelica_is_parsed_by_a_compiler_of_modelica(name):
    parser = pytest.importorskip("pymoca.parser", reason="pymoca is not installed")
    source = sciml.export.modelica(replace(CASES[name], noise={}))
    tree = parser.parse(source)
    assert tree is not None
    law = next(c for c in tree.classes.values() if c.type == "model")
    assert len(law.symbols) >= len(CASES[name].states) + len(CASES[name].parameters)
    assert len(law.equations) >= len(CASES[name].states)


def test_what_is_no_modelica_is_told_by_the_same_parser():
    parser = pytest.importorskip("pymoca.parser", reason="pymoca is not installed")
    with pytest.raises(Exception, match="missing ';'"):
        parser.parse("model Law\n  Real x\nequation\n  der(x) = 1;\nend Law;\n")


def tampered(change):
    document = json.loads(sciml.export.json(System({x: -x}, initial={x: 1.0})))
    change(document)
    return json.dumps(document)


def replaced(value):
    """The JSON text with the right-hand side exchanged."""
    text = sciml.export.json(System({x: sp.sin(x)}))
    assert '"sin"' in text
    return text.replace('"sin"', json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        replaced("__import__"),
        replaced("eval"),
        replaced("lambdify"),
        replaced("os.system"),
        replaced("Integral"),
        replaced(["sin"]),
        tampered(lambda d: d.update(format="another")),
        tampered(lambda d: d.update(version=10**6)),
        "[" * 100_000,
        '{"format": ',
        "null",
        "{}",
        '{"__class__": "os.system"}',
    ],
    ids=range(13),
)
def test_malicious_json_is_an_error_and_runs_nothing(text):
    before = set(sys.modules)
    with pytest.raises((DataError, ModelError)):
        sciml.import_json(text=text)
    assert not {m for m in set(sys.modules) - before if m.startswith(("os", "subprocess"))}


def test_numbers_of_json_stay_numbers():
    text = sciml.export.json(System({x: 2 * x}, initial={x: 1.0}))
    assert sciml.import_json(text=text).equations[x] == 2 * x
    assert np.isfinite(float(sciml.import_json(text=text).initial[x]))
