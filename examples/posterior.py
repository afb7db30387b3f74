"""Posterior of a Lotka-Volterra model by a conditional diffusion model, checked against the likelihood.

Four rates with log-normal priors; ten measurements of both species with 10 % log-normal noise. A diffusion model learns the
posterior from simulations alone, for any data; for one data set it stands beside a long Markov chain and the fit's Laplace
intervals. Printed are medians and 90 % intervals, the p-value of simulation-based calibration for every parameter (below
0.05 it is miscalibrated), and C2ST: how well a classifier tells its draws from those of the chain (0.5 is the best, 1 the
worst). The picture shows the draws of pairs of parameters over the chain's.
"""

import numpy as np
import pandas as pd
import sympy as sp
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

import sciml
from sciml import LBFGS, LogNormal, Parameter, Problem, SingleShooting, System
from sciml.scripts import machine, options, report

x, y = sp.symbols("x y", real=True)
RATES = sp.symbols("birth eaten death born", real=True)
TRUTH = (1.0, 0.5, 0.8, 0.3)
SPREAD, NOISE = 0.4, 0.1
TIMES = np.linspace(0.0, 10.0, 11)


def system() -> System:
    """The equations, with priors as for a fit."""
    a, b, c, d = RATES
    parameters = {r: Parameter(v, bounds=(0, None), prior=LogNormal(SPREAD)) for r, v in zip(RATES, TRUTH)}
    return System({x: a * x - b * x * y, y: d * x * y - c * y}, parameters=parameters, initial={x: 2.0, y: 1.0})


def distort(exact: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Measurements of exact values."""
    return exact * np.exp(NOISE * rng.normal(size=exact.shape))


def logarithms(table: np.ndarray) -> np.ndarray:
    """What the network sees: logarithms behind the known start."""
    return np.log(np.maximum(table[1:], 1e-6))


def learned(simulations: int, steps: int, seed: int) -> sciml.diffusion.Posterior:
    """The amortized posterior."""
    priors = {rate: stats.lognorm(SPREAD, scale=value) for rate, value in zip(RATES, TRUTH)}
    return sciml.posterior(
        system(),
        priors,
        TIMES,
        noise={x: distort, y: distort},
        observe=logarithms,
        simulations=simulations,
        steps=steps,
        seed=seed,
    )


def chain(problem: Problem, start: np.ndarray, covariance: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draws of a random-walk Metropolis chain in logarithms of the rates, every twentieth kept."""
    rng = np.random.default_rng(seed)
    factor = 2.38 / np.sqrt(len(start)) * np.linalg.cholesky(covariance)
    now, cost, kept = start, problem.value_and_gradient(start)[0], []
    for step in range(20 * draws):
        trial = now + factor @ rng.normal(size=len(start))
        other = problem.value_and_gradient(trial)[0]
        if np.log(rng.uniform()) < cost - other:
            now, cost = trial, other
        if step % 20 == 19:
            kept.append(now)
    return np.array([problem.loss.coordinates.values(vector)[0] for vector in kept])


def c2st(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """Accuracy of a small network that tells two sets of draws apart, in five folds."""
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    both = np.concatenate([a, b])
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    classifier = MLPClassifier((40, 40), max_iter=300, early_stopping=True, random_state=seed)
    return float(cross_val_score(classifier, both, np.repeat([0, 1], [len(a), len(b)]), cv=5, n_jobs=1).mean())


def reference(rates: tuple[float, ...], seed: int, draws: int) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """One data set at these rates, the chain's draws for it, and Laplace's intervals."""
    rng = np.random.default_rng(seed)
    exact = sciml.simulate(system(), TIMES, parameters=dict(zip(RATES, rates)))
    data = pd.DataFrame({"x": distort(exact["x"], rng), "y": distort(exact["y"], rng)}, index=TIMES)
    behind = data.copy()
    behind.iloc[0] = np.nan
    problem = Problem(system(), behind, noise={x: LogNormal(NOISE), y: LogNormal(NOISE)})
    fit = sciml.fit(problem, SingleShooting(start=None), [LBFGS()], progress=False)
    laplace = fit.laplace()
    return data, chain(problem, fit.vector, laplace.covariance, draws, seed), laplace.intervals(0.9)


def picture(draws: np.ndarray, exact: np.ndarray) -> Figure:
    """Pairs of parameters."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (i, j) in zip(figure.subplots(1, 2), ((0, 1), (2, 3))):
        panel.plot(exact[:, i], exact[:, j], ".", ms=3, color="#0072B2", alpha=0.4, label="Markov chain")
        panel.plot(draws[:, i], draws[:, j], ".", ms=3, color="#D55E00", alpha=0.4, label="diffusion")
        panel.plot(TRUTH[i], TRUTH[j], "k+", ms=12, mew=2, label="truth")
        panel.set(xlabel=f"{RATES[i]} (per unit of time)", ylabel=f"{RATES[j]} (per unit of time)")
    figure.axes[0].legend(frameon=False, markerscale=2)
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    torch.set_num_threads(1)
    quick, seed = arguments.quick, arguments.seed
    found = learned(200 if quick else 10_000, 30 if quick else 6000, seed)
    count = 100 if quick else 2000
    data, exact, laplace = reference(TRUTH, seed, count)
    draws = found.sample(data, count, seed=seed)
    p_values = found.calibration(20 if quick else 300, seed=seed + 1).p_values()
    intervals = found.intervals(data)
    rows = []
    for i, (name, value) in enumerate(zip(found.names, TRUTH)):
        low, high = np.quantile(exact[:, i], [0.05, 0.95])
        row = intervals.loc[name]
        rows.append(
            {
                "parameter": name,
                "truth": value,
                "diffusion": f"{row['median']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]",
                "chain": f"{np.median(exact[:, i]):.3f} [{low:.3f}, {high:.3f}]",
                "Laplace": "{:.3f} [{:.3f}, {:.3f}]".format(*laplace.loc[name]),
                "SBC p": p_values[name],
            }
        )
    report(rows, arguments, machine("torch", "scipy"))
    print(
        f"C2ST against the chain: {c2st(np.log(draws.to_numpy()), np.log(exact), seed):.3f}; of two halves of it: ",
        end="",
    )
    print(f"{c2st(np.log(exact[::2]), np.log(exact[1::2]), seed):.3f}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        picture(draws.to_numpy(), exact).savefig(arguments.out / "posterior.png", dpi=150)


if __name__ == "__main__":
    main()
