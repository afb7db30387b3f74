"""Two more cases of the universal-differential-equations paper: a prey that is never seen, and how an epidemic spreads.

*Predator only*: Lotka-Volterra as in the noise study, 31 rows of the predator alone; growth of the prey, death of the
predator and the prey's start are known, both interactions are learned, and sought among all polynomials to degree 2.
*SEIR*: susceptible, exposed, infected and removed shares over 30 days, all seen daily; rates of incubation and recovery are
known, the exposure is learned as a function of susceptible and infected, and sought among polynomials to degree 3.

Printed for each level of noise (a share of the mean of a state): runs whose law has exactly the true terms, runs whose near
ties hold it, the number of near ties, and the median forecast error of law and network over the time that follows (once the
span for the predator, twice for the epidemic), as a share of the state's range. The paper (Rackauckas et al. 2020) shows
single runs of both cases and reports the true terms found; it counts no runs, so no number stands beside these.
"""

import statistics
import time

import numpy as np
import pandas as pd
import sympy as sp

import sciml
from sciml import MLP, Problem, SparseRegression, System
from sciml.scripts import machine, options, report

x, y, S, E, I, R = sp.symbols("x y S E I R", real=True)
lost, gained, exposure = sp.symbols("lost gained exposure", cls=sp.Function)
CONTACTS, INCUBATION, RECOVERY = 0.9, 0.25, 0.2


def predator(noise: float, seed: int) -> tuple[Problem, SparseRegression, dict[str, sp.Expr], pd.DataFrame]:
    """Problem, method, true terms, and the noise-free continuation of what was measured."""
    start = {x: 0.44249296, y: 4.6280594}
    truth = System({x: 1.3 * x - 0.9 * x * y, y: 0.8 * x * y - 1.8 * y}, initial=start)
    model = System(
        {x: 1.3 * x - lost(x, y), y: gained(x, y) - 1.8 * y},
        learned={(lost, gained): MLP(hidden=(5, 5, 5))},
        initial={x: start[x]},
    )
    data, later = series(truth, ["y"], 3.0, 31, 6.0, noise, seed)
    return Problem(model, data), SparseRegression(degree=2), {"lost": x * y, "gained": x * y}, later


def epidemic(noise: float, seed: int) -> tuple[Problem, SparseRegression, dict[str, sp.Expr], pd.DataFrame]:
    """As `predator`."""
    start = {S: 0.97, E: 0.02, I: 0.01, R: 0.0}
    passing = {I: INCUBATION * E - RECOVERY * I, R: RECOVERY * I}
    truth = System({S: -CONTACTS * S * I, E: CONTACTS * S * I - INCUBATION * E, **passing}, initial=start)
    model = System(
        {S: -exposure(S, I), E: exposure(S, I) - INCUBATION * E, **passing}, learned={exposure: MLP(hidden=(5, 5))}
    )
    data, later = series(truth, ["S", "E", "I", "R"], 30.0, 31, 90.0, noise, seed)
    return Problem(model, data), SparseRegression(degree=3), {"exposure": S * I}, later


def series(truth: System, names: list[str], end: float, rows: int, until: float, noise: float, seed: int):
    """What is measured up to `end`, and the noise-free course until `until`."""
    first, rest = np.linspace(0.0, end, rows), np.linspace(end, until, 61)[1:]
    whole = sciml.simulate(truth, np.concatenate([first, rest]), rtol=1e-10, atol=1e-10).to_frame()[names]
    clean = whole.iloc[:rows]
    draws = np.random.default_rng([seed, rows]).standard_normal(clean.shape)
    return clean + noise * clean.mean().to_numpy() * draws, whole.iloc[rows:]


def run(case, noise: float, seed: int) -> dict[str, float]:
    """One fit, one discovery, and the forecasts of both."""
    problem, method, truth, later = case(noise, seed)
    begin = time.process_time()
    fit = sciml.fit(problem, seed=seed, progress=False)
    found = sciml.discover(fit, method, progress=False).report
    row = {"right": is_true(found.best, truth), "near": any(is_true(c, truth) for c in found.near_ties)}
    row |= {"ties": len(found.near_ties), "s": time.process_time() - begin}
    ranges = np.ptp(later.to_numpy(), axis=0)
    for name, one in (("law", found.best.fit), ("network", fit)):
        means, _ = one.predicted([float(problem.experiments[0].times[0]), *later.index])
        gaps = (means.to_numpy()[1:] - later.to_numpy()) / ranges
        row[name] = float(np.sqrt(np.mean(gaps**2)))
    return row


def is_true(candidate: sciml.discovery.Candidate, truth: dict[str, sp.Expr]) -> bool:
    """Whether a law has exactly the true terms."""
    return candidate.terms == len(truth) and all((candidate.formulas[n] / t).is_number for n, t in truth.items())


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="seeds for each level")
    arguments = parser.parse_args()
    levels, count = ((1e-2,), 1) if arguments.quick else ((1e-3, 1e-2, 5e-2), arguments.runs)
    rows = []
    for case in (epidemic, predator):
        for noise in levels:
            runs = [run(case, noise, arguments.seed + i) for i in range(count)]
            row = {"case": case.__name__, "noise": noise, "runs": count, "right": sum(r["right"] for r in runs)}
            row |= {"truth near": sum(r["near"] for r in runs), "near ties": statistics.mean(r["ties"] for r in runs)}
            row |= {f"{n} %": 100 * statistics.median(r[n] for r in runs) for n in ("law", "network")}
            rows.append(row | {"s": statistics.median(r["s"] for r in runs)})
            print(rows[-1], flush=True)
    report(rows, arguments, machine("torch", "numba", "sympy"))


if __name__ == "__main__":
    main()
