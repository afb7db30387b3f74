"""The noise study with less known beforehand than in the paper, and with a third species.

*rates*: Lotka-Volterra as in `noise_study.py`, but growth of the prey and death of the predator are fitted, too: the
networks may take any part of them. *nothing*: the same rows, no known part and no network; both right-hand sides are
read off the series, out of the same library, so that four terms are to be found. *chain*: grass, its grazer and a
hunter, 31 rows of all three; the growth of the grass and both deaths are known, and all four interactions are learned
by two 2-5-5-5-2 networks and sought among 92 terms.

The library of every function holds all monomials of its two arguments to degree 5 and their sines. A run is right if
exactly the true terms are found, in every function. One row for each case and level of noise (a share of the mean of a
state, as in the paper): right runs, runs whose near ties hold the truth and how many near ties there are, the share of
95 % intervals of coefficients and fitted rates that hold the true value in right runs, and median seconds of a fit and
of a discovery. With `--shared` a term that stands in several functions is priced once.

With `--out DIR`, finished runs are kept in `DIR/less_known.jsonl` and not repeated: stop and start it as you like.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import sympy as sp

import sciml
from sciml import MLP, Parameter, Problem, SparseRegression, System
from sciml.scripts import machine, options, report

LEVELS = (1e-3, 1e-2, 5e-2)
x, y, z, growth, death = sp.symbols("x y z growth death", real=True)
lost, gained, hunted, caught = sp.symbols("lost gained hunted caught", cls=sp.Function)
Source = Problem | pd.DataFrame


@dataclass(frozen=True)
class Case:
    """What is measured and known, and what should come out.

    Args:
        source: Noise and seed -> what `discover` begins with: a Problem to be fitted first, or the series alone.
        method: The library.
        truth: Function and term -> coefficient.
        rates: Fitted parameters -> their true values.
    """

    source: Callable[[float, int], Source]
    method: SparseRegression
    truth: Mapping[tuple[str, sp.Expr], float]
    rates: Mapping[str, float] = field(default_factory=dict)

    def is_true(self, candidate: sciml.discovery.Candidate) -> bool:
        """Whether a law has exactly the true terms."""
        return set(terms(candidate)) == set(self.truth)

    def covered(self, candidate: sciml.discovery.Candidate) -> list[bool]:
        """Whether each true value lies in its interval."""
        wanted = {name: self.truth[term] for term, name in terms(candidate).items()} | dict(self.rates)
        intervals = candidate.intervals(0.95)
        return [intervals[name][0] <= value <= intervals[name][1] for name, value in wanted.items()]


def terms(candidate: sciml.discovery.Candidate) -> dict[tuple[str, sp.Expr], str]:
    """Function and term of everything in a law -> name of the coefficient."""
    library = candidate.library
    active = [library.terms[k] for k in candidate.active]
    return {(library.functions[term.function], term.expression): str(term.coefficient) for term in active}


def rates(noise: float, seed: int) -> Source:
    """Lotka-Volterra with rates to be fitted."""
    model = System(
        {x: growth * x - lost(x, y), y: gained(x, y) - death * y},
        parameters={growth: Parameter(1.0, bounds=(0, 5)), death: Parameter(1.0, bounds=(0, 5))},
        learned={(lost, gained): MLP(hidden=(5, 5, 5))},
    )
    return Problem(model, sciml.datasets.ude_lotka_volterra(noise=noise, seed=seed))


def nothing(noise: float, seed: int) -> Source:
    """The series alone."""
    return sciml.datasets.ude_lotka_volterra(noise=noise, seed=seed)


CHAIN = {("lost", x * y): 0.9, ("gained", x * y): 0.8, ("hunted", y * z): 0.6, ("caught", y * z): 0.5}


def chain(noise: float, seed: int) -> Source:
    """Three species."""
    one, two, three, four = CHAIN.values()
    truth = System(
        {x: 1.3 * x - one * x * y, y: two * x * y - 0.5 * y - three * y * z, z: four * y * z - 0.7 * z},
        initial={x: 2.0, y: 1.5, z: 1.0},
    )
    model = System(
        {x: 1.3 * x - lost(x, y), y: gained(x, y) - 0.5 * y - hunted(y, z), z: caught(y, z) - 0.7 * z},
        learned={(lost, gained): MLP(hidden=(5, 5, 5)), (hunted, caught): MLP(hidden=(5, 5, 5))},
    )
    clean = sciml.simulate(truth, np.linspace(0, 6, 31), rtol=1e-10, atol=1e-10).to_frame()[["x", "y", "z"]]
    draws = np.random.default_rng([seed, 3]).standard_normal(clean.shape)
    return Problem(model, clean + noise * clean.mean().to_numpy() * draws)


SINES = [sp.sin(x), sp.sin(y), sp.sin(z)]
CASES = {
    "rates": Case(
        rates,
        SparseRegression(degree=5, library=SINES[:2]),
        {("lost", x * y): 0.9, ("gained", x * y): 0.8},
        {"growth": 1.3, "death": 1.8},
    ),
    "nothing": Case(
        nothing,
        SparseRegression(degree=5, library=SINES[:2]),
        {("x", x): 1.3, ("x", x * y): -0.9, ("y", x * y): 0.8, ("y", y): -1.8},
    ),
    "chain": Case(chain, SparseRegression(degree=5, library=SINES), CHAIN),
}


def run(name: str, level: float, seed: int, shared: bool) -> dict[str, object]:
    """One fit, where there is a network, and one discovery."""
    case = CASES[name]
    source = case.source(level, seed)
    begin = time.process_time()
    start = sciml.fit(source, seed=seed, progress=False) if isinstance(source, Problem) else source
    fitted = time.process_time()
    found = sciml.discover(start, replace(case.method, shared=shared), progress=False).report
    done = time.process_time()
    right = case.is_true(found.candidates[0])
    row = {"case": name, "level": level, "seed": seed, "shared": shared, "right": right}
    row |= {"truth near": any(map(case.is_true, found.near_ties)), "near ties": len(found.near_ties)}
    row |= {"covered": case.covered(found.candidates[0]) if right else [], "tried": found.counts["tried"]}
    return row | {"fit": fitted - begin, "discovery": done - fitted, "law": str(found.candidates[0].formulas)}


def summary(name: str, level: float, runs: list[dict]) -> dict[str, object]:
    """The row of one case and level."""
    covered = [hit for run in runs for hit in run["covered"]]
    return {
        "case": name,
        "noise": level,
        "runs": len(runs),
        "right": sum(run["right"] for run in runs),
        "truth near": sum(run["truth near"] for run in runs),
        "near ties": statistics.mean(run["near ties"] for run in runs),
        "covered %": 100 * statistics.mean(covered) if covered else float("nan"),
        "fits": statistics.median(run["tried"] for run in runs),
        "fit s": statistics.median(run["fit"] for run in runs),
        "discovery s": statistics.median(run["discovery"] for run in runs),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="seeds for each case and level")
    parser.add_argument("--case", choices=[*CASES], action="append", help="only this one (may be repeated)")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, metavar="X", help="of noise")
    parser.add_argument("--shared", action="store_true", help="price a term once that stands in several functions")
    arguments = parser.parse_args()
    cases = arguments.case or (["nothing", "chain"] if arguments.quick else list(CASES))
    levels, count = ((1e-2,), 1) if arguments.quick else (arguments.levels, arguments.runs)
    store = arguments.out / "less_known.jsonl" if arguments.out else None
    done = read(store)
    seeds = range(arguments.seed, arguments.seed + count)
    for key in [(name, level, seed, arguments.shared) for seed in seeds for name in cases for level in levels]:
        if key not in done:
            done[key] = run(*key)
            if store:
                store.parent.mkdir(parents=True, exist_ok=True)
                with store.open("a") as file:
                    file.write(json.dumps(done[key]) + "\n")
    rows = [
        summary(name, level, [done[name, level, seed, arguments.shared] for seed in seeds])
        for name in cases
        for level in levels
    ]
    report(rows, arguments, machine("torch", "numba", "sympy"))


def read(store: Path | None) -> dict[tuple, dict]:
    """Finished runs."""
    lines = store.read_text().splitlines() if store and store.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["case"], row["level"], row["seed"], row["shared"]): row for row in rows}


if __name__ == "__main__":
    main()
