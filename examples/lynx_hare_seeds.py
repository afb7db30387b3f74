"""The lynx-hare example from ten random starts: how much of it depends on the seed.

For each seed: the log-RMSE of the hybrid model on 1900-1920; the best single library term of each learned function on
the visited states; the law that is discovered (degree 3) with its log-RMSE; and the log-RMSE of forecasts for
1914-1920 from 1900-1913 by the hybrid and by the law. The spread over seeds is not an uncertainty.
"""

import statistics

import numpy as np
import pandas as pd
import sympy as sp
from lynx_hare import NOISE, born, eaten, forecast, hare, hybrid_model, lynx

import sciml
from sciml import Fit, Problem, SparseRegression
from sciml.discovery.library import monomials
from sciml.scripts import machine, options, report


def best_single_term(fit: Fit, function, degree: int = 3) -> str:
    """The monomial, with its sign, that alone explains a learned function best on the visited states."""
    times = fit.problem.experiments[0].times
    frame = fit.simulate(np.linspace(times[0], times[-1], 200)).to_frame()
    states = frame[["hare", "lynx"]].to_numpy()
    learned = fit.learned_values(function, states)
    best, smallest = "", np.inf
    for term in monomials((hare, lynx), degree):
        column = np.broadcast_to(sp.lambdify((hare, lynx), term)(*states.T), learned.shape)
        coefficient = column @ learned / (column @ column)
        misfit = np.sum((learned - coefficient * column) ** 2)
        if misfit < smallest:
            best, smallest = f"{'+' if coefficient > 0 else '-'}{term}", misfit
    return best


def study(seed: int, pelts: pd.DataFrame, until: int) -> dict[str, object]:
    """One row of the table."""
    problem = Problem(hybrid_model(), pelts, noise=NOISE)
    hybrid = sciml.fit(problem, seed=seed, progress=False)
    law = sciml.discover(hybrid, SparseRegression(degree=3, shared=True), progress=False)
    refit = sciml.fit(problem.with_system(law), progress=False)
    early = Problem(hybrid_model(), pelts.loc[:until], noise=NOISE)
    chosen = law.report.best
    terms = ["+".join(str(t.expression) for k, t in enumerate(chosen.library.terms) if k in chosen.active and t.function == f)
             for f in (0, 1)]  # fmt: skip
    return {
        "seed": seed,
        "hybrid": hybrid.rmse,
        "seconds": hybrid.seconds,
        "eaten, best term": best_single_term(hybrid, eaten),
        "born, best term": best_single_term(hybrid, born),
        "law: eaten": terms[0],
        "law: born": terms[1],
        "law": refit.rmse,
        "near ties": len(law.report.near_ties),
        "rival": law.report.difference(law.report.candidates[1]),
        "forecast hybrid": forecast(sciml.fit(early, seed=seed, progress=False), pelts, until),
        "forecast law": forecast(sciml.fit(early.with_system(law), progress=False), pelts, until),
    }


def main() -> None:
    arguments = options(__doc__).parse_args()
    pelts = sciml.datasets.hudson_bay()
    seeds = range(arguments.seed, arguments.seed + (2 if arguments.quick else 10))
    rows = [study(seed, pelts, 1913) for seed in seeds]
    report(rows, arguments, machine("torch", "numba", "sympy"))
    product = sum(r["eaten, best term"] == r["born, best term"] == "+hare*lynx" for r in rows)
    law = sum(r["law: eaten"] == r["law: born"] == "hare*lynx" for r in rows)
    errors = [r["hybrid"] for r in rows]
    print(f"hybrid log-RMSE: median {statistics.median(errors):.3f}, worst {max(errors):.3f}")
    print(f"hare*lynx is the best single term of both functions in {product} of {len(rows)}")
    print(f"the discovered law is Lotka-Volterra in {law} of {len(rows)}")


if __name__ == "__main__":
    main()
