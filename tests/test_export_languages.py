"""Every language gives the same numbers as our own torch field: rates, Jacobians, observables, events, initial states."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy as sp
from languages import RUNNERS, difference, eventful, hybrids, reference

import sciml
from sciml import ModelError, System

MODELS = {n: getattr(sciml.models, n)() for n in sciml.models.__all__ if callable(getattr(sciml.models, n))}
MODELS = {name: model for name, model in MODELS.items() if isinstance(model, System) and not model.discrete}
CASES = MODELS | hybrids() | {"eventful": eventful()}


def points(system, count=4):
    return np.random.default_rng(0).uniform(0.3, 2.0, (count, len(system.states)))


@cache
def expected(name):
    return reference(CASES[name], points(CASES[name]))


# jax compiles for seconds what is the same printer as NumPy's; SBML holds no networks and no noise.
LEFT_OUT = {
    "jax": set(CASES) - {"kepler", "shared", "gelu", "eventful"},
    "libsbml": {*hybrids(), "eventful"},
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


CARRY_INPUTS = {"latex", "markdown", "json"}


def driven():
    """A System with an input, and the same with a known function of time in its place."""
    x, k, drive, t = sp.symbols("x k drive t", real=True)
    system = System({x: -k * x + drive}, parameters={k: 0.5}, inputs={drive: "linear"}, initial={x: 1.0})
    return system, system.substitute({drive: sp.sin(t)})


@pytest.mark.parametrize("name", sorted(CARRY_INPUTS))
def test_inputs_are_carried_by_their_names(name):
    written = sciml.export.targets()[name].export(driven()[0])
    assert "drive" in written
    assert "u[0]" not in written


@pytest.mark.parametrize("name", sorted(set(sciml.export.targets()) - CARRY_INPUTS))
def test_inputs_are_refused_by_name_and_the_way_out_works(name, tmp_path):
    system, known = driven()
    with pytest.raises(ModelError, match="the System has inputs, `drive`"):
        sciml.export.targets()[name].export(system, tmp_path / "law.txt")
    assert list(tmp_path.iterdir()) == []
    assert sciml.export.targets()[name].export(known)


def test_inputs_come_back_from_json():
    system = driven()[0]
    assert sciml.import_json(text=sciml.export.json(system)) == system
