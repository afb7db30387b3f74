"""One law of inspiral for all mass ratios, learned from some and tried on others.

The factors of dphi/dt and dp/dt are functions of the separation and of the symmetric mass ratio, shared by all
waveforms; each has its own initial orbit. Two of every three waveforms are fitted (Re h22 alone), the others predicted.
`--waveforms FILE` is an npz with t, q and h22 (a row per mass ratio); `--hold-out I J ...` are rows to predict. Without
a file, waveforms are TaylorT4's, or SEOBNRv4's where lalsuite is installed. Mismatch and phase error are aligned in time
and phase over the window, as is TaylorT4 beside them; "early" is aligned over the first 1,000 M only.
"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from black_hole_waveform import minimized, post_newtonian
from matplotlib.figure import Figure

import sciml
from sciml import MLP, Normal, waves
from sciml.datasets import waveforms
from sciml.errors import DataError
from sciml.models import binary_black_hole as holes
from sciml.plot.style import COLORS
from sciml.scripts import machine, options, table

NOISE = {"phi": Normal(0.05), "p": Normal(0.1), "nu": Normal(1e-7)}
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


def learn(family: dict[float, pd.DataFrame], start: float, stop: float, seed: int, quick: bool) -> sciml.Fit:
    """The fit of all waveforms of a family together."""
    orbits, waves_only = {}, {}
    for q, frame in family.items():
        nu = holes.symmetric_mass_ratio(q)
        data = waveforms.window(frame, start, stop)
        orbit = waveforms.effective_orbit(frame, data.index.to_numpy(), nu).assign(nu=np.nan)
        orbit.iloc[0, 2] = nu
        orbits[f"q = {q:g}"] = orbit
        # Of the orbit, the first row alone: what is known of the initial values.
        waves_only[f"q = {q:g}"] = data[["h22_real"]].join(orbit.iloc[:1])
    scales = {"input_scale": (1.0, 1.0), "output_scale": (1.0, 1.0)}
    network = MLP((8,) if quick else (16, 16), decay=0.0, **scales)
    system = dataclasses.replace(holes.circular_inspiral(network=network, family=True), initial={})
    for share in (0.5, 1.0):
        parts = {name: orbit.iloc[: int(share * len(orbit))] for name, orbit in orbits.items()}
        fit = minimized(system, parts, NOISE, 100 if quick else 300, seed, rtol=1e-7, atol=1e-7)
        system = dataclasses.replace(fit.system, initial={})
    for level, steps in ((3e-3, 100),) if quick else ((1e-2, 200), (1e-3, 600), (2e-4, 1500)):
        for name, frame in waves_only.items():  # where the last stage started: other starts may plunge
            frame.iloc[0, [frame.columns.get_loc(x) for x in ("phi", "p")]] = fit.initial.loc[name, ["phi", "p"]]
        fit = minimized(system, waves_only, NOISE | {"h22_real": Normal(level)}, steps, seed)
        system = dataclasses.replace(fit.system, initial={})
    return fit


def aligned(model: sciml.System, frame: pd.DataFrame, start: float, stop: float, until: float, initial: dict) -> tuple:
    """Mismatch and phase error over the window of a model that is aligned with a waveform up to a time."""
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
    shift = waves.align(curve, reference, start, until, largest=40.0)
    times = np.linspace(start, stop, 4000)
    moved, given = curve(times + shift.time) * np.exp(1j * shift.phase), reference(times)
    if not np.isfinite(moved).all():
        raise DataError("the model ends before the window does")
    return waves.mismatch(times, moved, given), np.abs(waves.phase_error(times, moved, given)).max()


def judged(fit: sciml.Fit, q: float, frame: pd.DataFrame, start: float, stop: float) -> dict[str, object]:
    """Aligned errors of the law and of TaylorT4 for one waveform."""
    nu = holes.symmetric_mass_ratio(q)
    p = float(waveforms.effective_orbit(frame, [start], nu)["p"].iloc[0])
    system = fit.system
    initial = {"phi": 0.0, "p": 1.02 * p, "nu": nu}
    mismatch, phase = aligned(system, frame, start, stop, stop, initial)
    _, early = aligned(system, frame, start, stop, start + min(1000.0, 0.4 * (stop - start)), initial)
    omega = float(waveforms.polar(frame).frequency(start))
    try:
        _, taylor = aligned(holes.taylor_t4(q, frequency=0.97 * omega), frame, start, stop, stop, {})
    except DataError:
        taylor = float("nan")
    row = {"q": q, "mismatch": mismatch, "phase_error_rad": phase, "early rad": early, "e0": 0.0}
    return row | {"TaylorT4 rad": taylor, "times better": taylor / phase}


def draw(
    path: Path, fit: sciml.Fit, rows: list[dict], family: dict[float, pd.DataFrame], start: float, stop: float
) -> None:
    """Orbits, the slowest waveform, phase errors by mass ratio, and the law for several mass ratios."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    (orbit, wave), (errors, law) = figure.subplots(2, 2)
    shown = [list(family)[k] for k in (0, len(family) // 2, len(family) - 1)]
    for k, q in enumerate(shown):
        nu = holes.symmetric_mass_ratio(q)
        p = float(waveforms.effective_orbit(family[q], [start], nu)["p"].iloc[0])
        ts = np.linspace(0.0, stop - start, 4000)
        found = sciml.simulate(fit.system, ts, initial={"phi": 0.0, "p": p, "nu": nu})
        orbit.plot(found["p"] * np.cos(found["phi"]), found["p"] * np.sin(found["phi"]), color=COLORS[k], lw=0.4)
        law.plot(found["p"], found["factor_3"], color=COLORS[k], label=f"q = {q:.3g}")
        a = -107 / 42 + 55 * nu / 42
        known = 1 + (1.5 * a - 743 / 336 - 11 * nu / 4) / found["p"] + 6.5 * np.pi * found["p"] ** -1.5
        law.plot(found["p"], known, "--", color=COLORS[k], lw=1)
    cut = family[shown[-1]].loc[stop - 600 : stop, "h22_real"]
    wave.plot(cut.index, cut, color=COLORS[2], lw=1)
    wave.set(xlabel="t / M", ylabel=r"$r\,\mathrm{Re}\,h_{22}/M$", title=f"waveform, q = {shown[-1]:.3g}")
    orbit.set(xlabel="x / M", ylabel="y / M", aspect="equal", title="separation")
    for held, mark in ((False, "o"), (True, "s")):
        part = [row for row in rows if row["held_out"] == held]
        qs, phases = [r["q"] for r in part], [r["phase_error_rad"] for r in part]
        errors.semilogy(qs, phases, mark, color=COLORS[int(held)], label="held out" if held else "fitted")
    errors.semilogy([r["q"] for r in rows], [r["TaylorT4 rad"] for r in rows], "k--", lw=0.8, label="TaylorT4")
    errors.set(xlabel="mass ratio q", ylabel="largest phase error (rad)", title="aligned in time and phase")
    law.set(xlabel="p / M (effective)", ylabel="factor of dp/dt", title="learned (dashed: post-Newtonian, order 1.5)")
    errors.legend()
    law.legend()
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
    began = time.perf_counter()
    fit = learn(fitted, start, stop, arguments.seed, arguments.quick)
    seconds = time.perf_counter() - began
    rows = []
    for k, (q, frame) in enumerate(family.items()):
        rows.append(judged(fit, q, frame, start, stop) | {"held_out": k in held, "seconds": seconds})
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
