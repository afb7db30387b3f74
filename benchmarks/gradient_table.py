"""Gradients of every method in every mode, against finite differences and against each other.

A driven pendulum, its gradient by the initial state and three parameters. `differences` is the largest relative difference
of `Direct(parallel=False)`, step by step, from central differences of order 4; the other columns are those of the other
modes from it. `Backsolve()` has the gradient of the exact solution, not of the numbers computed: it differs by the error of
the method (by that of the tolerance, where steps are adaptive). Newton's iteration of the Kvaerno methods ends within a
thousandth of the tolerance, and the modes see the stage before and after the rest.
"""

import sys
from pathlib import Path

import torch

from sciml.scripts import machine, options, report
from sciml.solvers import AbstractSolver, Backsolve, Checkpointed, Direct

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_gradient_modes import LOOSE, SOLVERS, differences, gradient, loss, relative_error, state, weights

MODES = {
    "Direct(parallel=True)": Direct(parallel=True),
    "Checkpointed()": Checkpointed(),
    "Checkpointed(segments=3)": Checkpointed(segments=3),
    "Backsolve()": Backsolve(),
}


def forward_mode(solver: AbstractSolver, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same gradient by `torch.func.jacfwd`."""
    y0, w = state(False).detach(), weights().detach()
    return torch.func.jacfwd(lambda y, x: loss(y, x, solver, tolerance=tolerance), argnums=(0, 1))(y0, w)


def compare(name: str) -> dict[str, object]:
    """The table's row for one method."""
    solver, y0, w = SOLVERS[name], state(False), weights()
    tolerance = LOOSE.get(name, 1e-9 if "Kvaerno" in name else 1e-10)
    direct = gradient(solver, Direct(parallel=False), tolerance=tolerance)
    exact = (
        differences(lambda x: loss(x, w, solver, tolerance=tolerance), y0),
        differences(lambda x: loss(y0, x, solver, tolerance=tolerance), w),
    )
    row: dict[str, object] = {"method": name, "differences": relative_error(direct, exact)}
    for mode, gradients in MODES.items():
        row[mode] = relative_error(gradient(solver, gradients, tolerance=tolerance), direct)
    row["jacfwd"] = relative_error(forward_mode(solver, tolerance), direct)
    return row


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Differences by method and mode."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    names = [str(row["method"]) for row in rows]
    for k, mode in enumerate(list(rows[0])[1:]):
        values = [max(float(row[mode]), 1e-17) for row in rows]  # pyright: ignore[reportArgumentType]
        axes.semilogx(values, range(len(rows)), "osD^vP"[k], label=mode)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("largest relative difference (1e-17: none)")
    axes.grid(axis="y", linewidth=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "gradient_table.png", dpi=150)


def main() -> None:
    """Run the table."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    names = ("RK4(step=0.1)", "Kvaerno5(step=0.2)", "Leapfrog(step=0.1)") if arguments.quick else tuple(SOLVERS)
    rows = [compare(name) for name in names]
    report(rows, arguments, machine("torch"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
