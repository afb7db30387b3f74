"""A universal differential equation, forward and with its gradient, against torchdiffeq and torchode.

The model is Lotka-Volterra with both interactions learned by a 2-32-32-2 tanh network; the loss is the mean
square against a reference trajectory at 31 times on [0, 3], for one trajectory and for batches of nearby ones. All
contestants use float64, one thread and rtol = atol = 1e-6, and take turns in one process. torchdiffeq takes one step
size for a batch, torchode and ours one for each trajectory. `faster` is the median over the rounds of torchdiffeq's
time over the contestant's; `calls` counts calls of the field, and `difference` is the largest relative difference of
the states or the gradient from those at a tolerance of 1e-11.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _peers as peers
import torch
from torch import Tensor, nn

from sciml.scripts import interleaved, machine, median_ratio, options, report
from sciml.solvers import Direct, Dopri5, Tsit5, solve

TOLERANCE = 1e-6


class LotkaVolterra(nn.Module):
    """dx = alpha x - N1(x, y), dy = N2(x, y) - delta y."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
        self.register_buffer("rates", torch.tensor([1.3, -1.8]))
        self.register_buffer("signs", torch.tensor([-1.0, 1.0]))
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Rates of change of prey and predator."""
        self.calls += 1
        return self.rates * y + self.signs * self.network(y)


def truth(t: Tensor, y: Tensor) -> Tensor:
    """The system that the reference comes from."""
    product = 0.9 * y[..., :1] * y[..., 1:]
    return torch.cat([1.3 * y[..., :1] - product, product - 1.8 * y[..., 1:]], dim=-1)


def torchode(field: LotkaVolterra, y0: Tensor, ts: Tensor) -> Callable[[], Tensor]:
    """States by torchode, one trajectory as a batch of one."""
    import torchode

    term = torchode.ODETerm(field)
    controller = torchode.IntegralController(atol=TOLERANCE, rtol=TOLERANCE, term=term)
    solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), controller)
    rows = y0.reshape(-1, 2)
    problem = torchode.InitialValueProblem(y0=rows, t_eval=ts.expand(len(rows), -1))
    return lambda: solver.solve(problem).ys.view(*y0.shape[:-1], len(ts), 2)


def contestants(field: LotkaVolterra, y0: Tensor, ts: Tensor) -> dict[str, Callable[[], Tensor]]:
    """States by name; torchdiffeq comes first, what is exact last."""
    from torchdiffeq import odeint

    def theirs() -> Tensor:
        ys = odeint(field, y0, ts, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
        return ys if y0.ndim == 1 else ys.transpose(0, 1)

    def ours(solver: Tsit5 | Dopri5, gradients: Direct, tolerance: float = TOLERANCE) -> Tensor:
        return solve(field, y0, ts, solver=solver, rtol=tolerance, atol=tolerance, gradients=gradients).ys

    others = {"torchode dopri5": torchode(field, y0, ts)} if peers.installed("torchode") else {}
    return {
        "torchdiffeq dopri5": theirs,
        **others,
        "Tsit5, Direct()": partial(ours, Tsit5(), Direct()),
        "Dopri5, Direct()": partial(ours, Dopri5(), Direct()),
        "Tsit5, Direct(parallel=False)": partial(ours, Tsit5(), Direct(parallel=False)),
        "Tsit5, Direct(parallel=True)": partial(ours, Tsit5(), Direct(parallel=True)),
        "exact": partial(ours, Tsit5(), Direct(), tolerance=1e-11),
    }


def compare(batch: int, rounds: int) -> list[dict[str, object]]:
    """The table's rows for one trajectory (batch 0) or a batch of nearby ones."""
    field, ts = LotkaVolterra(), torch.linspace(0.0, 3.0, 31)
    y0 = torch.tensor([0.44249296, 4.6280594])
    if batch:
        y0 = y0 * (1 + 0.1 * torch.rand(batch, 2))
    reference = solve(truth, y0, ts, rtol=1e-9, atol=1e-9).ys
    found = contestants(field, y0, ts)

    def gradient(states: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def slopes() -> Tensor:
            loss = (states() - reference).square().mean()
            return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, tuple(field.parameters()))])

        return slopes

    rows: list[dict[str, object]] = []
    for task, build in (("forward", torch.no_grad()), ("loss and gradient", gradient)):
        # Without a graph, the ways to differentiate are the same.
        runs = {name: build(states) for name, states in found.items() if task != "forward" or "parallel" not in name}
        exact = runs.pop("exact")()
        times = interleaved(runs, rounds)
        for name, run in runs.items():
            field.calls = 0
            result = run()
            rows.append(
                {
                    "trajectories": batch or 1,
                    "task": task,
                    "contestant": name,
                    "ms": 1e3 * statistics.median(times[name]),
                    "calls": field.calls,
                    "faster": median_ratio(times[name], times["torchdiffeq dopri5"]),
                    "difference": float((result - exact).abs().max() / exact.abs().max()),
                }
            )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Bars of how many times faster each contestant is."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 8), layout="constrained")
    labels = [f"{row['contestant']}, {row['task']}, {row['trajectories']}" for row in rows]
    axes.barh(labels[::-1], [row["faster"] for row in rows][::-1])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than torchdiffeq (contestant, task, trajectories)")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "ude_gradient.png", dpi=150)


def main() -> None:
    """Run the comparison."""
    arguments = options(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(arguments.seed)
    rounds = 2 if arguments.quick else 15
    rows = [row for batch in (0, 16, 256) for row in compare(batch, rounds)]
    report(rows, arguments, machine("torch", "torchdiffeq", "torchode"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
