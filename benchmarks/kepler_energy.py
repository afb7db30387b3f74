"""The energy of a planet over 10,000 periods: symplectic methods keep it within bounds, others of their order do not.

A planet of eccentricity 0.3, energy -0.5, in equal steps (`steps` in each period). `first` and `last` are the largest
errors of the energy in the first and in the last tenth of all periods; `drift` is their ratio, 1 where the error is bounded.
RK4 and Dopri5 take a hundredth of the periods, in which their energy has drifted by more than that of the others ever does.
"""

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from sciml.scripts import machine, options, report
from sciml.solvers import RK4, AbstractSolver, Dopri5, Leapfrog, Yoshida4, Yoshida6, solve

ECCENTRICITY = 0.3


class Planet:
    """Position and velocity around a sun of unit mass."""

    momenta = (2, 3)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change."""
        q, v = y[..., :2], y[..., 2:]
        return torch.cat([v, -q * (q * q).sum(dim=-1, keepdim=True) ** -1.5], dim=-1)


def energies(solver: AbstractSolver, periods: int, outputs: int) -> Tensor:
    """Energies at equal distances in time; a solve for every hundredth of the periods, from where the last one ended."""
    y = torch.tensor(
        [1 - ECCENTRICITY, 0.0, 0.0, math.sqrt((1 + ECCENTRICITY) / (1 - ECCENTRICITY))], dtype=torch.float64
    )
    parts = min(100, periods)
    ts = torch.linspace(0.0, 2 * math.pi * periods / parts, outputs // parts + 1, dtype=torch.float64)
    found = []
    for _ in range(parts):
        ys = solve(Planet(), y, ts, solver=solver, max_steps=10**7).ys
        found.append(0.5 * ys[:, 2:].square().sum(dim=1) - 1 / ys[:, :2].norm(dim=1))
        y = ys[-1]
    return torch.cat(found)


def draw(curves: dict[str, Tensor], folder: Path) -> None:
    """Largest errors so far against time."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (periods, errors) in curves.items():
        x = torch.linspace(0, periods, len(errors) + 1)[1:]
        axes.loglog(x, errors.cummax(dim=0).values, label=name)
    axes.set(xlabel="periods", ylabel="largest relative error of the energy so far")
    axes.legend(fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "kepler_energy.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    periods = 20 if arguments.quick else 10_000
    contestants = [(Leapfrog, 30, 1), (Yoshida4, 20, 1), (Yoshida6, 20, 1), (RK4, 60, 100), (Dopri5, 40, 100)]
    rows: list[dict[str, object]] = []
    curves = {}
    with torch.no_grad():
        for method, steps, share in contestants:
            solver, own = method(step=2 * math.pi / steps * (1 + 1e-9)), max(10, periods // share)
            start = time.perf_counter()
            errors = (energies(solver, own, 2 * steps * min(own, 500)) + 0.5).abs() / 0.5
            tenth = len(errors) // 10
            first, last = float(errors[:tenth].max()), float(errors[-tenth:].max())
            rows.append(
                {
                    "method": method.__name__,
                    "steps": steps,
                    "periods": own,
                    "largest": float(errors.max()),
                    "first": first,
                    "last": last,
                    "drift": last / first,
                    "seconds": time.perf_counter() - start,
                }
            )
            curves[f"{method.__name__}, {steps} steps a period"] = own, errors
    report(rows, arguments, machine("torch"))
    if arguments.out:
        draw(curves, arguments.out)


if __name__ == "__main__":
    main()
