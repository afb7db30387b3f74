"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import sciml

PACKAGES = (
    *("symbolic", "lowering", "solvers", "native", "measurement"),
    *("fitting", "discovery", "export", "models", "models.binary_black_hole", "datasets", "dropin"),
)


def modules() -> list[str]:
    """Every module of the library."""
    names = [f"sciml.{name}" for _, name, package in pkgutil.iter_modules(sciml.__path__) if not package]
    for package in PACKAGES:
        home = importlib.import_module(f"sciml.{package}")
        names += [home.__name__, *(f"{home.__name__}.{m.name}" for m in pkgutil.iter_modules(home.__path__))]
    return names


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_the_docstrings_run(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
