"""Loss and gradient of a universal differential equation natively, against diffrax and torchdiffeq.

Lotka-Volterra with both interactions learned by a tanh network, 31 points on [0, 3], float64, rtol = atol = 1e-6;
ours is `problem.value_and_gradient(vector)`. All take turns in one process, on one thread. `ours faster` is the
median over the rounds of the contestant's time over ours; `difference` is the largest difference of the gradient by
the weights from ours, over its largest entry. `floor us` is what the network's multiplications alone would take at
the speed of a large matrix product.
"""

import statistics
from itertools import pairwise
from pathlib import Path

import _peers as peers
import numba
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sciml.scripts import interleaved, machine, median_ratio, options, report


def compare(hidden: tuple[int, ...], rounds: int, seed: int) -> list[dict[str, object]]:
    """The table's rows for one network."""
    problem, widths = peers.problem(hidden, np.array([peers.START])), (2, *hidden, 2)
    vector = problem.initial(seed)
    size = sum((a + 1) * b for a, b in pairwise(widths))
    contestants = {"native": lambda: problem.value_and_gradient(vector)[1][:size]}
    found = peers.installed("diffrax", "torchdiffeq")
    if "diffrax" in found:
        contestants["diffrax"], _ = peers.diffrax(widths, vector[:size], *peers.arrays(problem))
    if "torchdiffeq" in found:
        contestants["torchdiffeq"], _ = peers.torchdiffeq(widths, vector[:size], *peers.arrays(problem))
    reference = contestants["native"]()
    times = interleaved(contestants, rounds)
    evaluations = 6 * int(problem.loss._native._loss.shots["steps"].sum())
    return [
        {
            "network": "-".join(map(str, widths)),
            "contestant": name,
            "us": 1e6 * statistics.median(times[name]),
            "ours faster": median_ratio(times["native"], times[name]),
            "difference": peers.difference(run(), reference),
            "floor us": 1e6 * peers.flop_floor(evaluations, widths, passes=3),
        }
        for name, run in contestants.items()
    ]


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Bars of the times, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.barh([f"{row['contestant']}, {row['network']}" for row in rows][::-1], [row["us"] for row in rows][::-1])
    axes.set(xscale="log", xlabel="loss and gradient, µs")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "native_gradient.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    rounds = 5 if arguments.quick else 30
    with threadpool_limits(1):
        rows = [row for hidden in ((32, 32), (5, 5, 5)) for row in compare(hidden, rounds, arguments.seed)]
    report(rows, arguments, machine("numba", "torch", "torchdiffeq", "diffrax"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
