"""The orbit of two black holes, learned from the real part of their gravitational wave.

Newton's orbit and Peters's radiation reaction are known; a network stands for the unknown factor of each. The fit sees
Re h22 alone, at nodes equally spaced in phase; h22 is the quadrupole formula, its second derivative exact. A start is
read off the waveform: the effective orbit p(t), phi(t), for an eccentric one amplitude, phase and passages of the
pericenter, in growing windows. Then L-BFGS, for an eccentric orbit Levenberg's and Marquardt's method, on Re h22 with a
noise level lowered in stages.

`--waveform FILE` takes text columns t, Re, Im (also .gz), npz with t, h22, or SXS's HDF5, with the peak of |h22| at
t = 0; without it, lalsuite's SEOBNRv4 where that is installed, else the post-Newtonian TaylorT4. With `--train-until`
the rest of the window is predicted. Mismatch and phase error are without any alignment; the imaginary part was never
fitted. The law: two-power regressions of the learned factor of dp/dt against post-Newtonian theory, by truncation.
With `--amplitude-order 2` p is an effective-one-body radius, to be compared with an orbit that is known: `--orbit FILE`.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sympy as sp
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

import sciml
from sciml import LBFGS, LevenbergMarquardt, LogNormal, Normal, Parameter, Problem, SingleShooting, System, waves
from sciml.datasets import waveforms
from sciml.errors import DataError
from sciml.models import binary_black_hole as holes
from sciml.plot.style import COLORS
from sciml.scripts import machine, options, table

SOLVER = {"rtol": 1e-8, "atol": 1e-8}
OMEGA = sp.Symbol("Omega", positive=True)
SPREADS = {"p": 0.1, "phi": 0.05, "chi": 0.3}
"""How well the start of an orbit is known from the waveform, in M and rad."""


def load(arguments: argparse.Namespace) -> pd.DataFrame:
    """The waveform that was asked for, or one that can be made here."""
    if arguments.waveform:
        return waveforms.read(arguments.waveform, arguments.mass_ratio, conjugate=arguments.conjugate)
    try:
        if arguments.quick:
            raise DataError("the quick run takes TaylorT4")
        if arguments.eccentric:
            return waveforms.lal("EccentricTD", arguments.mass_ratio, eccentricity=0.1)
        return waveforms.lal("SEOBNRv4", arguments.mass_ratio)
    except DataError as reason:
        if arguments.eccentric:
            raise
        print(f"{reason}; the waveform is TaylorT4's")
    return post_newtonian(waveforms.ordered_ratio(arguments.mass_ratio))


def post_newtonian(q: float) -> pd.DataFrame:
    """TaylorT4 from the orbital frequency 0.02 on, its divergence at t = 0."""
    left = 590.0 / holes.symmetric_mass_ratio(q)
    ts = np.arange(0.0, left - 110, 0.5)
    found = sciml.simulate(holes.taylor_t4(q, frequency=0.02), ts, rtol=1e-10, atol=1e-10)
    frame = pd.DataFrame({name: found[name] for name in ("h22_real", "h22_imag")}, index=pd.Index(ts - left, name="t"))
    frame.attrs |= {"name": f"TaylorT4, q = {q:g}", "mass_ratio": q}
    return frame


def continued(fit: sciml.Fit) -> System:
    """The fitted system, its initial values free again around those that were found."""
    start = fit.initial.iloc[0]
    bounds = {"p": (4.0, None), "e": (0.0, 0.6)}
    free = {
        name: Parameter(
            float(start[name]),
            bounds=bounds.get(name, (None, None)),
            prior=Normal(SPREADS[name]) if name in SPREADS else LogNormal(0.3),
        )
        for name in start.index
    }
    return fit.system.with_initial(free)


def minimized(
    system: System, data: pd.DataFrame, noise: dict, steps: int, seed: int, method: type = LBFGS, **options
) -> sciml.Fit:
    """One stage of a fit."""
    problem = Problem(system, data, noise=noise, **(SOLVER | options))
    optimizer = LBFGS(steps=steps, memory=80, tolerance=1e-12) if method is LBFGS else method(steps=steps)
    return sciml.fit(problem, SingleShooting(start=None), [optimizer], seed=seed, progress=False)


def circular_start(
    frame: pd.DataFrame, data: pd.DataFrame, q: float, seed: int, quick: bool, order: float = 0
) -> sciml.Fit:
    """Factors that meet the effective orbit p(t), phi(t) read off amplitude and phase."""
    orbit = waveforms.effective_orbit(frame, data.index.to_numpy(), holes.symmetric_mass_ratio(q))
    if order:
        omega = waveforms.polar(frame).frequency(orbit.index)
        correction = sp.lambdify(OMEGA, holes.amplitude_correction(OMEGA, holes.symmetric_mass_ratio(q), order))
        orbit["p"] /= np.sqrt(correction(omega))
    first = orbit.iloc[0]
    system = holes.circular_inspiral(
        q,
        amplitude_order=order,
        p=Parameter(first["p"], bounds=(4.0, None), prior=Normal(SPREADS["p"])),
        phi=Parameter(first["phi"], prior=Normal(SPREADS["phi"])),
    )
    noise = {"phi": Normal(0.05), "p": Normal(0.05)}
    shares = [0.5, 1.0]
    while shares[0] * len(orbit) > 200:  # Peters's rates alone merge before a long window ends
        shares.insert(0, shares[0] / 2)
    for share in shares:
        part = orbit.iloc[: int(share * len(orbit))]
        fit = minimized(system, part, noise, 100 if quick else 300, seed, rtol=1e-7, atol=1e-7)
        system = continued(fit)
    return fit


def seen_ellipse(frame: pd.DataFrame, data: pd.DataFrame, q: float) -> tuple[pd.DataFrame, dict[str, Parameter]]:
    """What the complex wave shows of an eccentric orbit: phase, amplitude and passages of the pericenter; its start."""
    nodes = data.index.to_numpy()
    curves = waveforms.polar(frame)
    orbit = waveforms.effective_orbit(frame, nodes, holes.symmetric_mass_ratio(q))
    u = np.linspace(-1, 1, len(nodes))
    smooth = np.polynomial.Chebyshev.fit(u, np.log(orbit["p"]), 6)
    excess = np.log(curves.frequency(nodes))
    excess = excess - np.polynomial.Chebyshev.fit(u, excess, 8)(u)
    passages = waveforms.periastra(frame, nodes[0], nodes[-1])
    if len(passages) < 3:
        raise DataError(f"only {len(passages)} passages of the pericenter are seen: leave out `--eccentric`.")
    rows = np.searchsorted(nodes, passages).clip(0, len(nodes) - 1)
    period = np.mean(np.diff(passages[:4]))
    seen = pd.DataFrame({"phi": orbit["phi"], "size": curves.amplitude(nodes), "chi": np.nan}, index=data.index)
    seen.iloc[rows, 2] = 2 * np.pi * np.arange(len(passages))
    early = nodes < passages[min(2, len(passages) - 1)]
    start = {
        "p": Parameter(float(np.exp(smooth(-1.0))), bounds=(4.0, None), prior=Normal(0.3)),
        "e": Parameter(float(np.ptp(excess[early]) / 4), bounds=(0.0, 0.6), prior=LogNormal(0.3)),
        "chi": Parameter(float(-2 * np.pi * (passages[0] - nodes[0]) / period), prior=Normal(0.5)),
        "phi": Parameter(float(orbit["phi"].iloc[0]), prior=Normal(SPREADS["phi"])),
    }
    return seen, start


def eccentric_start(frame: pd.DataFrame, data: pd.DataFrame, q: float, seed: int, quick: bool) -> sciml.Fit:
    """Factors that meet the wave's phase, its amplitude and its passages of the pericenter, in growing windows."""
    seen, start = seen_ellipse(frame, data, q)
    system = holes.eccentric_inspiral(q, **start)
    parts = [system.observed[system.symbol(name)] for name in ("h22_real", "h22_imag")]
    system = system.with_observed({"size": sp.sqrt(parts[0] ** 2 + parts[1] ** 2)})
    noise = {"phi": Normal(0.05), "size": Normal(0.005), "chi": Normal(0.2)}
    for share in (0.4, 0.7, 1.0):  # a long window from Newton's and Peters's rates ends in a plunge
        part = seen[seen.index <= seen.index[0] + share * np.ptp(seen.index)]
        fit = minimized(system, part, noise, 50 if quick else 300, seed, rtol=1e-6, atol=1e-6)
        system = continued(fit)
    return fit


def learn(
    frame: pd.DataFrame, data: pd.DataFrame, q: float, eccentric: bool, seed: int, quick: bool, order: float = 0
) -> sciml.Fit:
    """The fit of Re h22 from a start that is read off the waveform."""
    options = (frame, data, q, seed, quick)
    fit = eccentric_start(*options) if eccentric else circular_start(*options, order)
    real = data[["h22_real"]]
    if eccentric:  # e, p, chi and phi imitate each other: L-BFGS stops in that valley
        method, stages = LevenbergMarquardt, ((3e-3, 4),) if quick else ((1e-2, 60), (1e-3, 60), (1e-4, 125))
    else:
        method, stages = LBFGS, ((3e-3, 100), (3e-4, 150)) if quick else ((1e-2, 200), (1e-3, 600), (1e-4, 2500))
    for level, steps in stages:
        fit = minimized(continued(fit), real, {"h22_real": Normal(level)}, steps, seed, method)
    return fit


@dataclass(frozen=True)
class Comparison:
    """A fitted model beside the waveform on a fine grid."""

    times: np.ndarray
    states: sciml.Simulation
    wave: np.ndarray
    reference: np.ndarray

    @property
    def phase(self) -> np.ndarray:
        return waves.phase_error(self.times, self.wave, self.reference)

    def numbers(self, until: float) -> dict[str, float]:
        """Mismatch and relative error of the imaginary part on all of it, largest phase errors, e at -1500 M."""
        late = np.linalg.norm(self.wave.imag - self.reference.imag) / np.linalg.norm(self.reference.imag)
        row = {
            "mismatch": waves.mismatch(self.times, self.wave, self.reference),
            "phase_error_rad": float(np.abs(self.phase).max()),
            "to -100": float(np.abs(self.phase[self.times <= max(-100.0, self.times[0])]).max()),
            "trained": float(np.abs(self.phase[self.times <= until]).max()),
            "imaginary": float(late),
        }
        has_e = "e" in self.states.names
        row["e0"] = float(self.states["e"][0]) if has_e else 0.0
        if has_e:
            row["e at -1500"] = float(np.interp(-1500.0, self.times, self.states["e"]))
        if until < -200.0:
            row["at -200"] = float(abs(np.interp(-200.0, self.times, self.phase)))
            row["at -100"] = float(abs(np.interp(-100.0, self.times, self.phase)))
        return row


def compared(fit: sciml.Fit, frame: pd.DataFrame, start: float, stop: float, points: int = 4000) -> Comparison:
    """The model from the start to the stop, which may lie beyond what was fitted."""
    times = np.linspace(start, stop, points)
    found = fit.simulate(times)
    curve = waves.curve(frame.index.to_numpy(), frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy())
    return Comparison(times, found, found["h22_real"] + 1j * found["h22_imag"], curve(times))


def known_orbit(path: Path) -> pd.DataFrame:
    """Separation and angle of a known orbit: index t, columns r and phi.

    The file is an npz with `t` of the wave and `dyn`, whose columns begin with t, r, phi; its first row belongs to the
    first time of the wave.
    """
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    with np.load(path, allow_pickle=False) as content:
        if not {"t", "dyn"} <= set(content.files):
            raise DataError(f"`{path.name}` holds {sorted(content.files)}: an orbit is `t` and `dyn` (t, r, phi, ...).")
        orbit = content["dyn"]
        times = orbit[:, 0] - orbit[0, 0] + content["t"][0]
    return pd.DataFrame({"r": orbit[:, 1], "phi": orbit[:, 2]}, index=pd.Index(times, name="t"))


def beside_orbit(comparison: Comparison, orbit: pd.DataFrame) -> dict[str, float]:
    """How far the learned separation is off a known one until -200 M, and the angle from the start of the window on."""
    shown = comparison.times[(comparison.times >= orbit.index[0]) & (comparison.times <= -200.0)]
    r, phi = (CubicSpline(orbit.index, orbit[name])(shown) for name in ("r", "phi"))
    separation = "r" if "r" in comparison.states.names else "p"
    found, angle = (np.interp(shown, comparison.times, comparison.states[name]) for name in (separation, "phi"))
    off = (angle - angle[0]) - (phi - phi[0])
    return {"r off %": float(100 * np.abs(found / r - 1).max()), "phi off rad": float(np.abs(off).max())}


def coefficients(nu: float) -> tuple[float, float]:
    """Of p^-1 and p^-1.5 in the factor of dp/dt, for the effective radius of the quadrupole formula."""
    a = -107 / 42 + 55 * nu / 42
    return 3 * a / 2 - 743 / 336 - 11 * nu / 4, 13 * np.pi / 2


def law(comparisons: list[Comparison], nu: float) -> list[dict[str, object]]:
    """Two-power regressions of the factor of dp/dt (leading 1 fixed) over truncations; the interval is over seeds."""
    rows = []
    first, second = coefficients(nu)
    for powers in ((1.0, 1.5), (1.0, 1.5, 2.0)):
        for least in (7.5, 9.0, 10.0, 11.0):
            found, values = [], []
            for c in comparisons:
                p, factor = c.states["p"], c.states["factor_3"]
                grid = np.linspace(max(least, p.min()), p.max(), 200)
                if grid[-1] - grid[0] < 0.5:
                    continue
                y = np.interp(grid, p[::-1], factor[::-1])
                found.append(np.linalg.lstsq(grid[:, None] ** -np.array(powers), y - 1, rcond=None)[0][:2])
                values.append(np.max(np.abs(y / (1 + first / grid + second * grid**-1.5) - 1)))
            if found:
                low, middle, high = (np.round(f(found, axis=0), 2) for f in (np.min, np.median, np.max))
                rows.append(
                    {
                        "powers": len(powers),
                        "p >=": least,
                        "p^-1": middle[0],
                        "from to": f"{low[0]} {high[0]}",
                        "PN": first,
                    }
                    | {
                        "p^-1.5": middle[1],
                        "from to ": f"{low[1]} {high[1]}",
                        "PN ": second,
                        "value off %": 100 * max(values),
                    }
                )
    return rows


def draw(path: Path, comparisons: list[Comparison], q: float, until: float, name: str) -> None:
    """Orbit of both bodies, waveform, residual phase (of all seeds), and learned against known factors."""
    comparison = comparisons[0]
    figure = Figure(figsize=(11, 8), layout="constrained")
    (orbit, late), (residual, factors) = figure.subplots(2, 2)
    states, times = comparison.states, comparison.times
    r = states["r"] if "r" in states.names else states["p"]
    bodies = holes.two_bodies(r * np.cos(states["phi"]), r * np.sin(states["phi"]), q)
    for k, (x, y) in enumerate(bodies):
        orbit.plot(x, y, color=COLORS[k], lw=0.6, label=f"body {k + 1}")
    orbit.set(xlabel="x / M", ylabel="y / M", aspect="equal", title=f"learned orbit, q = {q:.3g}")
    shown = times > times[-1] - 400
    late.plot(times[shown], comparison.reference.real[shown], color="0.6", lw=3, label="Re, given")
    late.plot(times[shown], comparison.wave.real[shown], color=COLORS[0], lw=1, label="Re, model")
    late.plot(times[shown], comparison.reference.imag[shown], color="0.8", lw=3, ls=":", label="Im, never fitted")
    late.plot(times[shown], comparison.wave.imag[shown], color=COLORS[1], lw=1, label="Im, model")
    late.set(xlabel="t / M", ylabel=r"$r\,h_{22}/M$", title=name)
    for k, other in enumerate(comparisons[1:]):
        residual.plot(times, other.phase, color="0.6", lw=0.8, label="other seeds" if k == 0 else None)
    residual.plot(times, comparison.phase, color=COLORS[0], label="seed of the other panels")
    residual.axhline(0, color="0.8", lw=0.8)
    if until < times[-1]:
        residual.axvspan(until, times[-1], color="0.93", label="predicted")
    if until < times[-1] or len(comparisons) > 1:
        residual.legend(loc="lower left", fontsize=8)
    residual.set(xlabel="t / M", ylabel="phase error of $h_{22}$ (rad)", title="residual phase, no alignment")
    p = states["p"]
    if "factor_3" in states.names:
        first, second = coefficients(holes.symmetric_mass_ratio(q))
        factors.plot(p, states["factor_3"], color=COLORS[0], label="learned factor of dp/dt")
        factors.plot(p, 1 + first / p + second * p**-1.5, "--", color=COLORS[0], label="to order 1.5")
        factors.plot(p, states["factor_2"], color=COLORS[1], label="learned factor of dphi/dt")
        factors.set(xlabel="p / M (effective)", ylabel="factor", title="learned against post-Newtonian")
    else:
        e = states["e"]
        # Peters (1964), eq. 5.11: how an orbit becomes round as it shrinks, at whatever rate.
        known = (e / e[0]) ** (12 / 19) * ((1 + 121 / 304 * e**2) / (1 + 121 / 304 * e[0] ** 2)) ** (870 / 2299)
        factors.plot(p, e, color=COLORS[0], label="learned")
        factors.plot(p[0] * known, e, "--", color=COLORS[0], label="Peters, from the same start")
        factors.set(xlabel="p / M (effective)", ylabel="eccentricity", title="learned against Peters's eccentricity")
    late.set_ylim(top=1.6 * late.get_ylim()[1])  # the legend's place
    late.legend(fontsize=8, loc="upper left", ncols=2)
    orbit.legend(fontsize=8, loc="upper right")
    factors.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--waveform", type=Path, metavar="FILE", help="a waveform instead of a generated one")
    parser.add_argument("--window", type=float, nargs=2, metavar=("T0", "T1"), help="in M; default -1576 -20")
    parser.add_argument("--mass-ratio", type=float, default=1.0, metavar="Q", help="q = m1/m2; 1/q is the same binary")
    parser.add_argument("--eccentric", action="store_true", help="an eccentric orbit, four learned factors")
    parser.add_argument("--train-until", type=float, metavar="T", help="fit to T only, predict the rest of the window")
    parser.add_argument("--conjugate", action="store_true", help="the file holds exp(+2i phi)")
    parser.add_argument("--amplitude-order", type=float, default=0, choices=(0, 1, 1.5, 2), help="of circular orbits")
    parser.add_argument("--orbit", type=Path, metavar="FILE", help="npz with t and dyn: compare r and phi")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="as many seeds from `--seed` on")
    arguments = parser.parse_args()
    frame = load(arguments)
    start, stop = arguments.window or ((-900.0, -200.0) if arguments.quick else (-1576.0, -20.0))
    until = stop if arguments.train_until is None else arguments.train_until
    if not start < until <= stop:
        raise DataError(f"`--train-until {until:g}` must lie in the window, after {start:g} and not after {stop:g}.")
    if arguments.eccentric and arguments.amplitude_order:
        raise DataError("`--amplitude-order` corrects circular orbits: leave it out with `--eccentric`.")
    orbit = known_orbit(arguments.orbit) if arguments.orbit else None
    q = waveforms.ordered_ratio(arguments.mass_ratio)
    data = waveforms.window(frame, start, until, rows=None)
    if len(data) < 49:
        raise DataError(
            f"[{start:g}, {until:g}] M holds {(len(data) - 1) / 16:.1f} cycles: a fit needs three at least."
        )
    waveforms.window(frame, start, stop)  # refuses a window past the peak before the fit
    print(
        f"{frame.attrs['name']}: q = m1/m2 = {q:g} >= 1, {len(data)} nodes in [{start:g}, {until:g}] M, judged to {stop:g}"
    )
    rows, comparisons = [], []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        began, cpu = time.perf_counter(), time.process_time()
        fit = learn(frame, data, q, arguments.eccentric, seed, arguments.quick, arguments.amplitude_order)
        clock = {"seconds": time.perf_counter() - began, "core seconds": time.process_time() - cpu}
        comparisons.append(compared(fit, frame, start, stop))
        truth = beside_orbit(comparisons[-1], orbit) if orbit is not None else {}
        rows.append({"seed": seed} | comparisons[-1].numbers(until) | truth | clock | {"backend": fit.backend})
        print(table(rows[-1:]), flush=True)
    middle = {key: float(np.median([row[key] for row in rows])) for key in rows[0] if key not in ("seed", "backend")}
    line = machine("torch", "numba", "sympy")
    print(line, table(rows), sep="\n")
    laws = [] if arguments.eccentric or arguments.amplitude_order else law(comparisons, holes.symmetric_mass_ratio(q))
    if laws:
        print("factor of dp/dt, regressions with the leading 1 fixed; intervals are the range over seeds")
        print(table(laws))
        print("The factor of dphi/dt is not compared: its post-Newtonian series does not converge at these radii.")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = middle | {"machine": line, "rows": rows, "law": laws}
        arguments.json.write_text(json.dumps(content, indent=2, default=float) + "\n")
    if arguments.out:
        draw(arguments.out / "black_hole_waveform.png", comparisons, q, until, frame.attrs["name"])


if __name__ == "__main__":
    main()
