"""Lorenz's equations with an unknown right-hand side, from 20 time units of noisy data: multiple or single shooting.

x' = sigma (y - x) and z' = x y - beta z are known, y' = f(x, y, z) is a network of 24 units; all three are measured 20 times
a time unit, with noise of 1 % of their mean absolute values. Two trajectories that differ by 1e-7 have nothing in common
after 18 Lyapunov times. Every start has its own random weights, without collocation before it, and the same stages of
Adam and L-BFGS. Success: the learned f is within 5 % of x (rho - z) - y, in root mean squares over the attractor. Beside
it stand for how long a forecast from the end of the data stays within 40 % of the state's size, and the residuals.
"""

import statistics
import time

import numpy as np
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Adam, MultipleShooting, Normal, Problem, SingleShooting, System
from sciml.scripts import machine, options, report

x, y, z = sp.symbols("x y z", real=True)
f = sp.Function("f")
SIGMA, RHO, BETA, END, LEVEL = 10.0, 28.0, 8 / 3, 20.0, 0.01


def problem(seed: int, end: float) -> Problem:
    """The hybrid, and noisy measurements of the whole."""
    truth = sciml.models.lorenz(initial=(-8.0, 7.0, 27.0))
    data = sciml.datasets.noisy(truth, np.linspace(0, end, round(20 * end) + 1), LEVEL, seed=seed)
    network = MLP(hidden=(24,), decay=1e-3)
    model = System({x: SIGMA * (y - x), y: f(x, y, z), z: x * y - BETA * z}, learned={f: network})
    noise = {name: Normal(LEVEL * float(data[name].abs().mean())) for name in ("x", "y", "z")}
    return Problem(model, data, noise)


def attractor() -> np.ndarray:
    """States on the true attractor that nobody measured."""
    return sciml.simulate(sciml.models.lorenz(initial=(5.0, 5.0, 20.0)), np.linspace(0, 60, 3001)).states[300:]


def error(fit: sciml.Fit, states: np.ndarray) -> float:
    """Of the learned right-hand side, relative, in root mean squares."""
    exact = states[:, 0] * (RHO - states[:, 2]) - states[:, 1]
    return float(np.sqrt(np.mean((fit.learned_values(f, states) - exact) ** 2) / np.mean(exact**2)))


def forecast(fit: sciml.Fit, end: float) -> float:
    """For how long the learned equations follow the true ones from the true state at the end of the data."""
    truth = sciml.models.lorenz(initial=(-8.0, 7.0, 27.0))
    last = sciml.simulate(truth, [0.0, end], rtol=1e-11, atol=1e-11).states[-1]
    times, start = np.linspace(0, 10, 501), dict(zip("xyz", last))
    exact = sciml.simulate(truth, times, initial=start, rtol=1e-10, atol=1e-10).states
    found = sciml.simulate(fit.system, times, initial=start, throw=False).states
    off = np.linalg.norm(found - exact, axis=1) / np.sqrt(np.mean(exact**2) * 3)
    return float(times[np.argmax(~(off < 0.4))]) if not (off < 0.4).all() else 10.0


def main() -> None:
    arguments = options(__doc__).parse_args()
    starts, end = (1, 4.0) if arguments.quick else (10, END)
    posed = problem(arguments.seed, end)
    stages = [Adam(steps=30), LBFGS(steps=30)] if arguments.quick else [Adam(steps=500), LBFGS(steps=500)]
    objectives = {
        "multiple shooting": MultipleShooting(intervals=round(2 * end), start=None),
        "single shooting": SingleShooting(start=None),
    }
    states, rows = attractor(), []
    for start in range(starts):
        for name, objective in objectives.items():
            began = time.perf_counter()
            fit = sciml.fit(posed, objective, stages, seed=start, progress=False)
            seconds, off = time.perf_counter() - began, 100 * error(fit, states)
            row = {"start": start, "by": name, "error of f %": off, "forecast holds": forecast(fit, end)}
            rows.append(row | {"rmse": fit.rmse, "seconds": seconds})
    report(rows, arguments, machine("torch", "numba"))
    for name in objectives:
        errors = [float(row["error of f %"]) for row in rows if row["by"] == name]
        good = sum(error < 5 for error in errors)
        print(f"{name}: {good} of {starts} starts within 5 % (median {statistics.median(errors):.2f} %)")


if __name__ == "__main__":
    main()
