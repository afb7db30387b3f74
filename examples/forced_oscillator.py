"""A damped oscillator driven by a measured square wave: mass, damping and stiffness from its noisy position.

m x'' = F(t) - c x' - k x with a force that was logged at 20 per second (its levels jump between samples), 121 positions
with noise of 2 % of their standard deviation, and a velocity that nobody measured. The table holds the estimates and
their errors; the target is 2 % each. A solver that steps across the jumps would have their error of first order.
"""

import numpy as np
import pandas as pd
import sympy as sp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import sciml
from sciml import Normal, Parameter, Problem, System
from sciml.scripts import machine, options, report

x, v, force, m, c, k = sp.symbols("x v F m c k", real=True)
TRUTH = {"m": 0.8, "c": 0.35, "k": 2.4}
END = 24.0  # s


def oscillator() -> System:
    """The equations, with starts that are off by up to a factor of two."""
    return System(
        {x: v, v: (force - c * v - k * x) / m},
        parameters={name: Parameter(1.0, bounds=(0.01, 10)) for name in (m, c, k)},
        initial={x: 0.0, v: 0.0},
        inputs={force: "constant"},
    )


def measurements(seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Noisy positions, and the force as it was logged."""
    rng = np.random.default_rng(seed)
    logged = np.arange(0, END + 0.025, 0.05)
    switches = np.cumsum(rng.uniform(1.0, 3.5, 30))
    drive = pd.Series(np.where(np.searchsorted(switches, logged) % 2, -1.0, 1.0), index=logged, name="F")
    times = np.linspace(0, END, 121)
    motion = sciml.simulate(oscillator(), times, inputs={force: drive}, parameters=TRUTH, rtol=1e-9, atol=1e-9)["x"]
    return pd.DataFrame({"x": motion + 0.02 * motion.std() * rng.normal(size=121)}, index=times), drive


def study(seed: int) -> tuple[dict[str, object], sciml.Fit]:
    """One row of the table, and the fit."""
    data, drive = measurements(seed)
    problem = Problem(oscillator(), data, {x: Normal()}, inputs={force: drive})
    fit = sciml.fit(problem, seed=seed, progress=False)
    row: dict[str, object] = {"seed": seed}
    for name, value in TRUTH.items():
        row[name] = fit.estimates[name]
        row[f"{name} error %"] = 100 * abs(fit.estimates[name] / value - 1)
    return row | {"seconds": fit.seconds, "backend": fit.backend}, fit


def picture(fit: sciml.Fit) -> Figure:
    """Data with the fit above, the force below."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    measured = fit.problem.experiments[0]
    fine = np.linspace(0, END, 1200)
    above.plot(measured.times, measured.column("x"), "o", ms=3, color="#0072B2", label="measured position")
    above.plot(fine, fit.simulate(fine)["x"], color="#D55E00", lw=1.3, label="fit")
    above.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    above.set_ylabel("position x / m")
    below.step(fine, measured.inputs(fine)[:, 0], where="post", color="0.35", lw=1.2)
    below.set_ylabel("force F / N")
    below.set_xlabel("time t / s")
    below.set_ylim(-1.3, 1.3)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else 10))
    results = [study(seed) for seed in seeds]
    rows = [row for row, _ in results]
    report(rows, arguments, machine("torch", "numba", "sympy"))
    worst = max(float(value) for row in rows for name, value in row.items() if name.endswith("error %"))
    print(f"worst error of a parameter {worst:.2f} % (target 2 %)")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        picture(results[0][1]).savefig(arguments.out / "forced_oscillator.png", dpi=150)


if __name__ == "__main__":
    main()
