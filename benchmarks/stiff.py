"""Stiff problems natively, against diffrax's Kvaerno5 and SciPy's LSODA with a compiled right-hand side.

Robertson (0 to 1e5), HIRES, OREGO, Pollution (20 species) and Van der Pol (mu = 1000), float64, one thread, rtol = 1e-6.
`forward` solves to the end by `simulate(field, ...)`; `loss and gradient` is half the squared distance of the end from
the reference, with its gradient by the initial values, by `problem.value_and_gradient`. LSODA is SciPy's newer interface
(`solve_ivp`) and its older one (`odeint`), whose loop is Fortran; the right-hand side is compiled by numba. `ours
faster` is the median over the rounds of the contestant's time over that of our Rodas5P; `digits` is how many digits of
the end are right in every component, and `digits, 1e-8` the same at rtol = 1e-8 (ours alone).
"""

import logging
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import _peers as peers
import numpy as np
import pandas as pd
import sympy as sp
import torch
from numba import njit
from scipy.integrate import odeint, solve_ivp
from threadpoolctl import threadpool_limits

from sciml import Kvaerno5, Normal, Parameter, Problem, Rodas5P, System, compile, simulate
from sciml.scripts import interleaved, machine, median_ratio, options, report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import ivp

Run = Callable[[], np.ndarray]
RTOL = 1e-6
ATOL = {"Robertson": 1e-10, "HIRES": 1e-9, "OREGO": 1e-6, "Pollution": 1e-10, "Van der Pol": 1e-6}


def van_der_pol() -> ivp.Reference:
    """The relaxation oscillation to t = 1500; SciPy's Radau at 1e-13."""
    x, v = sp.symbols("x v", real=True)
    system = System({x: v, v: 1000 * (1 - x**2) * v - x})
    end = (-1.3547459194865885, 0.001621788727597463)
    return ivp.Reference(system, (2.0, 0.0), 1500.0, end)


def compiled_rates(system: System) -> Callable:
    """The right-hand side by numba, as SciPy calls it."""
    y = {x: sp.Symbol(f"y[{i}]") for i, x in enumerate(system.states)}
    rates = "\n".join(f"    out[{i}] = {sp.pycode(e.xreplace(y))}" for i, e in enumerate(system.equations.values()))
    space: dict = {"np": np}
    exec(f"def rates(t, y):\n    out = np.empty({len(y)})\n{rates}\n    return out\n", space)
    return njit(space["rates"])


def diffrax(problem: ivp.Reference, atol: float) -> tuple[Run, Run]:
    """The end, and the gradient of the loss by the initial values: jitted Kvaerno5 with its default adjoint."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax
    import jax.numpy as jnp

    rates = sp.lambdify(list(problem.system.states), list(problem.system.equations.values()), "jax")
    term = diffrax.ODETerm(lambda t, y, args: jnp.stack([jnp.asarray(r, float) for r in rates(*y)]))
    controller = diffrax.PIDController(rtol=RTOL, atol=atol)

    def end(y0):
        save = diffrax.SaveAt(t1=True)
        arguments = {"stepsize_controller": controller, "saveat": save, "max_steps": 65_536}
        return diffrax.diffeqsolve(term, diffrax.Kvaerno5(), 0.0, problem.end, None, y0, **arguments).ys[0]

    target = jnp.asarray(problem.solution)
    slope = jax.jit(jax.grad(lambda y0: 0.5 * jnp.sum((end(y0) - target) ** 2)))
    forward, y0 = jax.jit(end), jnp.asarray(problem.initial)
    return lambda: np.asarray(forward(y0)), lambda: np.asarray(slope(y0))


def fitted(problem: ivp.Reference, solver, atol: float) -> Run:
    """Gradient of the same loss by ours; the initial values are what is fitted."""
    system = problem.system
    starts = {x: Parameter(value) for x, value in zip(system.states, problem.initial)}
    data = pd.DataFrame([[np.nan] * len(starts), problem.solution], index=[0.0, problem.end], columns=map(str, starts))
    noise = {x: Normal(1.0) for x in starts}
    loss = Problem(system.with_initial(starts), data, noise, solver=solver, rtol=RTOL, atol=atol, backend="native")
    vector = loss.initial()
    # Coordinates are in units of the values' sizes.
    scale = loss.loss.coordinates.values(vector)[1]
    return lambda: loss.value_and_gradient(vector)[1] / scale


def digits(found: np.ndarray, exact: tuple[float, ...]) -> float:
    """Right digits of the worst component; components below 1e-12 of the largest are left out."""
    exact_array = np.array(exact)
    seen = np.abs(exact_array) > 1e-12 * np.abs(exact_array).max()
    return float(-np.log10(max(np.abs(found[seen] / exact_array[seen] - 1).max(), 1e-16)))


def compare(name: str, problem: ivp.Reference, rounds: int) -> list[dict[str, object]]:
    """The table's rows for one problem."""
    system, atol, ts = problem.system, ATOL[name], np.array([0.0, problem.end])
    field = compile(system.with_initial(dict(zip(system.states, problem.initial))))

    def ours(solver, rtol=RTOL, atol=atol):
        return lambda: simulate(field, ts, solver=solver, rtol=rtol, atol=atol, backend="native").states[-1]

    solvers = {"Rodas5P": Rodas5P(), "Kvaerno5": Kvaerno5()}
    forward = {key: ours(solver) for key, solver in solvers.items()}
    gradient = {key: fitted(problem, solver, atol) for key, solver in solvers.items()}
    rates, y0 = compiled_rates(system), np.array(problem.initial)
    forward["LSODA, solve_ivp"] = lambda: solve_ivp(rates, ts, y0, "LSODA", rtol=RTOL, atol=atol).y[:, -1]
    forward["LSODA, odeint"] = lambda: odeint(rates, y0, ts, rtol=RTOL, atol=atol, tfirst=True, mxstep=10_000)[-1]
    if peers.installed("diffrax"):
        for runs, run in zip((forward, gradient), diffrax(problem, atol)):
            try:
                run()
                runs["diffrax Kvaerno5"] = run
            except RuntimeError as error:
                if "maximum number of solver steps" not in str(error):
                    raise
                print(f"diffrax's Kvaerno5 does not reach the end of {name} in 65,536 steps.")
    rows: list[dict[str, object]] = []
    for work, runs in (("forward", forward), ("loss and gradient", gradient)):
        times = interleaved(runs, rounds)
        for key, run in runs.items():
            tight = ours(solvers[key], 1e-8, 1e-16)() if key in solvers and work == "forward" else None
            rows.append(
                {
                    "problem": name,
                    "work": work,
                    "contestant": key,
                    "us": 1e6 * statistics.median(times[key]),
                    "ours faster": median_ratio(times["Rodas5P"], times[key]),
                    "digits": digits(run(), problem.solution) if work == "forward" else "",
                    "digits, 1e-8": "" if tight is None else digits(tight, problem.solution),
                }
            )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Times of the forward solves, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    chosen = [row for row in rows if row["work"] == "forward"]
    problems, keys = (
        list(dict.fromkeys(r["problem"] for r in chosen)),
        list(dict.fromkeys(r["contestant"] for r in chosen)),
    )
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for k, key in enumerate(keys):
        values = [row["us"] for row in chosen if row["contestant"] == key]
        axes.bar(np.arange(len(problems)) + 0.16 * (k - (len(keys) - 1) / 2), values, 0.15, label=key)
    axes.set(yscale="log", ylabel="µs to the end, rtol = 1e-6", xticks=range(len(problems)), xticklabels=problems)
    figure.legend(loc="outside upper center", ncols=len(keys), fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "stiff.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="(lsoda|Excess)")
    logging.getLogger("jax").setLevel(logging.CRITICAL)
    problems = {"Robertson": ivp.robertson(1e5), "HIRES": ivp.hires()}
    if not arguments.quick:
        problems |= {"OREGO": ivp.orego(), "Pollution": ivp.pollution(), "Van der Pol": van_der_pol()}
    with threadpool_limits(1):
        rows = [
            row for name, problem in problems.items() for row in compare(name, problem, 3 if arguments.quick else 11)
        ]
    report(rows, arguments, machine("numba", "scipy", "diffrax"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
