"""Loss and gradient of a universal differential equation, against torchdiffeq with backpropagation.

The model is Lotka-Volterra with both interactions learned by a 2-32-32-2 tanh network; the loss is the mean
square against a reference trajectory at 31 times on [0, 3]. All contestants use float64, one thread and
rtol = atol = 1e-6, and take turns in one process. `faster` is the median over the rounds of torchdiffeq's
time over the contestant's; `calls` counts calls of the field, and `difference` is the largest relative
difference of the gradient from that at a tolerance of 1e-11.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sciml.scripts import interleaved, machine, median_ratio, options, report
from sciml.solvers import Direct, Dopri5, Tsit5, solve


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


def gradient(field: LotkaVolterra, loss: Callable[[], Tensor]) -> Tensor:
    """The gradient of the loss by all weights, as one vector."""
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss(), tuple(field.parameters()))])


def contestants(field: LotkaVolterra, y0: Tensor, ts: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Losses by name; torchdiffeq comes first."""
    from torchdiffeq import odeint

    reference = solve(truth, y0, ts, rtol=1e-9, atol=1e-9).ys
    reference = reference if y0.ndim == 1 else reference.transpose(0, 1)

    def theirs() -> Tensor:
        ys = odeint(field, y0, ts, rtol=1e-6, atol=1e-6, method="dopri5")
        return (ys - reference).square().mean()

    def ours(solver: Tsit5 | Dopri5, gradients: Direct, tolerance: float = 1e-6) -> Tensor:
        ys = solve(field, y0, ts, solver=solver, rtol=tolerance, atol=tolerance, gradients=gradients).ys
        return (ys - (reference if y0.ndim == 1 else reference.transpose(0, 1))).square().mean()

    return {
        "torchdiffeq dopri5": theirs,
        "Tsit5, Direct()": partial(ours, Tsit5(), Direct()),
        "Dopri5, Direct()": partial(ours, Dopri5(), Direct()),
        "Tsit5, Direct(parallel=False)": partial(ours, Tsit5(), Direct(parallel=False)),
        "Tsit5, Direct(parallel=True)": partial(ours, Tsit5(), Direct(parallel=True)),
        "exact": partial(ours, Tsit5(), Direct(), tolerance=1e-11),
    }


def compare(batch: int, rounds: int) -> list[dict[str, object]]:
    """The table's rows for one trajectory (batch 0) or a batch of nearby ones."""
    field = LotkaVolterra()
    y0 = torch.tensor([0.44249296, 4.6280594])
    if batch:
        y0 = y0 * (1 + 0.1 * torch.rand(batch, 2))
    losses = contestants(field, y0, torch.linspace(0.0, 3.0, 31))
    exact = gradient(field, losses.pop("exact"))
    times = interleaved({name: partial(gradient, field, loss) for name, loss in losses.items()}, rounds)
    rows: list[dict[str, object]] = []
    for name, loss in losses.items():
        field.calls = 0
        found = gradient(field, loss)
        rows.append(
            {
                "trajectories": batch or 1,
                "contestant": name,
                "ms": 1e3 * statistics.median(times[name]),
                "calls": field.calls,
                "faster": median_ratio(times[name], times["torchdiffeq dopri5"]),
                "difference": float((found - exact).abs().max() / exact.abs().max()),
            }
        )
    return rows


def draw(rows: list[dict[str, object]], folder: Path) -> None:
    """Bars of how many times faster each contestant is."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    labels = [f"{row['contestant']}, {row['trajectories']}" for row in rows]
    axes.barh(labels[::-1], [row["faster"] for row in rows][::-1])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than torchdiffeq (contestant, trajectories)")
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
    report(rows, arguments, machine("torch", "torchdiffeq"))
    if arguments.out:
        draw(rows, arguments.out)


if __name__ == "__main__":
    main()
