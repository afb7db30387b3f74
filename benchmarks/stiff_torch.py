"""Stiff problems in torch at rtol = 1e-8: our Kvaerno5 beside all that torchdiffeq offers.

Robertson (0 to 40), HIRES, OREGO and Van der Pol (mu = 1000), float64, one thread. All get the same field, one compiled
System called with torch tensors; Kvaerno5 also asks it for its symbolic Jacobian. torchdiffeq's adaptive methods get as
many steps as `most`; its method for fixed steps, implicit Adams, takes 1,000 equal steps; its `scipy_solver` hands the
field to SciPy. `digits` is how many digits of the end are right in every component; `outcome` says why there are none.
Each contestant runs once: the times tell orders of magnitude. LSODA is faster than
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
ATOL = {"Robertson": 1e-16, "HIRES": 1e-12, "OREGO": 1e-10, "Van der Pol": 1e-10}
FIXED_STEPS = 1000


class Counted:
    """A field that counts its calls and has the Jacobian of the one it calls."""

    def __init__(self, field) -> None:
        self.field, self.jacobian, self.calls = field, field.jacobian, 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change."""
        self.calls += 1
        return self.field(t, y)


def contestants(field: Counted, y0: Tensor, ts: Tensor, atol: float, most: int) -> dict[str, Callable[[], Tensor]]:
    """Ends by name."""
    from torchdiffeq import odeint

    def theirs(method: str, **options) -> Callable[[], Tensor]:
        return lambda: odeint(field, y0, ts, rtol=RTOL, atol=atol, method=method, options=options)[-1]

    step = float(ts[-1] - ts[0]) / FIXED_STEPS
    return {
        "Kvaerno5": lambda: solve(field, y0, ts, solver=Kvaerno5(), rtol=RTOL, atol=atol).ys[-1],
        "torchdiffeq dopri5": theirs("dopri5", max_num_steps=most),
        "torchdiffeq dopri8": theirs("dopri8", max_num_steps=most),
        "torchdiffeq implicit_adams": theirs("implicit_adams", step_size=step),
        "torchdiffeq scipy_solver, Radau": theirs("scipy_solver", solver="Radau"),
        "torchdiffeq scipy_solver, LSODA": theirs("scipy_solver", solver="LSODA"),
    }


def compare(name: str, problem: ivp.Reference, most: int) -> list[dict[str, object]]:
    """The table's rows for one problem."""
    field = Counted(compile(problem.system.with_initial(dict(zip(problem.system.states, problem.initial)))))
    y0 = torch.tensor(problem.initial, dtype=torch.float64)
    ts = torch.tensor([0.0, problem.end], dtype=torch.float64)
    rows: list[dict[str, object]] = []
    for key, run in contestants(field, y0, ts, ATOL[name], most).items():
        field.calls, right, start = 0, float("nan"), time.perf_counter()
        try:
            end = run().numpy()
            outcome = "end reached" if np.isfinite(end).all() else "not finite, without a word"
            right = digits(end, problem.solution) if np.isfinite(end).all() else right
        except AssertionError as error:
            outcome = str(error).split(" (")[0]
        seconds = time.perf_counter() - start
        rows.append(
            {
                "problem": name,
                "contestant": key,
                "digits": right,
                "calls": field.calls,
                "ms": 1e3 * seconds,
                "outcome": outcome,
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
    warnings.filterwarnings("ignore")
    problems = {"Robertson": ivp.robertson()}
    if not arguments.quick:
        problems |= {"HIRES": ivp.hires(), "OREGO": ivp.orego(), "Van der Pol": van_der_pol()}
    with torch.no_grad():
        most = 200 if arguments.quick else 20_000
        rows = [row for name, problem in problems.items() for row in compare(name, problem, most)]
    report(rows, arguments, machine("torch", "torchdiffeq", "scipy"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
