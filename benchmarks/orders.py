"""The order of every method as observed, at the ends of steps and between them, beside theory.

A driven pendulum (not autonomous, not linear) is solved to t = 4 in equal steps of three lengths; `observed` is the slope
of the logarithm of the error against that of the length. `between` is the same for the largest error of the dense output
of a rotation, at 777 times; `expected` there is the dense output's order plus one, or the method's own order where that
is less. The lengths lie between the asymptotic range and rounding.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciml.scripts import machine, options, report
from sciml.solvers import AbstractSolver, Dopri8, solve

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from problems import METHODS, driven, rotation

END = 4.0
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def grid(end: float) -> Tensor:
    """From 0 to the end."""
    return torch.tensor([0.0, end], dtype=torch.float64)


def slope(steps: np.ndarray, errors: list[float]) -> float:
    """The observed order."""
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def at_ends(method, counts: tuple[int, ...], strength: float) -> tuple[np.ndarray, list[float]]:
    """Lengths of steps and errors at the end."""
    field = driven(torch.tensor([strength, 0.3, 0.5], dtype=torch.float64))
    start = torch.tensor([1.0, 0.3], dtype=torch.float64)

    def end(solver: AbstractSolver) -> Tensor:
        return solve(field, start, grid(END), solver=solver, **TIGHT).ys[-1]

    reference, steps = end(Dopri8(step=0.01)), END / np.array(counts)
    return steps, [float((end(method(step)) - reference).norm()) for step in steps]


def between(method, counts: tuple[int, ...]) -> tuple[np.ndarray, list[float]]:
    """Lengths of steps and the largest errors of the dense output."""
    times, steps = torch.linspace(0, rotation.end, 777, dtype=torch.float64), rotation.end / np.array(counts)
    errors = []
    for step in steps:
        solution = solve(rotation.field, rotation.y0, grid(rotation.end), solver=method(step), dense=True, **TIGHT)
        errors.append(float((solution.evaluate(times) - rotation.exact(times)).abs().max()))
    return steps, errors


def draw(curves: dict[str, tuple[np.ndarray, list[float]]], folder: Path) -> None:
    """Errors against lengths of steps."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    for i, (name, (steps, errors)) in enumerate(curves.items()):
        axes.loglog(steps, errors, "os^vD"[i % 5] + "-", markersize=4, color=f"C{i % 10}", label=name)
    axes.set(xlabel="length of a step (s)", ylabel="error of the driven pendulum at t = 4 s (rad, rad/s)")
    axes.legend(ncols=1, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "orders.png", dpi=150)


def main() -> None:
    """Run the table."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    names = ("RK4", "Tsit5", "Kvaerno3", "Leapfrog") if arguments.quick else tuple(METHODS)
    rows, curves = [], {}
    with torch.no_grad():
        for name in names:
            method, order, counts = METHODS[name]
            # Leading errors of Tsit5 are so small that a weak pendulum's reach rounding before they lead.
            curves[name] = at_ends(method, counts, 4.0 if name == "Tsit5" else 1.0)
            dense = between(method, (12, 16, 24, 32) if order == 8 else (32, 48, 64, 96))
            expected = min(order, method(0.1).tableau.dense_order + 1)
            rows.append(
                {
                    "method": name,
                    "order": order,
                    "observed": slope(*curves[name]),
                    "between, expected": expected,
                    "between": slope(*dense),
                }
            )
    worst = max(max(abs(r["observed"] - r["order"]), abs(r["between"] - r["between, expected"])) for r in rows)
    report(rows, arguments, machine("torch"))
    print(f"largest difference from theory: {worst:.3f}")
    if arguments.out:
        draw(curves, arguments.out)


if __name__ == "__main__":
    main()
