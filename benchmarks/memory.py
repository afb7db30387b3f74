"""Peak memory of a loss and its gradient against the number of steps: Direct() linear, Checkpointed() as the root.

A 64-64-64 tanh network on a batch of 64 states is solved with RK4 in uniform steps, in a process of its own for each
row. `MiB` is by how much the peak of the resident memory rises above that before the solve; `growth` is the exponent of
the number of steps from the row before: 1 is linear, 0.5 the square root.
"""

import math
import subprocess
import sys
from pathlib import Path

from sciml.scripts import machine, options, report

PROBE = """
import resource, sys, torch
from sciml.solvers import RK4, Checkpointed, Direct, solve
torch.set_num_threads(1)
torch.manual_seed(int(sys.argv[3]))
network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64))
y0, steps = torch.randn(64, 64), int(sys.argv[2])
modes = {"Direct()": Direct(parallel=False), "Checkpointed()": Checkpointed()}
def gradient(count):
    ts, options = torch.tensor([0.0, 1.0]), {"solver": RK4(step=1.0 / count), "gradients": modes[sys.argv[1]]}
    ys = solve(lambda t, y: network(y) - y, y0, ts, **options).ys
    torch.autograd.grad(ys[:, -1].square().mean(), list(network.parameters()))
gradient(4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
gradient(steps)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def peak(mode: str, steps: int, seed: int) -> float:
    """Rise of the peak memory in MiB, measured in a fresh process."""
    arguments = [sys.executable, "-c", PROBE, mode, str(steps), str(seed)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Memory against steps, on logarithmic axes."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for mode in ("Direct()", "Checkpointed()"):
        points = [(row["steps"], row["MiB"]) for row in rows if row["gradients"] == mode]
        axes.loglog(*zip(*points), "o-", label=mode)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("steps")
    axes.set_ylabel("peak memory (MiB)")
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "memory.png", dpi=150)


def main() -> None:
    """Run the measurements."""
    arguments = options(__doc__ or "").parse_args()
    counts = (64, 256) if arguments.quick else (256, 1024, 4096)
    rows: list[dict[str, object]] = []
    for mode in ("Direct()", "Checkpointed()"):
        last = None
        for steps in counts:
            found = peak(mode, steps, arguments.seed)
            growth = (
                math.nan
                if last is None
                else math.log(max(found, 1e-3) / max(last, 1e-3)) / math.log(counts[1] / counts[0])
            )
            rows.append({"gradients": mode, "steps": steps, "MiB": found, "growth": growth})
            last = found
    report(rows, arguments, machine("torch"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
