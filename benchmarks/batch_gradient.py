"""Loss and gradient over 256 trajectories in one Problem, against diffrax, torchode and torchdiffeq.

The model of `native_gradient.py` from 256 initial values, all of them fitted; float64, rtol = atol = 1e-6. diffrax
maps over the trajectories with vmap; torchdiffeq takes one step size for all, torchode and ours one for each. All
take turns in one process, on one thread but for "native, two threads". `ours faster` is the median over the rounds of
the contestant's time over ours on one thread (below 1 is faster than that; two threads mean something only while no
other program uses the second core). `difference` is that of the gradient (or of the states) from ours, over the
largest entry; `floor ms` what the multiplications alone take at the speed of a large matrix product.
"""

import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import _peers as peers
import numba
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sciml import compile, simulate
from sciml.lowering.native_model import native_model
from sciml.measurement.native_evaluator import architectures, programs
from sciml.native.solve import solve
from sciml.scripts import interleaved, machine, median_ratio, options, report

WIDTHS = (2, 32, 32, 2)


def on_threads(count: int, run: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """The same call on this many threads of numba."""

    def limited() -> np.ndarray:
        numba.set_num_threads(count)
        result = run()
        numba.set_num_threads(1)
        return result

    return limited


def compare(count: int, rounds: int, seed: int, threads: int) -> list[dict[str, object]]:
    """The table's rows."""
    rng = np.random.default_rng(seed)
    problem = peers.problem(WIDTHS[1:-1], np.array(peers.START) * (1 + 0.1 * rng.uniform(size=(count, 2))))
    vector, size = problem.initial(seed), sum((a + 1) * b for a, b in pairwise(WIDTHS))
    weights, (ts, data) = vector[:size], peers.arrays(problem)
    field = compile(problem.declared, seed)
    starts = dict(zip(field.system.states, data[:, 0].T))

    def gradient() -> np.ndarray:
        return problem.value_and_gradient(vector)[1][:size]

    def forward() -> np.ndarray:
        return simulate(field, ts, initial=starts, rtol=peers.TOLERANCE, atol=peers.TOLERANCE, backend="native").states

    work = {"loss and gradient": {"native": on_threads(1, gradient)}, "forward": {"native": on_threads(1, forward)}}
    if threads > 1:
        work["loss and gradient"]["native, two threads"] = on_threads(2, gradient)
    for name in ("diffrax", "torchode", "torchdiffeq"):
        if name in peers.installed(name):
            pair = getattr(peers, name)(WIDTHS, weights, ts, data)
            work["loss and gradient"][name], work["forward"][name] = pair
    rows: list[dict[str, object]] = []
    model = native_model(programs(problem), architectures(field.networks), free=2)
    evaluations = 6 * int(solve(model, weights, data[:, 0], ts, inputs=np.ones(1)).steps.sum())
    for task, contestants in work.items():
        times, reference = interleaved(contestants, rounds), contestants["native"]()
        floor = 1e3 * peers.flop_floor(evaluations, WIDTHS, passes=1 if task == "forward" else 3)
        for name, run in contestants.items():
            rows.append(
                {
                    "task": task,
                    "contestant": name,
                    "ms": 1e3 * statistics.median(times[name]),
                    "ours faster": median_ratio(times["native"], times[name]),
                    "difference": peers.difference(run(), reference),
                    "floor ms": floor,
                }
            )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Bars of the times, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.barh([f"{row['contestant']}, {row['task']}" for row in rows][::-1], [row["ms"] for row in rows][::-1])
    axes.set(xscale="log", xlabel="ms")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "batch_gradient.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    with threadpool_limits(1):
        if arguments.quick:
            # One thread alone: the kernels for several need not be compiled.
            rows = compare(32, 3, arguments.seed, threads=1)
        else:
            rows = compare(256, 15, arguments.seed, numba.config.NUMBA_NUM_THREADS)
    report(rows, arguments, machine("numba", "torch", "torchdiffeq", "torchode", "diffrax"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
