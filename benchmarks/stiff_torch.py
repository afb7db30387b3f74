"""Stiff problems in torch at rtol = 1e-8: our Kvaerno5 beside all that torchdiffeq offers.

Robertson (0 to 40), HIRES, OREGO and Van der Pol (mu = 1000), float64, one thread. All get the same field, one compiled
System called with torch tensors; Kvaerno5 also asks it for its symbolic Jacobian. torchdiffeq's adaptive methods choose
their steps; its method for fixed steps, implicit Adams, takes 1,000 equal ones; its `scipy_solver` hands the field to
SciPy. Whoever has not reached the end after 35,000 calls of the field is stopped, and `outcome` says so.
`digits` is how many digits of the end are right in every component; `outcome` tells how the run ended, and `warned`
what it warned of. Each contestant runs once: the times tell orders of magnitude. LSODA is faster than
our Kvaerno5 in torch, at fewer digits and without a batch; `stiff.py` has the native engine.
"""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from stiff import digits, van_der_pol
from torch import Tensor

from sciml import Kvaerno5, compile
from sciml.scripts import machine, options, report
from sciml.solvers import solve

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import ivp

RTOL = 1e-8
CALLS = 35_000
ATOL = {"Robertson": 1e-16, "HIRES": 1e-12, "OREGO": 1e-10, "Van der Pol": 1e-10}
FIXED_STEPS = 1000


class OutOfCalls(Exception):
    """A contestant has called the field as often as it may."""


class Counted:
    """A field that counts its calls, ends a run that makes too many, and has the Jacobian of the one it calls."""

    def __init__(self, field, most: int) -> None:
        self.field, self.jacobian, self.most, self.calls = field, field.jacobian, most, 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change."""
        if self.calls == self.most:
            raise OutOfCalls
        self.calls += 1
        return self.field(t, y)


def contestants(field: Counted, y0: Tensor, ts: Tensor, atol: float) -> dict[str, Callable[[], Tensor]]:
    """Ends by name."""
    from torchdiffeq import odeint

    def theirs(method: str, **options) -> Callable[[], Tensor]:
        return lambda: odeint(field, y0, ts, rtol=RTOL, atol=atol, method=method, options=options)[-1]

    step = float(ts[-1] - ts[0]) / FIXED_STEPS
    return {
        "Kvaerno5": lambda: solve(field, y0, ts, solver=Kvaerno5(), rtol=RTOL, atol=atol).ys[-1],
        "torchdiffeq dopri5": theirs("dopri5"),
        "torchdiffeq dopri8": theirs("dopri8"),
        "torchdiffeq implicit_adams": theirs("implicit_adams", step_size=step),
        "torchdiffeq scipy_solver, Radau": theirs("scipy_solver", solver="Radau"),
        "torchdiffeq scipy_solver, LSODA": theirs("scipy_solver", solver="LSODA"),
    }


def attempt(run: Callable[[], Tensor], solution: tuple[float, ...]) -> tuple[float, str]:
    """Right digits at the end, and how the run ended."""
    try:
        end = run().numpy()
    except OutOfCalls:
        return float("nan"), "out of calls"
    except AssertionError as error:
        return float("nan"), str(error).split(" (")[0]
    if not np.isfinite(end).all():
        return float("nan"), "not finite"
    return digits(end, solution), "end reached"


def compare(name: str, problem: ivp.Reference, most: int) -> list[dict[str, object]]:
    """The table's rows for one problem."""
    compiled = compile(problem.system.with_initial(dict(zip(problem.system.states, problem.initial))))
    field = Counted(compiled, most)
    y0 = torch.tensor(problem.initial, dtype=torch.float64)
    ts = torch.tensor([0.0, problem.end], dtype=torch.float64)
    rows: list[dict[str, object]] = []
    for key, run in contestants(field, y0, ts, ATOL[name]).items():
        field.calls, start = 0, time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            right, outcome = attempt(run, problem.solution)
        seconds = time.perf_counter() - start
        rows.append(
            {
                "problem": name,
                "contestant": key,
                "digits": right,
                "calls": field.calls,
                "ms": 1e3 * seconds,
                "outcome": outcome,
                # Each text once: some are repeated at every step.
                "warned": "; ".join(dict.fromkeys(str(warning.message) for warning in caught)) or "no",
            }
        )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Digits against time of all that reached the end."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure, panels = plt.subplots(
        1, len(names), figsize=(max(8, 3 * len(names)), 4), layout="constrained", sharey=True, squeeze=False
    )
    for axes, name in zip(panels[0], names):
        for k, key in enumerate(dict.fromkeys(row["contestant"] for row in rows)):
            (row,) = [row for row in rows if row["problem"] == name and row["contestant"] == key]
            lost = np.isnan(row["digits"])
            marker = {"marker": "x" if lost else "o", "color": f"C{k}", "linestyle": "none"}
            axes.plot(row["ms"], 0 if lost else max(row["digits"], 0), label=key, **marker)
        axes.set(xscale="log", xlabel="ms", title=name)
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0, 0].set_ylabel("right digits (cross: end not reached)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "stiff_torch.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    problems = {"Robertson": ivp.robertson()}
    if not arguments.quick:
        problems |= {"HIRES": ivp.hires(), "OREGO": ivp.orego(), "Van der Pol": van_der_pol()}
    with torch.no_grad():
        most = 2000 if arguments.quick else CALLS
        rows = [row for name, problem in problems.items() for row in compare(name, problem, most)]
    report(rows, arguments, machine("torch", "torchdiffeq", "scipy"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
