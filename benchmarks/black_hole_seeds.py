"""How often the black holes' fits reach their targets, over seeds of the networks' weights.

Cases: A a test mass (p = 100, e = 0.5), "A noise" the same with noise of 1e-3; B equal masses until 20 M before merger;
C a law for all mass ratios, every third held out; D an eccentric orbit; E the last 400 M predicted. Fits are those of
`examples/black_hole_*.py`. One row for each number: its target, in how many seeds it is met, median and worst. Below, the
predictions of E as an ensemble, beside Peters's rates without factors and TaylorT4.

`--waveforms DIR` is a folder with a waveform of equal masses (`*_q1_h22*.txt.gz`), a family (`*q1to10*.npz`) and an
eccentric one (`*_e0.1.npz`, with its own orbit `dyn`); a case whose file is missing is left out. With `--out DIR`,
finished seeds are kept in `DIR/black_hole_seeds.jsonl` and not repeated: stop and start it as you like.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from black_hole_schemes import of_fit, of_theory, without_factors

from sciml import waves
from sciml.datasets import waveforms
from sciml.scripts import machine, options, report, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import black_hole_family as family_fit
import black_hole_test_mass as test_mass
import black_hole_waveform as single

FILES = {"B": "*_q1_h22*.txt.gz", "C": "*q1to10*.npz", "D": "*_e0.1.npz", "E": "*_q1_h22*.txt.gz"}
WINDOWS = {"B": (-1576.0, -20.0), "C": (-2700.0, -100.0), "D": (-2700.0, -100.0), "E": (-2700.0, -100.0)}
QUICK = (-900.0, -200.0)
UNTIL = -500.0
"""Where the training of E ends, in M."""


@dataclass(frozen=True)
class Case:
    """A fit that is repeated: what it returns for a seed, and the bounds of its numbers ("least" ones are from below)."""

    run: Callable[[int], dict]
    most: dict[str, float]
    least: dict[str, float]


def clocked(fit: Callable, *arguments) -> tuple:
    """A fit, and how long it took."""
    began, cpu = time.perf_counter(), time.process_time()
    return fit(*arguments), {"seconds": time.perf_counter() - began, "core seconds": time.process_time() - cpu}


def light_body(seed: int, noise: float, quick: bool) -> dict:
    """Numbers of the network, and of the law that was read back."""
    row, law, _, _ = test_mass.study(seed, noise, quick)
    return row | {f"law {key}": value for key, value in law.items()}


def one_wave(frame: pd.DataFrame, window: tuple[float, float], until: float, eccentric: bool, seed: int, quick: bool):
    """Numbers of a fit to one waveform, and the signed phase errors 200 and 100 M before merger."""
    data = waveforms.window(frame, window[0], until)
    fit, clock = clocked(single.learn, frame, data, 1.0, eccentric, seed, quick)
    comparison = single.compared(fit, frame, *window)
    late = {f"phase at {t:g}": float(np.interp(t, comparison.times, comparison.phase)) for t in (-200.0, -100.0)}
    return comparison.numbers(until) | late | clock


def eccentric_wave(path: Path, window: tuple[float, float], seed: int, quick: bool) -> dict:
    """Numbers of a fit to an eccentric waveform, its eccentricity beside that of the file's own orbit."""
    row = one_wave(waveforms.read(path, 1.0), window, window[1], True, seed, quick)
    with np.load(path, allow_pickle=False) as content:
        orbit, start = content["dyn"], content["t"][0]  # columns t, r, phi, p_r, p_phi, e, ...
    known = float(np.interp(-1500.0, orbit[:, 0] - orbit[0, 0] + start, orbit[:, 5]))
    return row | {"e off %": 100 * abs(row["e at -1500"] / known - 1)}


def many_ratios(family: dict[float, pd.DataFrame], window: tuple[float, float], seed: int, quick: bool) -> dict:
    """The worst of the mass ratios held out; TaylorT4's ratio from q = 2.3 on, where its luck ends."""
    held = list(family)[1::3]
    fitted = {q: frame for q, frame in family.items() if q not in held}
    fit, clock = clocked(family_fit.learn, fitted, *window, seed, quick)
    rows = [family_fit.judged(fit, q, frame, *window) | {"held_out": q in held} for q, frame in family.items()]
    print(table(rows), flush=True)
    names = {"mismatch": "mismatch", "phase_error_rad": "phase_error_rad", "early rad": "early rad"}
    worst = {name: max(row[key] for row in rows if row["held_out"]) for name, key in names.items()}
    worst |= {f"fitted {name}": max(row[key] for row in rows if not row["held_out"]) for name, key in names.items()}
    unequal = [row["times better"] for row in rows if row["q"] >= 2.3 and row["held_out"]]
    return worst | {"times better": min(unequal, default=float("nan")), "rows": rows} | clock


def cases(folder: Path | None, quick: bool) -> dict[str, Case]:
    """The cases whose data are there; a quick run makes its own."""
    fast = {"core seconds": 60.0}
    exact = {"L2": 1e-4, "L2 long": 2e-4, "phase rad": 1e-3}
    precession = dict.fromkeys(("off %", "law off %"), 0.05)
    coefficients = ("F1 constant %", "F1 slope %", "F2 slope %", "F2 constant %")
    names = ("off %", *coefficients, *(f"law {name}" for name in ("off %", *coefficients)))
    found = {
        "A": Case(lambda seed: light_body(seed, 0.0, quick), exact | dict.fromkeys(names, 1.0) | precession | fast, {}),
        "A noise": Case(lambda seed: light_body(seed, 1e-3, quick), dict.fromkeys(names, 10.0) | precession | fast, {}),
    }
    paths = {name: next(iter(sorted(folder.glob(pattern))), None) for name, pattern in FILES.items()} if folder else {}
    if paths.get("B") or quick:
        equal = single.post_newtonian(1.0) if quick else waveforms.read(paths["B"], 1.0)
        whole, predicted = (QUICK, QUICK) if quick else (WINDOWS["B"], WINDOWS["E"])
        until = UNTIL
        found["B"] = Case(
            lambda seed: one_wave(equal, whole, whole[1], False, seed, quick),
            {"mismatch": 1e-5, "to -100": 0.01, "phase_error_rad": 0.03, "imaginary": 5e-3} | fast,
            {},
        )
        found["E"] = Case(
            lambda seed: one_wave(equal, predicted, until, False, seed, quick),
            {"at -200": 0.05, "at -100": 0.2} | fast,
            {},
        )
    if paths.get("C"):
        family = waveforms.read_family(paths["C"])
        found["C"] = Case(
            lambda seed: many_ratios(family, WINDOWS["C"], seed, quick),
            {"mismatch": 1e-5, "phase_error_rad": 0.02, "early rad": 0.1} | fast,
            {"times better": 20.0},
        )
    if paths.get("D"):
        bent = paths["D"]
        found["D"] = Case(
            lambda seed: eccentric_wave(bent, WINDOWS["D"], seed, quick),
            {"mismatch": 1e-4, "phase_error_rad": 0.03, "e off %": 5.0} | fast,
            {},
        )
    return dict(sorted(found.items()))


def summary(name: str, case: Case, runs: list[dict]) -> list[dict[str, object]]:
    """A row for each number of a case."""
    rows = []
    for bounds, sign in ((case.most, 1), (case.least, -1)):
        for key, bound in bounds.items():
            values = np.abs([run[key] for run in runs])
            met = int(np.sum(sign * values <= sign * bound))
            row = {"case": name, "number": key, "target": f"{'<=' if sign > 0 else '>='} {bound:g}"}
            worst = float(np.max(sign * values) * sign)
            rows.append(row | {"met": f"{met} of {len(runs)}", "median": float(np.median(values)), "worst": worst})
    return rows


def ensemble(runs: list[dict], frame: pd.DataFrame, window: tuple[float, float]) -> list[dict[str, object]]:
    """Predictions of E: the members' errors and spread in rad, beside what needs no learning."""
    times = np.linspace(*window, 4000)
    reference = waves.curve(frame.index.to_numpy(), frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy())
    real = waveforms.window(frame, window[0], UNTIL)[["h22_real"]]
    omega = float(waveforms.polar(frame).frequency(window[0]))
    unlearned = {
        "Peters rad": of_fit(without_factors(frame, real, 1.0), times),
        "TaylorT4 rad": of_theory(1.0, reference, omega, times, UNTIL),
    }
    rows = []
    for at in (-200.0, -100.0):
        errors = np.array([run[f"phase at {at:g}"] for run in runs])
        middle = float(np.median(np.abs(errors)))
        row = {"t / M": at, "members": len(errors), "median rad": middle, "largest rad": float(np.abs(errors).max())}
        row |= {
            "their mean": float(errors.mean()),
            "spread (s.d.)": float(errors.std(ddof=1)) if len(errors) > 1 else 0.0,
        }
        others = {}
        for name, wave in unlearned.items():
            known = np.isfinite(wave)
            phase = waves.phase_error(times[known], wave[known], reference(times[known]))
            others[name] = float(abs(np.interp(at, times[known], phase)))
        rows.append(row | others | {"times better than Peters": others["Peters rad"] / middle})
    return rows


def read(store: Path | None) -> dict[tuple[str, int], dict]:
    """Finished seeds."""
    lines = store.read_text().splitlines() if store and store.exists() else []
    return {(row["case"], row["seed"]): row for row in map(json.loads, lines)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--waveforms", type=Path, metavar="DIR", help="folder with waveforms")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="as many seeds from `--seed` on")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="by default all")
    arguments = parser.parse_args()
    quick = arguments.quick
    known = cases(arguments.waveforms, quick)
    wanted = arguments.cases or (["E"] if quick else list(known))
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"--cases {' '.join(unknown)}: known are {', '.join(known)}; B to E need `--waveforms DIR`.")
    store = arguments.out / f"black_hole_seeds{'_quick' * quick}.jsonl" if arguments.out else None
    done = read(store)
    seeds = range(arguments.seed, arguments.seed + (1 if quick else arguments.seeds))
    for name in wanted:
        for seed in seeds:
            if (name, seed) in done:
                continue
            row = done[name, seed] = {"case": name} | known[name].run(seed) | {"seed": seed}
            print(table([{key: value for key, value in row.items() if key != "rows"}]), flush=True)
            if store:
                store.parent.mkdir(parents=True, exist_ok=True)
                with store.open("a") as file:
                    file.write(json.dumps(row, default=float) + "\n")
    found = {name: [done[name, seed] for seed in seeds] for name in wanted}
    tables = {"numbers": [row for name, runs in found.items() for row in summary(name, known[name], runs)]}
    if "E" in wanted:
        frame = single.post_newtonian(1.0) if quick else waveforms.read(next(arguments.waveforms.glob(FILES["E"])), 1.0)
        tables["E as an ensemble"] = ensemble(found["E"], frame, QUICK if quick else WINDOWS["E"])
    report(tables, arguments, machine("torch", "numba", "sympy"))


if __name__ == "__main__":
    main()
