"""Chaos, measured: Lyapunov exponents of Lorenz, Rössler and Hénon beside their published values.

Exponents are averages along one trajectory each (of Hénon's map along 100), with standard errors from batch means. The
last rows hold the Kaplan-Yorke dimension of Lorenz' attractor, and how far its exponents are from adding up to the
divergence -(σ + 1 + β), which they must. Figures: the exponents of Lorenz as they settle, and the road to chaos of the
logistic map.
"""

import numpy as np

import sciml
from sciml import dynamics, models
from sciml.scripts import machine, options, report

LORENZ = (0.9056, 0.0, -14.5723)  # Sprott (2003), Chaos and Time-Series Analysis, table A
ROSSLER, HENON = 0.0714, 0.41922


def main() -> None:
    arguments = options(__doc__).parse_args()
    scale = 0.02 if arguments.quick else 1.0
    tight = {"rtol": 1e-8, "atol": 1e-8}
    lorenz = dynamics.lyapunov_spectrum(models.lorenz(), duration=100_000 * scale, transient=50, **tight)
    rossler = dynamics.lyapunov_spectrum(
        models.rossler(), duration=100_000 * scale, transient=200, interval=2.0, **tight
    )
    rng = np.random.default_rng(arguments.seed)
    starts = {"x": rng.uniform(-0.1, 0.1, 100), "y": rng.uniform(-0.1, 0.1, 100)}
    henon = dynamics.lyapunov_spectrum(models.henon(), starts, duration=20_000 * scale, transient=100)
    rows = [
        {"system": "Lorenz", "quantity": f"exponent {k + 1}", "measured": float(lorenz.exponents[k])}
        | {"error": float(lorenz.errors[k]), "published": LORENZ[k]}
        for k in range(3)
    ]
    rows.append(
        {"system": "Rössler", "quantity": "exponent 1", "measured": float(rossler.exponents[0])}
        | {"error": float(rossler.errors[0]), "published": ROSSLER}
    )
    rows.append(
        {"system": "Hénon", "quantity": "exponent 1", "measured": float(henon.exponents[:, 0].mean())}
        | {"error": float(henon.exponents[:, 0].std(ddof=1) / 10), "published": HENON}
    )
    rows.append(
        {"system": "Lorenz", "quantity": "Kaplan-Yorke dimension", "measured": float(lorenz.kaplan_yorke)}
        | {"error": float("nan"), "published": 2.062}
    )
    rows.append(
        {"system": "Lorenz", "quantity": "sum of exponents", "measured": float(lorenz.exponents.sum())}
        | {"error": float("nan"), "published": -(10 + 1 + 8 / 3)}
    )
    report(rows, arguments, machine("numba", "sympy"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        sciml.plot.lyapunov(lorenz, path=arguments.out / "chaos_lorenz.png")
        values = np.linspace(2.5, 4, 300 if arguments.quick else 1500)
        sweep = dynamics.bifurcation_sweep(models.logistic_map(), "r", values, transient=1000, duration=200)
        sciml.plot.bifurcation(sweep, path=arguments.out / "chaos_logistic.png")


if __name__ == "__main__":
    main()
