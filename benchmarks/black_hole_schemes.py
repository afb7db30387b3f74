"""The paper's own way to learn an inspiral, rebuilt, beside the recipe of the examples and the theory that needs no fit.

The paper's: dp/dt and de/dt are networks that start at zero, added to an orbit that never shrinks; raw powers of p as
features; second derivatives of the quadrupole moment by finite differences on the grid of the data; BFGS over all
weights on windows of 40, 50, ..., 100 %; soft penalties p' < 0, p'' <= 0, e >= 0. Its steps are then replaced one by
one: exact derivatives; Peters's rates times positive factors in place of added networks; a start that is read off the
wave in place of growing windows, which is the recipe. Peters's rates alone and TaylorT4 fit nothing but the start.

Fits are judged without any alignment, TaylorT4 after one in time and phase on what was fitted. Finite differences enter
by their transfer factor (sin Ωh / Ωh)², which is exact for a wave of one frequency. `--waveform FILE` and `--eccentric`
as in `examples/black_hole_waveform.py`; with `--train-until` the rest of the window is predicted. `--test-mass` is the
light body of `examples/black_hole_test_mass.py`: there the paper makes data and model by the same differences, which
cancel, and its network starts near zero. A law for many mass ratios is beyond the paper: it learns one wave at a time.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import sympy as sp

import sciml
from sciml import LBFGS, MLP, Normal, Parameter, Penalty, Problem, SingleShooting, System, waves
from sciml.datasets import waveforms
from sciml.errors import SolveError
from sciml.lowering.networks import build_network, weights_of
from sciml.models import binary_black_hole as holes
from sciml.scripts import machine, options, report, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import black_hole_test_mass as test_mass
from black_hole_waveform import SOLVER, SPREADS, continued, learn, load, minimized, seen_ellipse

CHI, PHI, P, E, T = sp.symbols("chi phi p e t", real=True)
WINDOWS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def paper(nu: float, start: dict[str, Parameter], spacing: float) -> System:
    """Newton's orbit with factors 1 + F1 and 1 + F2, and p' = F3, e' = F4, as in the paper's equations 6 to 9.

    Args:
        nu: Symmetric mass ratio.
        start: What is read off the wave, to be fitted; an orbit that starts round stays round unless its rates say else.
        spacing: Of finite differences in M; 0 differentiates exactly.
    """
    f1, f2, f3, f4 = sp.symbols("F1 F2 F3 F4", cls=sp.Function)
    half, fast = sp.Rational(1, 2), (P, P ** sp.Rational(3, 2), P**2, E)
    motion = (sp.cos(CHI), 1 / P, P**-half, P**half, *fast, E**2)
    slow = (P ** sp.Rational(-3, 2), 1 / P, P**-half, P**half, *fast, E**2, P * E)
    kepler = (1 + E * sp.cos(CHI)) ** 2 / P ** sp.Rational(3, 2)
    # The scales of the rates are a courtesy: with 1 the first step of a line search ends the orbit.
    p = start["p"].value
    rate = 64 * nu / 5 / p**3
    scales = {"decay": 0.0, "input_scale": (1.0,) * len(motion), "output_scale": (1.0, 1.0)}
    rates = scales | {"input_scale": (1.0,) * len(slow), "output_scale": (rate, rate / p)}
    angle = kepler * (1 + f2(*motion))
    system = System(
        equations={CHI: kepler * (1 + f1(*motion)), PHI: angle, P: f3(*slow), E: f4(*slow)},
        learned={(f1, f2): MLP((32,), **scales), (f3, f4): MLP((32,), **rates)},
        initial={CHI: 0.0, E: 0.0} | {sp.Symbol(name, real=True): value for name, value in start.items()},
    )
    blurred = (sp.sin(angle * spacing) / (angle * spacing)) ** 2 if spacing else 1
    return holes.quadrupole(system, P / (1 + E * sp.cos(CHI)), PHI, nu, blurred)


def from_zero(system: System, seed: int) -> System:
    """The system, its networks at zero: random hidden layers, last layers zero."""
    learned = {}
    for group, network in system.learned.items():
        weights = weights_of(build_network(network, system.arity(group), len(group), seed))
        weights[-(network.hidden[-1] + 1) * len(group) :] = 0.0
        learned[group] = replace(network, weights=weights)
    return system.with_learned(learned)


def read_off(p: float, phi: float) -> dict[str, Parameter]:
    """What is known of the start, to be fitted; an orbit that starts round has nothing else."""
    return {
        "p": Parameter(p, bounds=(4.0, None), prior=Normal(SPREADS["p"])),
        "phi": Parameter(phi, prior=Normal(SPREADS["phi"])),
    }


def grown(system: System, data: pd.DataFrame, level: float, steps: int, seed: int, penalties: list) -> sciml.Fit:
    """All weights at once on windows that grow."""
    start, stop = data.index[0], data.index[-1]
    for share in WINDOWS:
        part = data[data.index <= start + share * (stop - start)]
        problem = Problem(system, part, noise={"h22_real": Normal(level)}, penalties=penalties, **SOLVER)
        stages = [LBFGS(steps=steps, memory=80, tolerance=1e-12)]
        fit = sciml.fit(problem, SingleShooting(start=None), stages, seed=seed, progress=False)
        first = fit.initial.iloc[0]
        free = {name: replace(value, value=float(first[name])) for name, value in start_of(system).items()}
        system = fit.system.with_initial(free)
    return fit


def start_of(system: System) -> dict[str, Parameter]:
    """The initial values that are fitted."""
    return {str(state): value for state, value in system.initial.items() if isinstance(value, Parameter)}


def peters(q: float, p: float, phi: float) -> System:
    """The inspiral without corrections."""
    system = holes.circular_inspiral(
        q, p=Parameter(p, bounds=(4.0, None)), phi=Parameter(phi, prior=Normal(SPREADS["phi"]))
    )
    return system.substitute({f: lambda x: sp.Integer(0) for f in system.functions})


def without_factors(frame: pd.DataFrame, real: pd.DataFrame, q: float) -> sciml.Fit:
    """Peters's rates alone, their start fitted on windows that grow."""
    start, until = real.index[0], real.index[-1]
    first = waveforms.effective_orbit(frame, [start], holes.symmetric_mass_ratio(q)).iloc[0]
    system = peters(q, first["p"], first["phi"])
    for share in (0.4, 0.7, 1.0):
        part = real[real.index <= start + share * (until - start)]
        fit = minimized(system, part, {"h22_real": Normal(1e-2)}, 100, seed=0)
        system = continued(fit)
    return fit


def judged(times: np.ndarray, wave: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Errors as far as the model goes, and how far that is."""
    known = np.cumsum(~np.isfinite(wave)) == 0
    times, wave, given = times[known], wave[known], given[known]
    phase = waves.phase_error(times, wave, given)
    return {
        "mismatch": waves.mismatch(times, wave, given),
        "phase rad": float(np.abs(phase).max()),
        "at end rad": float(np.abs(phase[-1])),
        "reached M": float(times[-1]),
    }


def of_fit(fit: sciml.Fit, times: np.ndarray) -> np.ndarray:
    """The wave of a fit, not finite from where it plunges."""
    found = sciml.simulate(fit.system, times, rtol=1e-9, atol=1e-9, throw=False)
    return found["h22_real"] + 1j * found["h22_imag"]


def of_theory(q: float, reference: waves.Curve, omega: float, times: np.ndarray, until: float) -> np.ndarray:
    """TaylorT4 aligned on what the others fit."""
    span = times[-1] - times[0]
    ts = np.arange(0.0, 1.35 * span + 200, 0.5)
    found = sciml.simulate(holes.taylor_t4(q, frequency=0.97 * omega), ts, rtol=1e-9, atol=1e-9, throw=False)
    wave = found["h22_real"] + 1j * found["h22_imag"]
    usable = (np.cumsum(~np.isfinite(wave)) == 0) & (np.cumsum(found["Omega"] > 0.15) == 0)
    here = np.interp(omega, found["Omega"][usable], ts[usable])
    curve = waves.curve(ts[usable] - here + times[0], wave[usable])
    shift = waves.align(curve, reference, times[0], until, largest=50.0)
    return curve(times + shift.time) * np.exp(1j * shift.phase)


def light_body(seed: int, quick: bool) -> list[dict[str, object]]:
    """The test mass by a network that starts near zero, where cosines have no slope, and by one of usual size."""
    usual = holes.hybrid_orbit(test_mass.P, test_mass.E)
    (group, network) = next(iter(usual.learned.items()))
    count = len(weights_of(build_network(network, 1, 2, seed)))
    small = replace(network, weights=1e-4 * np.random.default_rng(seed).standard_normal(count), output_scale=(1.0, 1.0))
    rows = []
    for name, system in {"the paper's": usual.with_learned({group: small}), "recipe": usual}.items():
        row, _, _ = test_mass.studied(system, seed, 0.0, quick)
        rows.append({"scheme": name} | row)
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--waveform", type=Path, metavar="FILE", help="a waveform instead of a generated one")
    parser.add_argument("--window", type=float, nargs=2, metavar=("T0", "T1"), help="in M; default -1576 -20")
    parser.add_argument("--mass-ratio", type=float, default=1.0, metavar="Q", help="q = m1/m2")
    parser.add_argument("--train-until", type=float, metavar="T", help="fit to T only, predict the rest of the window")
    parser.add_argument("--eccentric", action="store_true", help="an eccentric orbit")
    parser.add_argument("--test-mass", action="store_true", help="a light body on a geodesic instead of a waveform")
    parser.set_defaults(conjugate=False)
    arguments = parser.parse_args()
    quick, seed = arguments.quick, arguments.seed
    if arguments.test_mass:
        report(light_body(seed, quick), arguments, machine("torch", "numba", "sympy"))
        return
    frame, q = load(arguments), waveforms.ordered_ratio(arguments.mass_ratio)
    nu = holes.symmetric_mass_ratio(q)
    start, stop = arguments.window or ((-900.0, -200.0) if quick else (-1576.0, -20.0))
    until = stop if arguments.train_until is None else arguments.train_until
    data = waveforms.window(frame, start, until)
    reference = waves.curve(frame.index.to_numpy(), frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy())
    times = np.linspace(start, stop, 4000)
    first = waveforms.effective_orbit(frame, [start], nu).iloc[0]
    round_start = read_off(first["p"], first["phi"])
    given = seen_ellipse(frame, data, q)[1] if arguments.eccentric else round_start
    real, steps, level = data[["h22_real"]], 20 if quick else 200, 1e-3
    spacing = (stop - start) / 999
    falling = [
        Penalty(sp.Derivative(P, T) < 0, weight=1e4),
        Penalty(sp.Derivative(P, T, T) <= 0, weight=1e4),
        Penalty(E >= 0, weight=1e4),
    ]

    def added(grid: float) -> sciml.Fit:
        system = from_zero(paper(nu, given, grid), seed)
        return grown(system, real, level, steps, seed, falling)

    def prior_grown() -> sciml.Fit:
        make = holes.eccentric_inspiral if arguments.eccentric else holes.circular_inspiral
        system = make(q, **given)
        return grown(from_zero(system, seed), real, level, steps, seed, [])

    contestants = {
        "the paper's": lambda: added(spacing),
        "exact derivatives": lambda: added(0.0),
        "Peters times factors": prior_grown,
        "recipe": lambda: learn(frame, data, q, arguments.eccentric, seed, quick),
    }
    if not arguments.eccentric:
        contestants["Peters alone"] = lambda: without_factors(frame, real, q)
    rows = []
    for name, contestant in contestants.items():
        began, cpu = time.perf_counter(), time.process_time()
        try:
            fit = contestant()
            found = judged(times, of_fit(fit, times), reference(times))
        except SolveError as error:
            print(f"{name}: {error}")
            continue
        clock = {"seconds": time.perf_counter() - began, "core seconds": time.process_time() - cpu}
        rows.append({"scheme": name} | found | clock)
        print(table(rows[-1:]), flush=True)
    if not arguments.eccentric:
        omega = float(waveforms.polar(frame).frequency(start))
        rows.append(
            {"scheme": "TaylorT4, aligned"}
            | judged(times, of_theory(q, reference, omega, times, until), reference(times))
            | {"seconds": 0.0, "core seconds": 0.0}
        )
    print(f"{frame.attrs['name']}: fitted in [{start:g}, {until:g}] M, judged to {stop:g}")
    report(rows, arguments, machine("torch", "numba", "sympy"))


if __name__ == "__main__":
    main()
