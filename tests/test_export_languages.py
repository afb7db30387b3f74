"""Every language gives the same numbers as our own torch field: rates, Jacobians, observables, events, initial states."""

from functools import cache

import numpy as np
import pytest
from languages import RUNNERS, difference, eventful, hybrids, reference

import sciml
from sciml import System

MODELS = {name: getattr(sciml.models, name)() for name in sciml.models.__all__}
MODELS = {name: model for name, model in MODELS.items() if isinstance(model, System) and not model.discrete}
CASES = MODELS | hybrids() | {"eventful": eventful()}


def points(system, count=4):
    return np.random.default_rng(0).uniform(0.3, 2.0, (count, len(system.states)))


@cache
def expected(name):
    return reference(CASES[name], points(CASES[name]))


# jax compiles for seconds what is the same printer as NumPy's.
PAIRS = [(n, l) for n in CASES for l in RUNNERS if l != "jax" or n in ("kepler", "shared", "gelu", "eventful")]


@pytest.mark.parametrize(("name", "language"), PAIRS)
def test_every_language_gives_the_same_numbers(name, language, tmp_path):
    system = CASES[name]
    found = RUNNERS[language](system, points(system), tmp_path)
    worst = difference(found, expected(name))
    assert set(worst) == set(expected(name)), "a function is missing"
    assert max(worst.values()) < 1e-12, worst
