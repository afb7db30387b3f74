"""A Hamiltonian with an unknown potential, learned from a pendulum's noisy motion.

H = p²/2 + V(q): the motion of a pendulum (V = -cos q), 101 points with 1 % noise, determines V up to a constant. The
table holds the largest error of the learned force -V'(q) on the visited range, relative to the largest force, and the
drift of the learned energy over 100 periods, relative to its range. The structure keeps the energy: whatever V is
learned, the system is Hamiltonian.
"""

import numpy as np
import sympy as sp

import sciml
from sciml import MLP, Normal, Problem, System
from sciml.scripts import machine, options, report

q, p = sp.symbols("q p", real=True)
V = sp.Function("V")
AMPLITUDE = 1.5  # rad
PERIOD = 7.3008  # of a pendulum with unit frequency at this amplitude: 4 K(sin²(0.75))


def study(seed: int) -> tuple[dict[str, object], sciml.Fit]:
    """One row of the table, and the fit."""
    truth = System.from_hamiltonian(p**2 / 2 - sp.cos(q), {q: p}, initial={q: AMPLITUDE, p: 0})
    data = sciml.datasets.noisy(truth, np.linspace(0, 20, 101), 0.01, seed=seed)
    model = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: MLP(hidden=(8,))})
    fit = sciml.fit(Problem(model, data, noise={q: Normal(0.01), p: Normal(0.01)}), seed=seed, progress=False)
    positions = np.linspace(data["q"].min(), data["q"].max(), 201)
    force = fit.rates(np.zeros(201), np.stack([positions, 0 * positions], axis=1))[:, 1]
    orbit = fit.simulate(np.linspace(0, 100 * PERIOD, 401))
    potential = fit.learned_values(V, orbit["q"][:, None])
    energy = orbit["p"] ** 2 / 2 + potential
    row = {
        "seed": seed,
        "rmse": fit.rmse,
        "force error %": 100 * float(np.max(np.abs(force + np.sin(positions))) / np.max(np.abs(np.sin(positions)))),
        "energy drift %": 100 * float(np.max(np.abs(energy - energy[0])) / np.ptp(potential)),
        "seconds": fit.seconds,
        "backend": fit.backend,
    }
    return row, fit


def main() -> None:
    arguments = options(__doc__).parse_args()
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else 5))
    results = [study(seed) for seed in seeds]
    rows = [row for row, _ in results]
    report(rows, arguments, machine("torch", "numba", "sympy"))
    print(f"worst force error {max(r['force error %'] for r in rows):.2f} %")
    print(f"worst energy drift over 100 periods {max(r['energy drift %'] for r in rows):.3f} %")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        sciml.plot.fit(results[0][1], path=arguments.out / "pendulum_potential.png")


if __name__ == "__main__":
    main()
