"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import sciml


def modules() -> list[str]:
    """Every module of the library; models and datasets stand beside its folder."""
    homes = [(sciml.__path__, "sciml.")]
    homes += [(importlib.import_module(name).__path__, f"{name}.") for name in ("sciml.models", "sciml.datasets")]
    return [name for path, prefix in homes for _, name, _ in pkgutil.walk_packages(path, prefix)]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_the_docstrings_run(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
