"""A whole fit of a hybrid model, and sixteen of them on one core and on two.

The universal differential equation of Lotka and Volterra: two unknown interactions, one network of 5-5-5 units, 31 noisy
rows, fitted by 2,000 steps of Adam and 500 of L-BFGS; target 3 s with everything compiled. Then `fit(starts=16)` with one
worker and with two, in turns; the workers of the second are kept by joblib, so that their start, some seconds, is left
out. Target: two cores are 1.7 times as fast. The digits must be the same.
"""

import statistics
import time

import joblib
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Adam, Normal, Problem, SingleShooting, System
from sciml.scripts import machine, median_ratio, options, report

x, y = sp.symbols("x y", real=True)
f, g = sp.symbols("f g", cls=sp.Function)


def problem(seed: int) -> Problem:
    """The hybrid and its data."""
    data = sciml.datasets.ude_lotka_volterra(noise=5e-3, seed=seed)
    model = System({x: 1.3 * x - f(x, y), y: g(x, y) - 1.8 * y}, learned={(f, g): MLP(hidden=(5, 5, 5))})
    return Problem(model, data, {name: Normal(0.005 * float(data[name].abs().mean())) for name in ("x", "y")})


def many(posed: Problem, stages: list, starts: int, workers: int, seed: int) -> tuple[float, sciml.Fit]:
    """Seconds of a fit from many starts, and its best."""
    began = time.perf_counter()
    with joblib.parallel_config(n_jobs=workers):
        fit = sciml.fit(posed, SingleShooting(), stages, starts=starts, seed=seed, progress=False)
    return time.perf_counter() - began, fit


def main() -> None:
    arguments = options(__doc__).parse_args()
    posed = problem(arguments.seed)
    stages = [Adam(steps=20), LBFGS(steps=5)] if arguments.quick else [Adam(steps=2000), LBFGS(steps=500)]
    starts, rounds = (2, 1) if arguments.quick else (16, 2)
    sciml.fit(posed, SingleShooting(), [Adam(steps=1)], progress=False)  # compiles
    alone = [sciml.fit(posed, SingleShooting(), stages, seed=k, progress=False) for k in range(rounds)]
    many(posed, [Adam(steps=1)], 2, 2, 0)  # loads the libraries into two workers
    times: dict[int, list[float]] = {1: [], 2: []}
    losses = set()
    for k in range(rounds):
        for workers, taken in times.items():
            seconds, fit = many(posed, stages, starts, workers, arguments.seed + 100 * k)
            taken.append(seconds)
            losses.add((k, fit.loss))
    rows = [{"what": "one fit", "starts": 1, "seconds": statistics.median(fit.seconds for fit in alone)}]
    rows += [{"what": f"on {w} of the cores", "starts": starts, "seconds": statistics.median(times[w])} for w in times]
    report(rows, arguments, machine("numba", "joblib"))
    print(f"two cores are {median_ratio(times[2], times[1]):.2f} times as fast as one (target 1.7)")
    print(f"one fit: {rows[0]['seconds']:.2f} s, {alone[0].evaluations} evaluations (target 3 s); ", end="")
    print(f"the digits are {'the same' if len(losses) == rounds else 'NOT the same'}")


if __name__ == "__main__":
    main()
