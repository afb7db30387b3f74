"""The numbers that the documents state, computed anew: examples are imported and their studies run."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch

import sciml
from sciml import LogNormal, Parameter, Problem, System

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str):
    """A script of `examples/` as a module."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pelts() -> pd.DataFrame:
    return sciml.datasets.hudson_bay()


def test_plain_lotka_volterra_fits_the_pelts_with_a_log_rmse_of_0_2192(pelts):
    hare, lynx, a, b, c, d, sigma = sp.symbols("hare lynx a b c d sigma", real=True)
    positive = (0, None)
    system = System(
        {hare: a * hare - b * hare * lynx, lynx: c * hare * lynx - d * lynx},
        parameters={
            a: Parameter(0.5, bounds=positive),
            b: Parameter(0.03, bounds=positive),
            c: Parameter(0.03, bounds=positive),
            d: Parameter(0.8, bounds=positive),
            sigma: Parameter(0.2, bounds=positive),
        },
    )
    fit = sciml.fit(Problem(system, pelts, noise={hare: LogNormal(sigma), lynx: LogNormal(sigma)}), progress=False)
    assert fit.converged
    course = fit.simulate(pelts.index.to_numpy())
    gaps = np.log(pelts[["hare", "lynx"]].to_numpy()) - np.log(np.stack([course["hare"], course["lynx"]], axis=1))
    assert np.sqrt(np.mean(gaps**2)) == pytest.approx(0.2192, abs=5e-4)
    assert fit.rmse == pytest.approx(0.2192, abs=5e-4)
    # The likeliest spread of a lognormal error is the root mean square of the logarithms.
    assert fit.estimates["sigma"] == pytest.approx(0.2192, abs=5e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pelts_give_a_hybrid_below_0_18_and_lotka_volterra_as_its_law(seed, pelts):
    study = example("lynx_hare_seeds").study(seed, pelts, until=1913)
    assert study["hybrid"] <= 0.18
    assert study["eaten, best term"] == study["born, best term"] == "+hare*lynx"
    assert study["law: eaten"] == study["law: born"] == "hare*lynx"
    assert study["law"] == pytest.approx(0.2192, abs=5e-4)
    assert study["forecast law"] == pytest.approx(0.33, abs=0.005)
    assert study["forecast hybrid"] > study["forecast law"]


@pytest.mark.slow
def test_ten_seeds_on_the_pelts_agree(pelts):
    studies = [example("lynx_hare_seeds").study(seed, pelts, until=1913) for seed in range(10)]
    assert max(s["hybrid"] for s in studies) <= 0.18
    assert sum(s["eaten, best term"] == s["born, best term"] == "+hare*lynx" for s in studies) >= 9
    assert sum(s["law: eaten"] == s["law: born"] == "hare*lynx" for s in studies) >= 8


def test_repeating_the_cycle_forecasts_with_0_403(pelts):
    lynx_hare = example("lynx_hare")
    cycle = lynx_hare.repeated_cycle(pelts, 1913)
    assert lynx_hare.log_rmse(pelts.loc[cycle.index], cycle) == pytest.approx(0.403, abs=5e-4)


def test_both_missing_terms_are_recovered_and_extrapolate():
    row, _, refit = example("missing_terms").study(0)
    assert row["right form"]
    assert row["coefficient error %"] < 5
    assert row["error to t = 30 %"] < 5
    rates = (
        sciml.compile(refit.system)(0.0, torch.tensor([[1.2, 0.7], [3.0, 2.0]], dtype=torch.float64)).detach().numpy()
    )
    true = [[1.3 * a - 0.9 * a * b, 0.8 * a * b - 1.8 * b] for a, b in ((1.2, 0.7), (3.0, 2.0))]
    np.testing.assert_allclose(rates, true, rtol=0.05)


def test_a_learned_potential_keeps_its_energy_and_gives_the_force():
    row, fit = example("pendulum_potential").study(0)
    assert row["force error %"] < 2
    assert row["energy drift %"] < 1
    assert fit.backend == "native"
    # V is determined up to a constant; its differences are those of -cos.
    positions = np.array([[0.0], [0.5], [1.0]])
    learned = fit.learned_values("V", positions)
    np.testing.assert_allclose(learned - learned[0], 1 - np.cos(positions[:, 0]), atol=0.01)
