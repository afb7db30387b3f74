"""One law of inspiral for all mass ratios, learned from some and tried on others.

The factors of dphi/dt and dp/dt are functions of the separation and of the symmetric mass ratio, shared by all
waveforms; each has its own initial orbit. Two of every three waveforms are fitted (Re h22 alone), the others predicted.
`--waveforms FILE` is an npz with t, q and h22 (a row per mass ratio); `--hold-out I J ...` are rows to predict. Without
a file, waveforms are TaylorT4's, or SEOBNRv4's where lalsuite is installed. Mismatch and phase error are aligned in time
and phase over the window, as is TaylorT4 beside them; "early" is aligned over the first 1,000 M only.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import sympy as sp
from black_hole_waveform import SOLVER, minimized, post_newtonian
from matplotlib.figure import Figure

import sciml
from sciml import LBFGS, MLP, LevenbergMarquardt, Normal, Problem, SingleShooting, System, waves
from sciml.datasets import waveforms
from sciml.errors import DataError
from sciml.models import binary_black_hole as holes
from sciml.plot.style import COLORS
from sciml.scripts import machine, options, table

NOISE = {"phi": Normal(0.05), "p": Normal(0.1), "nu": Normal(1e-7)}
NU = sp.Symbol("nu", real=True)
RATIOS = (1.0, 1.5, 2.0, 2.5, 3.0)


def generated(quick: bool) -> dict[float, pd.DataFrame]:
    """A family that can be made here."""
    family = {}
    for q in RATIOS[:3] if quick else RATIOS:
        try:
            if quick:
                raise DataError("TaylorT4 is quicker")
            family[q] = waveforms.lal("SEOBNRv4", q)
        except DataError:
            family[q] = post_newtonian(q)
    return family


def continued(fit: sciml.Fit, data: dict[str, pd.DataFrame]) -> tuple[System, dict[str, pd.DataFrame]]:
    """The fitted system, and the data with each waveform's start where the fit found it: other starts may plunge.

    The first row of `data` holds the initial values, which are measured as well as the priors of `NOISE` say.
    """
    started = {}
    for name, frame in data.items():
        started[name] = frame.copy()
        started[name].loc[frame.index[0], list(NOISE)] = fit.initial.loc[name, list(NOISE)]
    return replace(fit.system, initial={}), started


def learn(family: dict[float, pd.DataFrame], start: float, stop: float, seed: int, quick: bool) -> sciml.Fit:
    """The fit of all waveforms of a family together."""
    orbits, data = {}, {}
    for q, frame in family.items():
        nu = holes.symmetric_mass_ratio(q)
        nodes = waveforms.window(frame, start, stop).iloc[::2]  # eight for each cycle
        orbit = waveforms.effective_orbit(frame, nodes.index.to_numpy(), nu).assign(nu=np.nan)
        orbit.iloc[0, 2] = nu
        orbits[f"q = {q:g}"] = orbit
        # Of the orbit, the first row alone: what is known of the initial values.
        data[f"q = {q:g}"] = nodes[["h22_real"]].join(orbit.iloc[:1])
    scales = {"input_scale": (1.0, 1.0), "output_scale": (1.0, 1.0)}
    network = MLP((8,) if quick else (16, 16), decay=0.0, **scales)
    system = replace(holes.circular_inspiral(network=network, family=True), initial={})
    for share in (0.5, 1.0):
        parts = {name: orbit.iloc[: int(share * len(orbit))] for name, orbit in orbits.items()}
        fit = minimized(system, parts, NOISE, 100 if quick else 1500, seed, rtol=1e-7, atol=1e-7)
        system = replace(fit.system, initial={})
    # A stage that ends far from its minimum leaves the next one in another valley: seeds tell which levels that takes.
    stages = [(1e-2, LBFGS(steps=1500, memory=80, tolerance=1e-12)), (3e-3, LevenbergMarquardt(steps=60))]
    stages += [(1e-3, LevenbergMarquardt(steps=60)), (3e-4, LevenbergMarquardt(steps=60))]
    stages += [(1e-4, LevenbergMarquardt(steps=100))]
    for level, optimizer in [(3e-3, LevenbergMarquardt(steps=4))] if quick else stages:
        system, data = continued(fit, data)
        # Waves of unequal masses are smaller, by 4 nu; their square root lets none of them drown.
        noise = NOISE | {"h22_real": Normal(level * sp.sqrt(4 * NU))}
        problem = Problem(system, data, noise=noise, **SOLVER)
        fit = sciml.fit(problem, SingleShooting(start=None), [optimizer], seed=seed, progress=False)
    return fit


@dataclass(frozen=True)
class Aligned:
    """A model's wave, moved in time and phase onto a waveform, beside it."""

    times: np.ndarray
    wave: np.ndarray
    given: np.ndarray

    @property
    def phase(self) -> np.ndarray:
        return waves.phase_error(self.times, self.wave, self.given)

    @property
    def mismatch(self) -> float:
        return waves.mismatch(self.times, self.wave, self.given)


def aligned(
    model: System, frame: pd.DataFrame, start: float, stop: float, until: float, initial: dict[str, float]
) -> Aligned:
    """A model over the window, aligned with a waveform from its start to a time."""
    # A little too early in the inspiral; the shift of time brings it to its place.
    ts = np.arange(0.0, 1.35 * (stop - start) + 200, 0.5)
    found = sciml.simulate(model, ts, initial=initial, rtol=1e-9, atol=1e-9, throw=False)
    wave = found["h22_real"] + 1j * found["h22_imag"]
    usable = np.isfinite(wave) & np.isfinite(found["Omega"])
    usable &= np.cumsum(found["Omega"] > 0.15) == 0
    omega = waveforms.polar(frame).frequency
    here = np.interp(float(omega(start + 50.0)), found["Omega"][usable], ts[usable])
    curve = waves.curve(ts[usable] - here + start + 50.0, wave[usable])
    reference = waves.curve(frame.index.to_numpy(), frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy())
    shift = waves.align(curve, reference, start, until, largest=150.0)
    times = np.linspace(start, stop, 4000)
    moved = curve(times + shift.time) * np.exp(1j * shift.phase)
    if not np.isfinite(moved).all():
        raise DataError(f"the model of `{frame.attrs['name']}` ends before the window does, at {stop:g}.")
    return Aligned(times, moved, reference(times))


def predicted(
    fit: sciml.Fit, q: float, frame: pd.DataFrame, start: float, stop: float, until: float | None = None
) -> Aligned:
    """The learned law for one mass ratio, aligned up to a time, by default on all of the window."""
    nu = holes.symmetric_mass_ratio(q)
    p = float(waveforms.effective_orbit(frame, [start], nu)["p"].iloc[0])
    initial = {"phi": 0.0, "p": 1.02 * p, "nu": nu}
    return aligned(fit.system, frame, start, stop, stop if until is None else until, initial)


def judged(fit: sciml.Fit, q: float, frame: pd.DataFrame, start: float, stop: float) -> dict[str, object]:
    """Aligned errors of the law and of TaylorT4 for one waveform."""
    whole = predicted(fit, q, frame, start, stop)
    early = predicted(fit, q, frame, start, stop, start + min(1000.0, 0.4 * (stop - start)))
    omega = float(waveforms.polar(frame).frequency(start))
    try:
        theory = aligned(holes.taylor_t4(q, frequency=0.97 * omega), frame, start, stop, stop, {})
        taylor = float(np.abs(theory.phase).max())
    except DataError:
        taylor = float("nan")
    phase = float(np.abs(whole.phase).max())
    row = {"q": q, "mismatch": whole.mismatch, "phase_error_rad": phase, "early rad": float(np.abs(early.phase).max())}
    return row | {"e0": 0.0, "TaylorT4 rad": taylor, "times better": taylor / phase}


def draw(
    path: Path, fit: sciml.Fit, rows: list[dict], family: dict[float, pd.DataFrame], start: float, stop: float
) -> None:
    """Orbit, waveform and phase errors of mass ratios held out; phase errors and both laws by mass ratio."""
    figure = Figure(figsize=(15, 8), layout="constrained")
    (orbit, late, residual), (errors, law, motion) = figure.subplots(2, 3)
    held = [row["q"] for row in rows if row["held_out"]] or [rows[-1]["q"]]
    shown = [list(family)[k] for k in (0, len(family) // 2, len(family) - 1)]
    for k, q in enumerate(shown):
        nu = holes.symmetric_mass_ratio(q)
        p = float(waveforms.effective_orbit(family[q], [start], nu)["p"].iloc[0])
        found = sciml.simulate(fit.system, np.linspace(0.0, stop - start, 4000), initial={"phi": 0.0, "p": p, "nu": nu})
        a = -107 / 42 + 55 * nu / 42
        known = 1 + (1.5 * a - 743 / 336 - 11 * nu / 4) / found["p"] + 6.5 * np.pi * found["p"] ** -1.5
        law.plot(found["p"], found["factor_3"], color=COLORS[k], label=f"q = {q:.3g}")
        law.plot(found["p"], known, "--", color=COLORS[k], lw=1)
        motion.plot(found["p"], found["factor_2"], color=COLORS[k], label=f"q = {q:.3g}")
    law.set(xlabel="p / M (effective)", ylabel="factor of dp/dt", title="learned (dashed: post-Newtonian, order 1.5)")
    motion.set(xlabel="p / M (effective)", ylabel="factor of dphi/dt", title="learned")
    q = held[-1]
    nu = holes.symmetric_mass_ratio(q)
    p = float(waveforms.effective_orbit(family[q], [start], nu)["p"].iloc[0])
    found = sciml.simulate(fit.system, np.linspace(0.0, stop - start, 6000), initial={"phi": 0.0, "p": p, "nu": nu})
    bodies = holes.two_bodies(found["p"] * np.cos(found["phi"]), found["p"] * np.sin(found["phi"]), q)
    for k, (x, y) in enumerate(bodies):
        orbit.plot(x, y, color=COLORS[k], lw=0.6, label=f"body {k + 1}")
    orbit.set(xlabel="x / M", ylabel="y / M", aspect="equal", title=f"orbit, q = {q:.3g}, held out")
    for k, q in enumerate(held):
        beside = predicted(fit, q, family[q], start, stop)
        residual.plot(beside.times, beside.phase, color=COLORS[k % len(COLORS)], lw=1, label=f"q = {q:.3g}")
        if q == held[-1]:
            last = beside.times > stop - 600
            late.plot(beside.times[last], beside.given.real[last], color="0.6", lw=3, label="given")
            late.plot(beside.times[last], beside.wave.real[last], color=COLORS[1], lw=1, label="predicted")
            late.set(title=f"waveform, q = {q:.3g}, held out")
    late.set(xlabel="t / M", ylabel=r"$r\,\mathrm{Re}\,h_{22}/M$")
    residual.set(xlabel="t / M", ylabel="phase error of $h_{22}$ (rad)", title="held out, aligned in time and phase")
    residual.axhline(0, color="0.8", lw=0.8)
    for out, mark in ((False, "o"), (True, "s")):
        part = [row for row in rows if row["held_out"] == out]
        qs, phases = [r["q"] for r in part], [r["phase_error_rad"] for r in part]
        errors.semilogy(qs, phases, mark, color=COLORS[int(out)], label="held out" if out else "fitted")
    errors.semilogy([r["q"] for r in rows], [r["TaylorT4 rad"] for r in rows], "k--", lw=0.8, label="TaylorT4")
    errors.set(xlabel="mass ratio q", ylabel="largest phase error (rad)", title="aligned in time and phase")
    for axes in (orbit, late, residual, errors, law, motion):
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--waveforms", type=Path, metavar="FILE", help="npz with t, q, h22")
    parser.add_argument("--hold-out", type=int, nargs="+", metavar="I", help="rows to predict; default every third")
    parser.add_argument("--window", type=float, nargs=2, metavar=("T0", "T1"), help="in M; default -2700 -100")
    arguments = parser.parse_args()
    family = waveforms.read_family(arguments.waveforms) if arguments.waveforms else generated(arguments.quick)
    start, stop = arguments.window or ((-1000.0, -300.0) if arguments.quick else (-2700.0, -100.0))
    held = list(range(1, len(family), 3)) if arguments.hold_out is None else arguments.hold_out
    if not all(0 <= k < len(family) for k in held) or len(set(held)) >= len(family):
        raise DataError(
            f"`--hold-out {held}`: the file has {len(family)} rows, counted from 0, and one must be fitted."
        )
    fitted = {q: frame for k, (q, frame) in enumerate(family.items()) if k not in held}
    began, cpu = time.perf_counter(), time.process_time()
    fit = learn(fitted, start, stop, arguments.seed, arguments.quick)
    clock = {"seconds": time.perf_counter() - began, "core seconds": time.process_time() - cpu}
    rows = []
    for k, (q, frame) in enumerate(family.items()):
        rows.append(judged(fit, q, frame, start, stop) | {"held_out": k in held} | clock)
    line = machine("torch", "numba", "sympy")
    print(line, table(rows), f"backend {fit.backend}", sep="\n")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": line, "rows": rows}
        arguments.json.write_text(json.dumps(content, indent=2, default=float) + "\n")
    if arguments.out:
        draw(arguments.out / "black_hole_family.png", fit, rows, family, start, stop)


if __name__ == "__main__":
    main()
