"""Datasets, and the examples in all docstrings."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
import sympy as sp

from sciml import datasets, models
from sciml.errors import DataError
from sciml.measurement.problem import Problem
from sciml.simulation import simulate
from sciml.symbolic.system import System

TS = np.linspace(0, 5, 400)


def test_the_pelts_are_those_of_the_company():
    pelts = datasets.hudson_bay()
    assert pelts.shape == (21, 2)
    assert list(pelts.columns) == ["hare", "lynx"]
    assert pelts.index.name == "year"
    assert pelts.index.tolist() == list(range(1900, 1921))
    assert pelts.loc[1903].tolist() == [77.4, 35.2]
    assert pelts.sum().tolist() == pytest.approx([715.7, 423.5])
    pelts.loc[1900, "hare"] = 0.0
    assert datasets.hudson_bay().loc[1900, "hare"] == 30.0


def test_noise_has_the_stated_level_relative_to_the_mean():
    system = models.lotka_volterra()
    exact = simulate(system, TS, rtol=1e-10, atol=1e-10).to_frame()
    errors = datasets.noisy(system, TS, noise=0.05, seed=3) - exact
    assert (errors.std() / exact.mean()).to_numpy() == pytest.approx([0.05, 0.05], rel=0.1)
    assert errors.mean().abs().max() < 0.02
    assert abs(errors.corr().iloc[0, 1]) < 0.15


def test_columns_without_a_level_have_no_noise():
    system = models.hamiltonian_pendulum()
    exact = datasets.noisy(system, TS, noise=0.0)
    assert list(exact.columns) == ["q", "p", "energy"]
    measured = datasets.noisy(system, TS, noise={"energy": 0.1})
    pd.testing.assert_frame_equal(measured[["q", "p"]], exact[["q", "p"]])
    assert measured["energy"].std() == pytest.approx(0.1 * abs(exact["energy"].mean()), rel=0.1)


def test_gaps_have_the_stated_frequency_and_leave_the_rest_alone():
    system = models.lotka_volterra()
    full, gaps = (datasets.noisy(system, TS, noise=0.1, seed=1, missing=part) for part in (0.0, 0.3))
    assert not full.isna().to_numpy().any()
    assert gaps.isna().to_numpy().mean() == pytest.approx(0.3, abs=0.05)
    pd.testing.assert_frame_equal(gaps, full.where(gaps.notna()))


def test_the_seed_alone_decides_the_noise():
    system = models.lotka_volterra()
    first, again, other = (datasets.noisy(system, TS[:9], noise=0.1, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": {"z": 0.1}}, "`noise` names `z`, but the System has `x`, `y`"),
        ({"noise": -0.1}, "the noise level of `x` is -0.1: it must be zero or a positive number"),
        ({"noise": np.nan}, "the noise level of `x` is nan"),
        ({"noise": 0.1, "missing": 1.0}, "`missing=1.0` is a probability: give a number from 0 to below 1"),
        ({"noise": 0.1, "missing": -0.1}, "`missing=-0.1` is a probability"),
    ],
)
def test_wrong_noise_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        datasets.noisy(models.lotka_volterra(), [0.0, 1.0], **options)


def test_the_data_of_the_universal_differential_equation_follow_its_equations():
    x, y = sp.symbols("x y", real=True)
    system = System({x: 1.3 * x - 0.9 * x * y, y: 0.8 * x * y - 1.8 * y}, initial={x: 0.44249296, y: 4.6280594})
    exact = datasets.ude_lotka_volterra(noise=0.0)
    assert exact.index.to_numpy() == pytest.approx(np.linspace(0, 3, 31))
    assert exact.to_numpy() == pytest.approx(simulate(system, exact.index, rtol=1e-11, atol=1e-11).values, rel=1e-8)
    noisy = datasets.ude_lotka_volterra()
    assert ((noisy - exact).std() / exact.mean()).to_numpy() == pytest.approx([5e-3, 5e-3], rel=0.4)


@pytest.mark.parametrize("data", [datasets.hudson_bay(), datasets.ude_lotka_volterra()], ids=["pelts", "simulated"])
def test_datasets_are_ready_to_be_fitted(data):
    first, second = (sp.Symbol(name, real=True) for name in data.columns)
    problem = Problem(System({first: 0, second: 0}), data)
    assert problem.observations == data.size


@pytest.mark.parametrize("package", [models, datasets], ids=["models", "datasets"])
def test_everything_public_has_an_example_and_its_arguments_documented(package):
    for name in package.__all__:
        function = getattr(package, name)
        assert ">>>" in function.__doc__, name
        assert "Reference:" in function.__doc__, name
        if inspect.ismodule(function):
            continue
        for argument in function.__code__.co_varnames[: function.__code__.co_argcount]:
            assert f"{argument}:" in function.__doc__, (name, argument)


@pytest.mark.parametrize("package", [models.binary_black_hole, datasets.waveforms])
def test_everything_in_a_namespace_has_its_arguments_documented(package):
    for name in package.__all__:
        function = getattr(package, name)
        for argument in inspect.signature(function).parameters:
            assert re.search(rf"\b{argument}\b[^:\n]*:", function.__doc__), (name, argument)
