"""Every language gives the same numbers as our own torch field: rates, Jacobians, observables, events, initial states."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from languages import RUNNERS, difference, driven, eventful, hybrids, reference
from scipy.integrate import solve_ivp

import sciml
from sciml import ModelError, System

MODELS = {n: getattr(sciml.models, n)() for n in sciml.models.__all__ if callable(getattr(sciml.models, n))}
MODELS = {name: model for name, model in MODELS.items() if isinstance(model, System) and not model.discrete}


def driven_law():
    """With inputs, in a form that SBML holds."""
    system = driven()
    closed = system.substitute({system.functions[0]: lambda x, heat: sp.sin(x * heat)})
    return replace(closed, noise={}, events=())


CASES = MODELS | hybrids() | {"eventful": eventful(), "driven": driven(), "driven law": driven_law()}


def points(system, count=4):
    return np.random.default_rng(0).uniform(0.3, 2.0, (count, len(system.states)))


@cache
def expected(name):
    return reference(CASES[name], points(CASES[name]))


# jax compiles for seconds what is the same printer as NumPy's; SBML holds no networks and no noise.
LEFT_OUT = {
    "jax": set(CASES) - {"shared", "gelu", "eventful", "driven"},
    "libsbml": {*hybrids(), "eventful", "driven"},
}
PAIRS = [(name, language) for name in CASES for language in RUNNERS if name not in LEFT_OUT.get(language, ())]
# What is not carried: these have no Jacobian, and of SBML the events are taken off before.
ABSENT = {"onnx": {"jacobian", "initial"}, "libsbml": {"events", "reset_0"}}


@pytest.mark.parametrize(("name", "language"), PAIRS)
def test_every_language_gives_the_same_numbers(name, language, tmp_path):
    system = CASES[name]
    found = RUNNERS[language](system, points(system), tmp_path)
    worst = difference(found, expected(name))
    assert set(worst) == set(expected(name)) - ABSENT.get(language, set()), "a function is missing"
    assert max(worst.values()) < 1e-12, worst


@pytest.mark.parametrize("name", CASES)
def test_onnx_in_single_precision_gives_six_digits(name, tmp_path):
    system = CASES[name]
    found = RUNNERS["onnx"](system, points(system), tmp_path, precision="float32")
    worst = difference(found, expected(name))
    assert max(worst.values()) < 1e-5, worst


@pytest.mark.parametrize("name", CASES)
def test_json_comes_back_exactly(name):
    again = sciml.import_json(text=sciml.export.json(CASES[name]))
    assert again == CASES[name]
    weights = [network.weights for network in CASES[name].learned.values()]
    assert all(np.array_equal(a.weights, w) for a, w in zip(again.learned.values(), weights, strict=True))


def parsed(grammar, text):
    """The tree of a text by a tree-sitter grammar."""
    tree_sitter = pytest.importorskip("tree_sitter", reason="tree-sitter is not installed")
    language = pytest.importorskip(f"tree_sitter_{grammar}", reason=f"tree-sitter-{grammar} is not installed")
    return tree_sitter.Parser(tree_sitter.Language(language.language())).parse(text.encode()).root_node


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("language", ["julia", "matlab"])
def test_text_that_is_not_run_has_no_error_by_the_grammar(language, name):
    system = replace(CASES[name], noise={}, events=[e for e in CASES[name].events if not e.terminal])
    source = getattr(sciml.export, language)(system)
    assert not parsed(language, source).has_error
    assert parsed(language, source + "\n(").has_error


def test_every_target_holds_what_the_registry_says(tmp_path):
    targets = sciml.export.targets()
    assert set(targets) == {name for name in sciml.export.__all__ if name != "targets"}
    cases = {
        "observables": MODELS["kepler"],
        "networks": CASES["shared"],
        "derivatives of networks": CASES["potential"],
        "events": MODELS["bouncing_ball"],
        "noise": replace(eventful(), events=()),
        "inputs": pushed(),
    }
    for target in targets.values():
        for feature, system in cases.items():
            path = tmp_path / f"{target.name}_{feature.replace(' ', '_')}{target.suffix}"
            if feature in target.holds:
                written = target.export(system, path)
                assert path.read_bytes() == (written if isinstance(written, bytes) else written.encode())
            elif (target.name, feature) != ("latex", "noise"):
                with pytest.raises(ModelError):
                    target.export(system, path)
                assert not path.exists()


def pushed():
    """A closed form with an input."""
    x, k, drive = sp.symbols("x k drive", real=True)
    return System({x: -k * x + drive**2}, parameters={k: 0.5}, inputs={drive: "cubic"}, initial={x: 1.0})


# How an input is declared, in languages that are not run.
DECLARED = {
    "latex": r"\dot{x} &= \mathrm{drive}(t)^{2} - 0.5\, x",
    "markdown": "| `drive` | a cubic spline through the samples |",
    "julia": "drive(t), [input = true]",
    "modelica": 'input Real drive "drive";',
    "sbml": '<parameter id="drive" constant="false">',
}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_an_input_is_declared_in_the_words_of_the_language(name):
    if name == "sbml":
        pytest.importorskip("libsbml", reason="python-libsbml is not installed")
    assert DECLARED[name] in sciml.export.targets()[name].export(pushed())


def test_exported_python_with_an_input_runs_in_scipy_to_what_we_simulate():
    module = {}
    exec(compile(sciml.export.python(pushed()), "exported", "exec"), module)
    times, start = np.linspace(0, 2, 21), module["INITIAL"]
    assert module["INPUTS"] == ("drive",)
    found = solve_ivp(
        lambda t, y: module["rhs"](t, y, [np.sin(3 * t)]), (0, 2), start, t_eval=times, rtol=1e-9, atol=1e-9
    )
    samples = pd.DataFrame({"drive": np.sin(3 * np.linspace(0, 2, 401))}, index=np.linspace(0, 2, 401))
    ours = sciml.simulate(pushed(), times, inputs=samples, rtol=1e-9, atol=1e-9).values
    assert np.abs(found.y.T - ours).max() < 1e-6


def test_an_input_of_sbml_comes_back_as_an_input(tmp_path):
    pytest.importorskip("libsbml", reason="python-libsbml is not installed")
    sciml.export.sbml(pushed(), tmp_path / "law.xml")
    again = sciml.import_sbml(tmp_path / "law.xml")
    # SBML does not say what happens between samples, so that the default is taken.
    assert again == replace(pushed(), inputs=dict.fromkeys(pushed().inputs, "linear"))
