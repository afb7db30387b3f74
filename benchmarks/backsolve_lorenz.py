"""Gradients through chaos: Lorenz's equations with one observation, at t = 5, by three ways and by torchdiffeq's adjoint.

The continuous adjoint runs the trajectory backwards, where Lorenz's flow expands by exp(14.6 t): it soon leaves the path
that it should follow. `error` is that of the gradient of the squared state at the end by the initial state and the
three parameters, over its largest entry; the truth are sensitivities by SciPy's DOP853 at 1e-13. Whoever has not come
to an end after the given number of calls of the field is stopped. `warned` tells whether there was a warning.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import _peers as peers
import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from sciml import Backsolve, Checkpointed, Direct
from sciml.scripts import machine, options, report
from sciml.solvers import solve

START, PARAMETERS = (1.0, 1.0, 1.0), (10.0, 28.0, 8.0 / 3.0)
TOLERANCES, CALLS = (1e-3, 1e-6, 1e-9), 100_000


class OutOfCalls(Exception):
    """The field has been called as often as allowed."""


class Lorenz(nn.Module):
    """Lorenz's equations, counting calls."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(PARAMETERS, dtype=torch.float64))
        self.calls, self.most = 0, CALLS

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change."""
        if self.calls == self.most:
            raise OutOfCalls
        self.calls += 1
        x, y, z = y.unbind(-1)
        s, r, b = self.p
        return torch.stack([s * (y - x), x * (r - z) - y, x * y - b * z], dim=-1)


def truth(end: float) -> np.ndarray:
    """The gradient by initial state and parameters, from the variational equations."""

    def rates(_, w):
        (x, y, z), v, (s, r, b) = w[:3], w[3:].reshape(3, 6), PARAMETERS
        jacobian = np.array([[-s, s, 0], [r - z, -1, -x], [y, x, -b]])
        slopes = np.zeros((3, 6))
        slopes[:, 3:] = np.diag([y - x, x, -z])
        return np.concatenate([[s * (y - x), x * (r - z) - y, x * y - b * z], (jacobian @ v + slopes).ravel()])

    start = np.concatenate([START, np.eye(3, 6).ravel()])
    w = solve_ivp(rates, (0.0, end), start, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    return 2 * w[:3] @ w[3:].reshape(3, 6)


def contestants(field: Lorenz, ts: Tensor, tolerance: float) -> dict[str, Callable[[Tensor], Tensor]]:
    """Solutions by name, as functions of the initial state."""
    modes = {
        "Direct()": Direct(),
        "Checkpointed()": Checkpointed(),
        "Backsolve()": Backsolve(),
        "Backsolve(checkpoints=50)": Backsolve(checkpoints=50),
    }
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        name: lambda y0, mode=mode: solve(field, y0, ts, gradients=mode, rtol=tolerance, atol=tolerance).ys[-1]
        for name, mode in modes.items()
    }
    if peers.installed("torchdiffeq"):
        from torchdiffeq import odeint_adjoint

        runs["torchdiffeq odeint_adjoint"] = lambda y0: odeint_adjoint(field, y0, ts, rtol=tolerance, atol=tolerance)[
            -1
        ]
    return runs


def compare(end: float, tolerance: float, most: int) -> list[dict[str, object]]:
    """The table's rows at one tolerance."""
    field, ts, exact = Lorenz(), torch.tensor([0.0, end], dtype=torch.float64), truth(end)
    rows: list[dict[str, object]] = []
    for name, run in contestants(field, ts, tolerance).items():
        y0 = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        field.calls, field.most, began = 0, most, time.perf_counter()
        error = float("nan")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = torch.autograd.grad(run(y0).square().sum(), [y0, field.p])
                error = float(np.abs(torch.cat(found).numpy() - exact).max() / np.abs(exact).max())
                outcome = "finished"
            except OutOfCalls:
                outcome = f"stopped after {most} calls"
            except AssertionError as failure:
                outcome = str(failure).split(" (")[0]
        rows.append(
            {
                "end": end,
                "tolerance": tolerance,
                "gradient": name,
                "error": error,
                "calls": field.calls,
                "ms": 1e3 * (time.perf_counter() - began),
                "outcome": outcome,
                "warned": "yes" if caught else "no",
            }
        )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Errors of the gradients against tolerance, for both ends."""
    import matplotlib.pyplot as plt

    ends = list(dict.fromkeys(row["end"] for row in rows))
    figure, panels = plt.subplots(
        1, len(ends), figsize=(5 * len(ends), 4), layout="constrained", sharey=True, squeeze=False
    )
    markers = dict(zip(dict.fromkeys(row["gradient"] for row in rows), "o+sdx"))
    for axes, end in zip(panels[0], ends):
        for name, marker in markers.items():
            own = [row for row in rows if row["end"] == end and row["gradient"] == name]
            found = [row for row in own if np.isfinite(row["error"])]
            lost = f" ({len(own) - len(found)} of {len(own)} came to no end)" if len(found) < len(own) else ""
            x, y = [row["tolerance"] for row in found] or [np.nan], [row["error"] for row in found] or [np.nan]
            axes.loglog(x, y, marker=marker, label=name + lost, fillstyle="none")
        axes.set(title=f"Lorenz, observed at t = {end:g}", xlabel="tolerance")
        axes.legend(fontsize="small")
        axes.set_ylim(1e-10, 1e2)
    panels[0, 0].set_ylabel("error of the gradient")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "backsolve_lorenz.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        rows = compare(1.0, 1e-6, 5000)
    else:
        rows = [row for end in (1.0, 5.0) for tolerance in TOLERANCES for row in compare(end, tolerance, CALLS)]
    report(rows, arguments, machine("torch", "torchdiffeq", "scipy"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
