"""Whole right-hand sides read off noisy series of Lorenz's system, beside pysindy: who finds exactly the true terms.

1000 rows at steps of 0.01, noise as a share of each state's standard deviation, library of all quadratic polynomials (10 for
each of three equations). A run is right if exactly the seven true terms are found; the error is the median over right runs of
the largest relative error of a coefficient. pysindy has an oracle: of ten thresholds for each method it is given, afterwards,
the one with the most right runs at that level. Ours choose for themselves; "through the solver" is `discover`'s default.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import sympy as sp
from _peers import installed

import sciml
from sciml import STLSQ, BestSubset, IntegralForm, SmoothedDerivative, SparseRegression, WeakForm
from sciml.scripts import machine, options, report

x, y, z = states = sp.symbols("x y z", real=True)
TRUTH = {"x": {x: -10, y: 10}, "y": {x: 28, x * z: -1, y: -1}, "z": {x * y: 1, z: -8 / 3}}
STEP, INTERVALS = 0.01, 10
THRESHOLDS = tuple(np.round(np.logspace(-2, 0, 10), 3))
Found = dict[str, dict[sp.Expr, float]]


def measured(noise: float, seed: int, rows: int) -> pd.DataFrame:
    """One series on the attractor."""
    rng = np.random.default_rng([seed, rows])
    start = dict(zip(states, rng.uniform(-8, 8, 3) + np.array([0, 0, 25])))
    times = STEP * np.arange(500 + rows)
    clean = sciml.simulate(sciml.models.lorenz(), times, initial=start, rtol=1e-10, atol=1e-10).to_frame()
    clean = clean[["x", "y", "z"]].iloc[500:].set_axis(times[:rows])
    return clean + noise * clean.std().to_numpy() * rng.standard_normal(clean.shape)


def ours(method: SparseRegression, refine: bool, data: pd.DataFrame) -> Found:
    """Coefficients of the terms of our law."""
    law = sciml.discover(data, method, refine=refine, progress=False)
    formulas = law.report.best.formulas if refine else law.report.formulas
    return {name: dict(form.as_coefficients_dict(*states)) for name, form in formulas.items()}


def pysindy(kind: str, threshold: float, data: pd.DataFrame) -> Found:
    """Coefficients of the terms of pysindy's law."""
    import pysindy as ps

    times, values = data.index.to_numpy(), data.to_numpy()
    library, derivative = ps.PolynomialLibrary(degree=2), ps.SmoothedFiniteDifference()
    optimizer = ps.STLSQ(threshold=threshold)
    if kind == "ensemble":
        optimizer = ps.EnsembleOptimizer(ps.STLSQ(threshold=threshold), bagging=True, n_models=50)
    if kind == "weak":
        library = ps.WeakPDELibrary(library, spatiotemporal_grid=times, K=200, H_xt=0.125)
    model = ps.SINDy(optimizer=optimizer, feature_library=library, differentiation_method=derivative)
    model.fit(values, t=times, feature_names=["x", "y", "z"])
    names = [name.replace("^", "**").replace(" ", "*") for name in model.get_feature_names()]
    terms = [sp.sympify(name, dict(zip("xyz", states))) for name in names]
    rows = model.coefficients()
    return {s: {t: float(c) for t, c in zip(terms, row) if c != 0} for s, row in zip("xyz", rows)}


def error(found: Found) -> float | None:
    """Largest relative error of a coefficient; None where the terms are not the true ones."""
    if any(set(found[s]) != set(TRUTH[s]) for s in TRUTH):
        return None
    return max(abs(float(found[s][t]) / c - 1) for s, terms in TRUTH.items() for t, c in terms.items())


def judged(find: Callable[[pd.DataFrame], Found], series: list[pd.DataFrame]) -> dict[str, object]:
    """Right runs, error and time of one method."""
    errors, seconds = [], []
    for data in series:
        begin = time.process_time()
        try:
            errors.append(error(find(data)))
        except (ValueError, np.linalg.LinAlgError):
            errors.append(None)
        seconds.append(time.process_time() - begin)
    right = [e for e in errors if e is not None]
    middle = 100 * float(np.median(right)) if right else float("nan")
    return {"right": len(right), "error %": middle, "s": float(np.median(seconds))}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="series for each level")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.01, 0.05, 0.1, 0.2], metavar="X", help="of noise")
    arguments = parser.parse_args()
    count, levels, rows = arguments.runs, arguments.levels, 1000
    thresholds = THRESHOLDS
    if arguments.quick:
        count, levels, rows, thresholds = 1, [0.05], 300, THRESHOLDS[5:6]
    base = partial(SparseRegression, degree=2, terms=4)
    contestants = {
        "smoothed derivative, STLSQ": partial(ours, base(form=SmoothedDerivative(), regression=STLSQ()), False),
        "weak form, STLSQ": partial(ours, base(form=WeakForm(), regression=STLSQ()), False),
        "integral form, STLSQ": partial(ours, base(form=IntegralForm(), regression=STLSQ()), False),
        "integral form, best subset": partial(ours, base(regression=BestSubset()), False),
        "through the solver": partial(ours, base(intervals=INTERVALS if rows > 500 else 3), True),
    }
    table = []
    for noise in levels:
        series = [measured(noise, arguments.seed + i, rows) for i in range(count)]
        for name, find in contestants.items():
            table.append({"noise": noise, "method": name, "runs": count, **judged(find, series)})
            print(table[-1], flush=True)
        for kind in ("STLSQ", "ensemble", "weak") if installed("pysindy") else ():
            tried = {tau: judged(partial(pysindy, kind, tau), series) for tau in thresholds}
            best = max(tried, key=lambda tau: tried[tau]["right"])
            name = f"pysindy, {kind}, oracle threshold {best:g}"
            table.append({"noise": noise, "method": name, "runs": count, **tried[best]})
            print(table[-1], flush=True)
    report(table, arguments, machine("numba", "scipy", "pysindy"))


if __name__ == "__main__":
    main()
