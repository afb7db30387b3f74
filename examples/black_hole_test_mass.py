"""The precession of an orbit around a black hole, learned from the real part of its gravitational wave.

The paper's set-up: a light body on a bound geodesic (p = 100, e = 0.5), 250 points of Re h22 over six orbits; Newton's
orbit with two unknown functions of cos(chi), a network of 32-32 cosines. The table holds the relative L2 error of the
wave in the window and on one five times as long, the phase error at its end, the precession against
4 sqrt(p/(p-6+2e)) K(4e/(p-6+2e)) - 2 pi, and constant and slope of the learned functions against the exact ones
(averages over the angles visited). `--noise` adds Gaussian noise relative to the largest |h22|.

Then both functions are read back as polynomials of cos(chi), the terms chosen and fitted through the solver. A network may
bend as it likes, for which the slopes pay: with noise of 1e-3 the 250 points determine those of a cubic to 7 and 3 % (one
standard deviation), those of the law to 2.5 and 0.9 %. The constant of F2, 5e-5, is below that noise either way.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import sympy as sp
from matplotlib.figure import Figure
from scipy.special import ellipk

import sciml
from sciml import LBFGS, Dopri8, GaussNewton, Normal, Parameter, Problem, SingleShooting, SparseRegression, System
from sciml.datasets import waveforms
from sciml.models import binary_black_hole as holes
from sciml.plot.style import COLORS
from sciml.scripts import machine, options, report, table

P, E = 100.0, 0.5
WINDOW, LONG = 6e4, 3e5
SOLVER = {"solver": Dopri8(), "rtol": 1e-13, "atol": 1e-13}
"""At 1e-10 the steps that are refused or taken make the loss jump by more than the last stage has to gain."""


def exact(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 and F2 of Schwarzschild's geometry at c = cos(chi)."""
    f2 = (P - 2 - 2 * E * c) / np.sqrt((P - 2) ** 2 - 4 * E**2)
    return f2 * np.sqrt(1 - (6 + 2 * E * c) / P) - 1, f2 - 1


def learned(fit: sciml.Fit, c: np.ndarray) -> list[np.ndarray]:
    return [fit.learned_values(name, c[:, None]) for name in ("F1", "F2")]


def line(c: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Constant and slope of the straight line nearest to some values."""
    return np.polynomial.polynomial.polyfit(c, values, 1)


def shape(functions: Callable[[np.ndarray], Sequence[np.ndarray]]) -> dict[str, float]:
    """Precession, from the mean of dphi/dchi over a turn, constants and slopes, and how far they are off."""
    f1, f2 = functions(np.cos(np.linspace(0, 2 * np.pi, 2000, endpoint=False)))
    found = float(2 * np.pi * np.mean((1 + f2) / (1 + f1)) - 2 * np.pi)
    known = 4 * np.sqrt(P / (P - 6 + 2 * E)) * ellipk(4 * E / (P - 6 + 2 * E)) - 2 * np.pi
    c = np.cos(np.linspace(0, np.pi, 400))
    off = [line(c, a) / line(c, b) - 1 for a, b in zip(functions(c), exact(c))]
    return {
        "precession": found,
        "off %": 100 * abs(found / known - 1),
        "F1 constant %": 100 * off[0][0],
        "F1 slope %": 100 * off[0][1],
        "F2 constant %": 100 * off[1][0],
        "F2 slope %": 100 * off[1][1],
    }


def read_back(fit: sciml.Fit, noise: float, quick: bool) -> dict[str, object]:
    """Both functions as polynomials of cos(chi), the terms and coefficients decided through the solver."""
    began = time.process_time()
    if noise == 0:  # what the last digits say is then worth a term
        data = fit.problem.data
        size = float(data["h22_real"].abs().max())
        problem = Problem(fit.system, data, noise={"h22_real": Normal(1e-6 * size)}, **SOLVER)
        fit = sciml.fit(problem, SingleShooting(start=None), [LBFGS(steps=1)], progress=False)
    method = SparseRegression(degree=1 if quick else 2)
    best = sciml.discover(fit, method, progress=False).report.candidates[0]
    cosine, chi = sp.Symbol("c"), sp.Symbol("chi", real=True)
    formulas = {name: best.formulas[name].subs(sp.cos(chi), cosine) for name in ("F1", "F2")}
    functions = [sp.lambdify(cosine, formula) for formula in formulas.values()]
    numbers = shape(lambda c: [function(c) + 0 * c for function in functions])
    intervals = {name: f"{low:.5g} to {high:.5g}" for name, (low, high) in best.intervals(0.95).items()}
    clock = {"core seconds": time.process_time() - began}
    texts = {name: str(sp.N(formula, 4)) for name, formula in formulas.items()}
    return numbers | clock | texts | {"95 %": "; ".join(intervals.values())}


def determined(noise: float) -> list[dict[str, float]]:
    """Standard deviations, in %, of any unbiased fit of polynomials in cos(chi) to data with this noise (Cramér and Rao)."""
    wave = waveforms.geodesic(np.linspace(0, WINDOW, 250), P, E)
    level = {"h22_real": Normal(noise * float(np.abs(wave["h22_real"]).max()))}
    c, chi, rows = np.cos(np.linspace(0, np.pi, 400)), sp.Symbol("chi", real=True), []
    hybrid, slopes = holes.hybrid_orbit(P, E), np.concatenate([line(c, values) for values in exact(c)])
    for degree in (1, 2, 3):
        values, laws = {}, {}
        for name, function in zip(("F1", "F2"), exact(c)):
            known = np.polynomial.polynomial.polyfit(c, function, degree)
            symbols = sp.symbols(f"{name}_:{degree + 1}", real=True)
            # What is nothing but rounding gets a size, for coordinates are relative to it.
            values |= {a: Parameter(float(value) if abs(value) > 1e-9 else 1e-9) for a, value in zip(symbols, known)}
            laws[name] = sp.Lambda(chi, sum(symbol * chi**k for k, symbol in enumerate(symbols)))
        problem = Problem(hybrid.substitute(laws, parameters=values), wave[["h22_real"]], noise=level, **SOLVER)
        vector, of = problem.initial(seed=0), problem.loss.coordinates.values
        scales = np.array([of(vector + unit)[0] - of(vector)[0] for unit in np.eye(len(vector))])
        covariance = scales.T @ np.linalg.inv(GaussNewton().matrix(problem, vector)) @ scales
        # Constant and slope of the nearest straight line are linear in the coefficients.
        lines = np.kron(np.eye(2), np.stack([line(c, c**k) for k in range(degree + 1)], axis=1))
        spread = 100 * np.sqrt(np.diag(lines @ covariance @ lines.T)) / np.abs(slopes)
        rows.append({"degree": degree} | dict(zip(("F1 constant", "F1 slope", "F2 constant", "F2 slope"), spread)))
    return rows


def studied(system: System, seed: int, noise: float, quick: bool) -> tuple[dict[str, object], sciml.Fit, pd.DataFrame]:
    """The network's row of the table, the fit, and its residuals on the long window."""
    ts = np.linspace(0, WINDOW, 250)
    clean, data = waveforms.geodesic(ts, P, E), waveforms.geodesic(ts, P, E, noise=noise, seed=seed)
    size = float(np.abs(clean["h22_real"]).max())
    began, cpu = time.perf_counter(), time.process_time()
    for level, steps in ((0.1, 60),) if quick else ((0.1, 400), (1e-2, 300), (max(noise, 1e-3), 400)):
        problem = Problem(system, data[["h22_real"]], noise={"h22_real": Normal(level * size)}, **SOLVER)
        optimizers = [LBFGS(steps=steps, memory=80, tolerance=1e-14)]
        fit = sciml.fit(problem, SingleShooting(start=None), optimizers, seed=seed, progress=False)
        system = fit.system
    clock = {"seconds": time.perf_counter() - began, "core seconds": time.process_time() - cpu}
    times = np.linspace(0, LONG, 3001)
    truth = sciml.simulate(holes.schwarzschild(P, E), times, **SOLVER)
    long, inside = fit.simulate(times), fit.simulate()["h22_real"]

    def error(found, known):
        return float(np.linalg.norm(found - known) / np.linalg.norm(known))

    row = {
        "seed": seed,
        "noise": noise,
        "L2": error(inside, clean["h22_real"].to_numpy()),
        "L2 long": error(long["h22_real"], truth["h22_real"]),
        "phase rad": float(abs(long["phi"][-1] - truth["phi"][-1])),
    }
    row |= shape(lambda c: learned(fit, c)) | clock | {"backend": fit.backend}
    residuals = pd.DataFrame({"phase": long["phi"] - truth["phi"], "wave": truth["h22_real"]}, index=times)
    residuals["model"] = long["h22_real"]
    return row, fit, residuals


def study(seed: int, noise: float, quick: bool) -> tuple[dict[str, object], dict[str, object], sciml.Fit, pd.DataFrame]:
    """The rows of network and law, the fit, and its residuals on the long window."""
    row, fit, residuals = studied(holes.hybrid_orbit(P, E), seed, noise, quick)
    law = {"seed": seed, "noise": noise} | read_back(fit, noise, quick)
    print(table([row]), table([law]), sep="\n", flush=True)
    return row, law, fit, residuals


def draw(path: Path, fit: sciml.Fit, residuals: pd.DataFrame) -> None:
    """Orbit, waveform, residual phase, and learned against exact functions."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    (orbit, wave), (phase, functions) = figure.subplots(2, 2)
    found = fit.simulate(np.linspace(0, WINDOW, 3000))
    orbit.plot(found["r"] * np.cos(found["phi"]), found["r"] * np.sin(found["phi"]), color=COLORS[0], lw=0.7)
    orbit.plot(0, 0, "ko", ms=4)
    orbit.set(xlabel="x / M", ylabel="y / M", aspect="equal", title="learned orbit")
    last = residuals[residuals.index > LONG - 20_000]
    wave.plot(last.index, last["wave"], color="0.6", lw=3, label="geodesic")
    wave.plot(last.index, last["model"], color=COLORS[1], lw=1, label="learned")
    wave.set(xlabel="t / M", ylabel=r"$r\,\mathrm{Re}\,h_{22}/\mu$", title="far beyond the data")
    wave.legend(loc="upper right")
    wave.locator_params(axis="x", nbins=4)
    phase.plot(residuals.index, residuals["phase"], color=COLORS[0], lw=0.6)
    phase.margins(x=0, y=0.2)
    phase.axvspan(0, WINDOW, color="0.93", label="fitted")
    phase.legend(loc="upper left")
    phase.set(xlabel="t / M", ylabel=r"$\varphi$, learned - exact (rad)", title="residual phase")
    c = np.linspace(-1, 1, 200)
    for k, (a, b) in enumerate(zip(learned(fit, c), exact(c))):
        functions.plot(c, b, color="0.7", lw=4)
        functions.plot(c, a, color=COLORS[k], lw=1, label=f"F{k + 1} (gray: exact)")
    functions.legend()
    functions.set(xlabel=r"$\cos\chi$", ylabel="correction to Newton", title="learned against Schwarzschild")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation, relative to the largest |h22|")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="as many seeds from `--seed` on")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    results = [study(seed, arguments.noise, arguments.quick) for seed in seeds]
    rows, laws, fits, residuals = zip(*results)
    tables = {"network": rows, "law read back (95 %: of its coefficients, in their order)": laws}
    if arguments.noise and not arguments.quick:
        tables["what the data determine: standard deviations of polynomials"] = determined(arguments.noise)
    report(tables, arguments, machine("torch", "numba", "sympy"))
    if arguments.out:
        draw(arguments.out / "black_hole_test_mass.png", fits[0], residuals[0])


if __name__ == "__main__":
    main()
