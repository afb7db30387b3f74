"""How often both interaction terms of Lotka-Volterra are found, at five levels of noise.

The noise study of the universal-differential-equations paper: growth of the prey and death of the predator are known, both
interactions are learned by a 2-5-5-5-2 network from 31 rows, and the terms are sought among all monomials to degree 5 and
the sines of both states, 46 in all. A run is right if exactly the two true terms are found. One row for each level: right
runs beside the paper's (network, then SR3), runs whose near ties hold the truth and how many near ties there are, the share
of 95 % intervals that hold the true coefficient, and median seconds of a fit and of a discovery.

With `--out DIR`, finished runs are kept in `DIR/noise_study.jsonl` and not repeated: stop and start it as you like.
"""

import json
import statistics
import time
from pathlib import Path

import sympy as sp

import sciml
from sciml import MLP, Problem, SparseRegression, System
from sciml.scripts import machine, options, report

LEVELS = {1e-3: 75, 5e-3: 72, 1e-2: 58, 2.5e-2: 29, 5e-2: 18}  # the paper: right runs of 100
TARGETS = {1e-3: 98, 5e-3: 98, 1e-2: 98, 2.5e-2: 96, 5e-2: 80}
x, y = sp.symbols("x y", real=True)
lost, gained = sp.symbols("lost gained", cls=sp.Function)
TRUTH = {"lost": 0.9, "gained": 0.8}


def is_true(candidate: sciml.discovery.Candidate) -> bool:
    """Whether a candidate has exactly the two true terms."""
    return all((candidate.formulas[name] / (x * y)).is_number for name in TRUTH) and candidate.terms == 2


def run(level: float, seed: int, shared: bool) -> dict[str, object]:
    """One fit and one discovery."""
    system = System(
        {x: 1.3 * x - lost(x, y), y: gained(x, y) - 1.8 * y}, learned={(lost, gained): MLP(hidden=(5, 5, 5))}
    )
    problem = Problem(system, sciml.datasets.ude_lotka_volterra(noise=level, seed=seed))
    method = SparseRegression(degree=5, library=[sp.sin(x), sp.sin(y)], shared=shared)
    begin = time.process_time()
    fit = sciml.fit(problem, seed=seed, progress=False)
    fitted = time.process_time()
    found = sciml.discover(fit, method, progress=False).report
    done = time.process_time()
    row = {"level": level, "seed": seed, "shared": shared, "right": is_true(found.candidates[0])}
    row |= {"truth near": any(map(is_true, found.near_ties)), "near ties": len(found.near_ties)}
    truth = next((c for c in found.candidates if is_true(c)), None)
    intervals = truth.intervals(0.95) if row["right"] and truth else {}
    row["covered"] = [low <= TRUTH[name] <= high for name, (low, high) in zip(TRUTH, intervals.values())]
    row |= {name: found.counts[name] for name in ("tried", "failed", "rescued")}
    return row | {"fit": fitted - begin, "discovery": done - fitted}


def summary(level: float, runs: list[dict]) -> dict[str, object]:
    """The row of one level."""
    covered = [hit for run in runs for hit in run["covered"]]
    share = 100 / len(runs)
    return {
        "noise": level,
        "runs": len(runs),
        "right %": share * sum(run["right"] for run in runs),
        "target %": TARGETS[level],
        "paper %": LEVELS[level],
        "truth near %": share * sum(run["truth near"] for run in runs),
        "near ties": statistics.mean(run["near ties"] for run in runs),
        "covered %": 100 * statistics.mean(covered) if covered else float("nan"),
        "fits": statistics.median(run["tried"] for run in runs),
        "fit s": statistics.median(run["fit"] for run in runs),
        "discovery s": statistics.median(run["discovery"] for run in runs),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="seeds for each level")
    parser.add_argument("--shared", action="store_true", help="price a term that stands in both functions once")
    arguments = parser.parse_args()
    levels, count = ([5e-3], 1) if arguments.quick else (list(LEVELS), arguments.runs)
    store = arguments.out / "noise_study.jsonl" if arguments.out else None
    done = read(store)
    for seed in range(arguments.seed, arguments.seed + count):
        for level in levels:
            if (level, seed, arguments.shared) not in done:
                row = done[level, seed, arguments.shared] = run(level, seed, arguments.shared)
                if store:
                    store.parent.mkdir(parents=True, exist_ok=True)
                    with store.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    seeds = range(arguments.seed, arguments.seed + count)
    rows = [summary(level, [done[level, seed, arguments.shared] for seed in seeds]) for level in levels]
    report(rows, arguments, machine("torch", "numba", "sympy"))


def read(store: Path | None) -> dict[tuple, dict]:
    """Finished runs."""
    lines = store.read_text().splitlines() if store and store.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["level"], row["seed"], row["shared"]): row for row in rows}


if __name__ == "__main__":
    main()
