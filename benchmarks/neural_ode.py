"""A neural ODE, forward and with its gradient, against torchdiffeq and torchode.

A 64-256-256-64 tanh network on a batch of 512 states, to t = 1 with five outputs, float32, one thread, rtol = atol =
1e-4, dopri5 in all. The contestants take turns in one process. torchdiffeq takes one step size for the batch, the
others one for each row. `faster` is the median over the rounds of torchdiffeq's time over the contestant's; `calls`
counts calls of the field while the solution is found.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import _peers as peers
import torch
from torch import Tensor, nn

from sciml.scripts import interleaved, machine, median_ratio, options, report
from sciml.solvers import Checkpointed, Direct, Dopri5, Tsit5, solve

BATCH, STATE, HIDDEN, TOLERANCE = 512, 64, 256, 1e-4


class Network(nn.Module):
    """The right-hand side."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Linear(STATE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, STATE))
        self.layers = nn.Sequential(*layers)
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change."""
        self.calls += 1
        return self.layers(y)


def solvers(field: Network, y0: Tensor, ts: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Final states by name; torchdiffeq comes first."""
    from torchdiffeq import odeint

    def ours(solver: Tsit5 | Dopri5, gradients: Direct | Checkpointed) -> Callable[[], Tensor]:
        settings = {"solver": solver, "gradients": gradients, "rtol": TOLERANCE, "atol": TOLERANCE}
        return lambda: solve(field, y0, ts, **settings).ys[:, -1]

    contestants = {
        "torchdiffeq dopri5": lambda: odeint(field, y0, ts, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")[-1]
    }
    if peers.installed("torchode"):
        contestants["torchode dopri5"] = torchode(field, y0, ts)
    return contestants | {
        "Dopri5, Direct()": ours(Dopri5(), Direct()),
        "Tsit5, Direct()": ours(Tsit5(), Direct()),
        "Dopri5, Checkpointed()": ours(Dopri5(), Checkpointed()),
    }


def torchode(field: Network, y0: Tensor, ts: Tensor) -> Callable[[], Tensor]:
    """The final states by torchode."""
    import torchode

    term = torchode.ODETerm(field)
    controller = torchode.IntegralController(atol=TOLERANCE, rtol=TOLERANCE, term=term)
    solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), controller)
    problem = torchode.InitialValueProblem(y0=y0, t_eval=ts.expand(len(y0), -1))
    return lambda: solver.solve(problem).ys[:, -1]


def compare(rounds: int) -> list[dict[str, object]]:
    """The table's rows."""
    field = Network()
    final = solvers(field, torch.randn(BATCH, STATE), torch.linspace(0.0, 1.0, 5))

    def forward(find: Callable[[], Tensor]) -> Callable[[], object]:
        return torch.no_grad()(find)

    def gradient(find: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(find().square().mean(), list(field.parameters()))

    rows: list[dict[str, object]] = []
    for task, build in (("forward", forward), ("loss and gradient", gradient)):
        names = [name for name in final if task != "forward" or "Checkpointed" not in name]
        times = interleaved({name: build(final[name]) for name in names}, rounds)
        for name in names:
            field.calls = 0
            build(final[name])()
            rows.append(
                {
                    "task": task,
                    "contestant": name,
                    "ms": 1e3 * statistics.median(times[name]),
                    "calls": field.calls,
                    "faster": median_ratio(times[name], times["torchdiffeq dopri5"]),
                }
            )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Bars of how many times faster each contestant is."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    axes.barh([f"{row['contestant']}, {row['task']}" for row in rows][::-1], [row["faster"] for row in rows][::-1])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than torchdiffeq")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "neural_ode.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    rows = compare(1 if arguments.quick else 7)
    report(rows, arguments, machine("torch", "torchdiffeq", "torchode"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
