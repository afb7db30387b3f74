"""Scores of forecasts, and the choice of a model by them."""

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from scipy.stats import norm

import sciml
from sciml import LBFGS, Normal, Parameter, Problem, System
from sciml.errors import DataError
from sciml.fitting.forecasts import crps, rolling, scores

x, k, c = sp.symbols("x k c", real=True)
TIMES = np.linspace(0, 4, 33)
DATA = pd.DataFrame({"x": 2 * np.exp(-TIMES) + 0.02 * np.random.default_rng(0).normal(size=33)}, index=TIMES)
POSITIVE = Parameter(0.5, bounds=(0, None))


def decay(end=None):
    return Problem(System({x: -k * x}, parameters={k: POSITIVE}), DATA.loc[:end], {x: Normal(0.02)})


def test_the_score_of_a_normal_forecast_is_the_known_formula():
    samples = np.random.default_rng(1).normal(1.0, 2.0, (200_000, 2))
    values = np.array([0.0, 4.0])
    z = (values - 1.0) / 2.0
    exact = 2.0 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps(samples, values) == pytest.approx(exact, abs=0.01)


def test_scores_of_a_right_model_are_those_of_the_noise():
    found = sciml.fit(decay(2.0), progress=False)
    table = scores(found, DATA.loc[2.01:])
    assert table.loc["x", "values"] == 16
    assert table.loc["x", "rmse"] == pytest.approx(0.02, rel=0.5)
    assert table.loc["x", "crps"] == pytest.approx(0.02 / np.sqrt(np.pi), rel=0.5)


def test_a_rolling_origin_chooses_the_right_model():
    wrong = System({x: -k * x + c}, parameters={k: POSITIVE, c: Parameter(0.3, fixed=True)})
    errors = [
        rolling(problem, [1.0, 1.5, 2.0], horizon=1.0, optimizers=[LBFGS(60)])["crps"].mean()
        for problem in (decay(), decay().with_system(wrong))
    ]
    assert errors[0] < 0.5 * errors[1]
    assert rolling(decay(), [2.0], optimizers=[LBFGS(60)])["values"].item() == 16


def test_slips_are_told():
    found = sciml.fit(decay(2.0), progress=False)
    with pytest.raises(DataError, match="must increase and lie behind 0"):
        scores(found, DATA)
    with pytest.raises(DataError, match="column `z` was not fitted"):
        scores(found, DATA.loc[2.01:].rename(columns={"x": "z"}))
    with pytest.raises(
        DataError, match=r"the origin 4 leaves 33 rows to fit and 0 to forecast: times run from 0 to 4\."
    ):
        rolling(decay(), [4.0])
    with pytest.raises(DataError, match=r"for one experiment, not for 2: hold some out"):
        rolling(Problem(decay().declared, [DATA, DATA], {x: Normal(0.02)}), [2.0])
