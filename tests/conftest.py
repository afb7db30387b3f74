"""What several test files share: one hybrid fit and the law discovered from it."""

import os

# Before torch is loaded: workers whose threads wait for each other take up to thirty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Fit, Normal, Parameter, Problem, SparseRegression, System


@pytest.fixture(scope="session")
def hybrid() -> Fit:
    """Logistic growth, x' = 1.5 x - x² - 0.5 x, whose first two terms are learned as one function."""
    x, death = sp.symbols("x death", real=True)
    growth = sp.Function("growth")
    system = System(
        equations={x: growth(x) - death * x},
        parameters={death: Parameter(0.5, fixed=True)},
        learned={growth: MLP(hidden=(6,))},
        observed={"square": x**2},
    )
    times = np.linspace(0, 6, 16)
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": 1 / (1 + 9 * np.exp(-times)) + 0.003 * rng.standard_normal(16)}, index=times)
    problem = Problem(system, data, noise={x: Normal(0.003)})
    return sciml.fit(problem, optimizers=[LBFGS(steps=60)], progress=False)


@pytest.fixture(scope="session")
def law(hybrid) -> System:
    """The closed form of the growth."""
    return sciml.discover(hybrid, SparseRegression(degree=2, terms=2, keep=3, refits=6), progress=False)
