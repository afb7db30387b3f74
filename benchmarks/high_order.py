"""Smooth equations at tight tolerance: Dopri8 natively, against diffrax's Dopri8 and heyoka's Taylor integrator.

Lorenz-96 (40 states, forcing 8, t = 5) and Kepler (eccentricity 0.3, t = 100), forward to the end only, float64, one
thread, rtol = atol. The error is the largest one at the end; the truth is Kepler's equation, and for Lorenz-96 SciPy's
DOP853 at 1e-13. heyoka's tolerance is relative to the whole state, so compare it by error, not by tolerance.
`ours faster` is the median over the rounds of the contestant's time over ours at the same tolerance.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import _peers as peers
import numpy as np
import sympy as sp
from matplotlib.ticker import NullFormatter
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from sciml import Dopri8, System, compile, simulate
from sciml.scripts import interleaved, machine, median_ratio, options, report

Run = Callable[[], np.ndarray]


def lorenz96(count: int = 40, forcing: float = 8.0) -> tuple[System, np.ndarray, float]:
    """Equations, initial state and duration."""
    x = sp.symbols(f"x:{count}", real=True)
    equations = {x[i]: (x[(i + 1) % count] - x[i - 2]) * x[i - 1] - x[i] + forcing for i in range(count)}
    start = np.full(count, forcing)
    start[0] += 0.01
    return System(equations), start, 5.0


def kepler(eccentricity: float = 0.3) -> tuple[System, np.ndarray, float]:
    """Equations, initial state (at the pericenter) and duration."""
    x, y, u, v = sp.symbols("x y u v", real=True)
    cube = (x**2 + y**2) ** sp.Rational(3, 2)
    speed = np.sqrt((1 + eccentricity) / (1 - eccentricity))
    return System({x: u, y: v, u: -x / cube, v: -y / cube}), np.array([1 - eccentricity, 0.0, 0.0, speed]), 100.0


def kepler_exact(t: float, e: float = 0.3) -> np.ndarray:
    """Position and velocity from Kepler's equation."""
    angle = brentq(lambda a: a - e * np.sin(a) - t, t - 1, t + 1, xtol=1e-15, rtol=1e-15)
    c, s, b = np.cos(angle), np.sin(angle), np.sqrt(1 - e * e)
    return np.array([c - e, b * s, -s / (1 - e * c), b * c / (1 - e * c)])


def native(system: System, start: np.ndarray, end: float, tolerance: float) -> Run:
    """Our Dopri8."""
    field, ts = compile(system.with_initial(dict(zip(system.states, start.tolist())))), [0.0, end]
    return lambda: simulate(field, ts, solver=Dopri8(), rtol=tolerance, atol=tolerance, backend="native").states[-1]


def diffrax(system: System, start: np.ndarray, end: float, tolerance: float) -> Run:
    """diffrax's, jitted; Lorenz-96 as an array operation."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax
    import jax.numpy as jnp

    def waves(t, y, args):
        return (jnp.roll(y, -1) - jnp.roll(y, 2)) * jnp.roll(y, 1) - y + 8.0

    def planet(t, y, args):
        return jnp.concatenate([y[2:], -y[:2] / jnp.sum(y[:2] ** 2) ** 1.5])

    term = diffrax.ODETerm(planet if len(start) == 4 else waves)
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    @jax.jit
    def run(y0):
        save = diffrax.SaveAt(t1=True)
        arguments = {"stepsize_controller": controller, "saveat": save, "max_steps": 100_000}
        return diffrax.diffeqsolve(term, diffrax.Dopri8(), 0.0, end, None, y0, **arguments).ys[0]

    y0 = jnp.asarray(start)
    return lambda: np.asarray(run(y0))


def heyoka(system: System, start: np.ndarray, end: float, tolerance: float) -> Run:
    """heyoka's Taylor series, compiled before the clock runs."""
    import heyoka

    pairs = [(heyoka.expression(str(x)), heyoka.from_sympy(f)) for x, f in system.equations.items()]
    integrator = heyoka.taylor_adaptive(pairs, start.tolist(), tol=tolerance)

    def run() -> np.ndarray:
        integrator.time = 0.0
        integrator.state[:] = start
        integrator.propagate_until(end)
        return integrator.state.copy()

    return run


def compare(name: str, tolerances: list[float], rounds: int) -> list[dict[str, object]]:
    """The table's rows for one problem."""
    system, start, end = kepler() if name == "Kepler" else lorenz96()
    field = sp.lambdify([list(system.equations)], list(system.equations.values()))
    if name == "Kepler":
        exact = kepler_exact(end)
    else:
        exact = solve_ivp(lambda t, y: field(y), (0, end), start, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    makers = {"native": native, "diffrax": diffrax, "heyoka": heyoka}
    found = {"native", *peers.installed("diffrax", "heyoka")}
    rows: list[dict[str, object]] = []
    for tolerance in tolerances:
        runs = {key: make(system, start, end, tolerance) for key, make in makers.items() if key in found}
        times = interleaved(runs, rounds)
        for key, run in runs.items():
            rows.append(
                {
                    "problem": name,
                    "tolerance": tolerance,
                    "contestant": key,
                    "ms": 1e3 * statistics.median(times[key]),
                    "ours faster": median_ratio(times["native"], times[key]),
                    "error": float(np.abs(run() - exact).max()),
                }
            )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Error against time."""
    import matplotlib.pyplot as plt

    problems, keys = dict.fromkeys(row["problem"] for row in rows), dict.fromkeys(row["contestant"] for row in rows)
    figure, panels = plt.subplots(1, len(problems), figsize=(10, 4), layout="constrained", squeeze=False)
    for axes, problem in zip(panels[0], problems):
        for key in keys:
            chosen = [row for row in rows if row["problem"] == problem and row["contestant"] == key]
            axes.loglog([row["ms"] for row in chosen], [row["error"] for row in chosen], "o-", label=key)
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(title=problem, xlabel="ms", ylabel="error at the end")
        axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "high_order.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    tolerances = [1e-9] if arguments.quick else [1e-6, 1e-9, 1e-12]
    rounds = 3 if arguments.quick else 15
    rows = [row for name in ("Lorenz-96", "Kepler") for row in compare(name, tolerances, rounds)]
    report(rows, arguments, machine("numba", "diffrax", "heyoka"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
