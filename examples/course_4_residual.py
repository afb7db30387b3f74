"""Residual networks as steps of a solver: depth to infinity, neural ODEs, a normalizing flow, irregular series.

First a residual network of L layers with steps 1/L beside the differential equation it approaches: its states and
gradients come closer with order 1, 2 or 4 for blocks of Euler, midpoint and RK4, and without the 1/L there is no limit.
Then three models trained with adaptive solvers: a neural ODE that reads handwritten digits, and is refined in depth after
training; a continuous normalizing flow on two moons, whose density integrates to one; and a latent ODE of pendulums seen
at irregular times, beside a GRU that is told the gaps. Figures for all of them.
"""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, make_moons
from torch import nn

import sciml
from sciml import RK4, Backsolve, Dopri5, Euler, Midpoint, Tsit5, models
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report


def row(statement: str, theory: float, measured: float) -> dict[str, object]:
    return {"statement": statement, "theory": float(theory), "measured": float(measured)}


class Field(nn.Module):
    """A rate of change that depends on depth t: two layers whose input holds t."""

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.first, self.second = nn.Linear(size + 1, hidden), nn.Linear(hidden, size)

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        depth = (t * torch.ones_like(y[..., :1])).to(y.dtype)
        return self.second(torch.tanh(self.first(torch.cat([y, depth], dim=-1))))


def depth(
    seed: int,
) -> tuple[list[dict[str, object]], dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """Errors of states and gradients over the number of layers; states without the factor 1/L."""
    torch.manual_seed(seed)
    field, start = Field(8, 16).double(), torch.randn(8, dtype=torch.float64)
    span = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def run(**options) -> tuple[torch.Tensor, torch.Tensor]:
        end = sciml.solve(field, start, span, **options).ys[-1]
        gradients = torch.autograd.grad((end**2).sum(), list(field.parameters()))
        return end.detach(), torch.cat([g.reshape(-1) for g in gradients])

    exact, slope = run(solver=Dopri5(), rtol=1e-12, atol=1e-13)
    layers, rows, curves = np.array([4, 8, 16, 32, 64]), [], {}
    for order, block in {1: Euler, 2: Midpoint, 4: RK4}.items():
        runs = [run(solver=block(step=1 / int(count))) for count in layers]
        states = np.array([float((end - exact).norm()) for end, _ in runs])
        gradients = np.array([float((gradient - slope).norm()) for _, gradient in runs])
        curves[block.__name__] = layers, states, gradients
        for what, errors in (("states", states), ("gradients", gradients)):
            fitted = -np.polyfit(np.log(layers[1:]), np.log(errors[1:]), 1)[0]
            rows.append(row(f"{block.__name__} blocks, {what}: order in 1/L", order, fitted))
    sizes = []
    for count in layers:
        y = start
        with torch.no_grad():
            for layer in range(count):
                y = y + field(torch.tensor(layer / count), y)
        sizes.append(float(y.norm()))
    rows.append(row("without 1/L: |x_64| / |x_32| (a limit would be 1)", 2, sizes[-1] / sizes[-2]))
    return rows, curves, np.array(sizes)


class Classifier(nn.Module):
    """Pixels to 32 numbers, an ODE of depth 1, and a linear layer to ten classes."""

    def __init__(self):
        super().__init__()
        self.begin, self.field, self.head = nn.Linear(64, 32), Field(32, 64), nn.Linear(32, 10)

    def forward(self, pixels: torch.Tensor, **options) -> torch.Tensor:
        span = torch.tensor([0.0, 1.0], dtype=pixels.dtype)
        return self.head(sciml.solve(self.field, torch.tanh(self.begin(pixels)), span, **options).ys[:, -1])


def digits(seed: int, epochs: int) -> tuple[list[dict[str, object]], dict[int, float]]:
    """A neural ODE trained at 1e-3 with the adjoint, tested at 1e-3 and 1e-5 and with fixed numbers of layers."""
    torch.manual_seed(seed)
    data = load_digits()
    order = torch.randperm(len(data.data))
    pixels, labels = torch.tensor(data.data / 8 - 1)[order], torch.tensor(data.target)[order]
    train, test = slice(0, 1437), slice(1437, None)
    net = Classifier().double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(1437).split(128):
            optimizer.zero_grad()
            noisy = pixels[train][batch] + 0.2 * torch.randn(len(batch), 64, dtype=torch.float64)
            scores = net(noisy, solver=Tsit5(), rtol=1e-3, atol=1e-3, gradients=Backsolve())
            nn.functional.cross_entropy(scores, labels[train][batch]).backward()
            optimizer.step()
        schedule.step()

    def accuracy(**options) -> float:
        with torch.no_grad():
            return float((net(pixels[test], **options).argmax(dim=-1) == labels[test]).double().mean())

    loose, tight = accuracy(rtol=1e-3, atol=1e-3), accuracy(rtol=1e-5, atol=1e-5)
    refined = {layers: accuracy(solver=Euler(step=1 / layers)) for layers in (1, 2, 4, 8, 16, 32)}
    rows = [
        row("digits: test accuracy, at least 0.97", 0.97, loose),
        row("digits: change when tolerances are 100 times tighter", 0, tight - loose),
        row("digits: change with 32 layers of Euler instead", 0, refined[32] - loose),
    ]
    return rows, refined


class Flow(nn.Module):
    """A field of the plane with the exact divergence beside it: what a continuous normalizing flow integrates."""

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.first, self.second = nn.Linear(3, hidden), nn.Linear(hidden, 2)

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        depth = (t * torch.ones_like(y[..., :1])).to(y.dtype)
        active = torch.tanh(self.first(torch.cat([y[..., :2], depth], dim=-1)))
        loop = (self.first.weight[:, :2] * self.second.weight.T).sum(dim=1)
        return torch.cat([self.second(active), ((1 - active**2) @ loop)[..., None]], dim=-1)


def log_density(flow: Flow, points: torch.Tensor, **options) -> torch.Tensor:
    """From the data back to a standard normal: log p(x) = log N(z) + ∫ div."""
    start = torch.cat([points, torch.zeros_like(points[:, :1])], dim=-1)
    span = torch.tensor([0.0, 1.0], dtype=points.dtype)
    end = sciml.solve(flow, start, span, **options).ys[:, -1]
    return -(end[:, :2] ** 2).sum(dim=-1) / 2 - math.log(2 * math.pi) + end[:, 2]


def moons(seed: int, steps: int) -> tuple[list[dict[str, object]], tuple]:
    """A continuous normalizing flow by maximum likelihood, its density on a grid, and samples."""
    torch.manual_seed(seed)
    points, _ = make_moons(4000, noise=0.07, random_state=seed)
    scaled = torch.tensor((points - points.mean(axis=0)) / points.std(axis=0))
    train, test = scaled[:3000], scaled[3000:]
    flow = Flow().double()
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        batch = train[torch.randint(len(train), (256,))]
        (-log_density(flow, batch, solver=Tsit5(), rtol=1e-4, atol=1e-4).mean()).backward()
        optimizer.step()
        schedule.step()
    side = torch.linspace(-5, 5, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        density = log_density(flow, grid, rtol=1e-5, atol=1e-5).exp().reshape(201, 201)
        held_out = log_density(flow, test, rtol=1e-5, atol=1e-5).mean()
        base = torch.cat([torch.randn(1000, 2, dtype=torch.float64), torch.zeros(1000, 1, dtype=torch.float64)], dim=-1)
        back = torch.tensor([1.0, 0.0], dtype=torch.float64)
        samples = sciml.solve(flow, base, back, rtol=1e-5, atol=1e-5).ys[:, -1, :2]
    total = float(density.sum() * (side[1] - side[0]) ** 2)
    normal = -(test**2).sum(dim=-1).mean() / 2 - math.log(2 * math.pi)
    rows = [
        row("moons: the density integrates to", 1, total),
        row("moons: held-out log density, above that of a normal distribution", normal, held_out),
    ]
    return rows, (side.numpy(), density.numpy(), samples.numpy(), test.numpy())


def pendulums(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles of damped pendulums at 40 irregular times of their own: times (series, 40), angles (series, 40)."""
    rng = np.random.default_rng(seed)
    system, grid = models.pendulum(damping=0.15), np.linspace(0, 10, 401)
    starts = {"theta": rng.uniform(-2, 2, count), "omega": rng.uniform(-2, 2, count)}
    angles = sciml.simulate(system, grid, initial=starts)["theta"]
    picked = np.sort(np.stack([rng.choice(400, 40, replace=False) for _ in range(count)]) + 1, axis=1)
    values = np.take_along_axis(angles, picked, axis=1) + 0.02 * rng.standard_normal(picked.shape)
    return torch.tensor(grid[picked]), torch.tensor(values)


class LatentODE(nn.Module):
    """A GRU reads the first 20 samples from the last to the first; an ODE leads from there to any times."""

    def __init__(self, latent: int = 4, hidden: int = 32):
        super().__init__()
        self.reader, self.start = nn.GRU(2, hidden, batch_first=True), nn.Linear(hidden, latent)
        self.field = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, latent))
        self.head = nn.Linear(latent, 1)

    def forward(self, times: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        seen = torch.stack([values, times / 5], dim=-1)[:, :20].flip(1)
        start = self.start(self.reader(seen)[1][0])
        grid = torch.cat([torch.zeros_like(times[:, :1]), times], dim=1)  # each series has output times of its own
        path = sciml.solve(lambda t, y: self.field(y), start, grid, solver=Tsit5(), rtol=1e-3, atol=1e-3).ys
        return self.head(path[:, 1:])[..., 0]


class GappedGRU(nn.Module):
    """A GRU that sees each sample and the gap to the next, and goes on with its own predictions after the 20th."""

    def __init__(self, hidden: int = 40):
        super().__init__()
        self.cell, self.head = nn.GRUCell(2, hidden), nn.Linear(hidden, 1)

    def forward(self, times: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        state, gaps, out = values.new_zeros(len(values), self.cell.hidden_size), times.diff(dim=1), [values[:, 0]]
        for k in range(values.shape[1] - 1):
            last = values[:, k] if k < 20 else out[-1]
            state = self.cell(torch.stack([last, gaps[:, k]], dim=-1), state)
            out.append(last + self.head(state)[:, 0])
        return torch.stack(out, dim=1)


def irregular(seed: int, steps: int) -> tuple[list[dict[str, object]], tuple]:
    """Both models trained on 20 samples and what follows; errors on the second half of unseen series."""
    train, test, rows, shown = pendulums(seed, 256), pendulums(seed + 1, 128), [], {}
    for name, build in {"latent ODE": LatentODE, "GRU that is told the gaps": GappedGRU}.items():
        torch.manual_seed(seed)
        net = build().double()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            batch = torch.randint(256, (64,))
            ((net(train[0][batch], train[1][batch]) - train[1][batch]) ** 2).mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            shown[name] = net(*test)
        error = ((shown[name] - test[1])[:, 20:] ** 2).mean().sqrt()
        rows.append(row(f"pendulums, 20 unseen later samples: rms error of the {name}", 0.02, error))
    rows.append(row("pendulums: rms of the angle itself", 0.0, test[1][:, 20:].square().mean().sqrt()))
    return rows, (test, shown)


def picture(curves, sizes, refined, density, series) -> Figure:
    figure, axes = figure_of(2, 3)
    for k, (name, (layers, states, gradients)) in enumerate(curves.items()):
        axes[0].loglog(layers, states, "o-", ms=4, color=color(k), label=name)
        axes[0].loglog(layers, gradients, "o--", ms=4, mfc="w", color=color(k))
    axes[0].loglog(layers, sizes, "k:", label="size without 1/L")
    finish(axes[0], "layers L", "error of states (gradients dashed)")
    axes[0].set_xticks(layers, [str(count) for count in layers])
    axes[0].minorticks_off()
    axes[1].semilogx(list(refined), list(refined.values()), "o-", color=color(0), base=2)
    finish(axes[1], "layers of Euler after training", "accuracy on digits")
    axes[1].set_xticks(list(refined), [str(count) for count in refined])
    axes[1].minorticks_off()
    side, values, samples, real = density
    axes[2].pcolormesh(side, side, values.T, cmap="Blues", rasterized=True)
    axes[2].set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    axes[2].set_title("density of the flow", fontsize=9)
    finish(axes[2], "x", "y")
    for points, panel, label in ((samples, axes[3], "samples of the flow"), (real, axes[4], "held-out moons")):
        panel.plot(*points.T, ".", ms=2, color=color(0 if panel is axes[3] else 1), label=label)
        panel.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
        finish(panel, "x", "y")
    (times, angles), shown = series
    axes[5].plot(times[0, :20], angles[0, :20], "o", ms=4, color="k", label="seen")
    axes[5].plot(times[0, 20:], angles[0, 20:], "o", ms=4, mfc="w", color="k", label="not seen")
    for k, (name, values) in enumerate(shown.items()):
        axes[5].plot(times[0], values[0], "-", lw=1, color=color(k), label=name.split(" that")[0])
    finish(axes[5], "time in s", "angle of one pendulum")
    for k in (0, 3, 4, 5):
        legend(axes[k])
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    quick, seed = arguments.quick, arguments.seed
    orders, curves, sizes = depth(seed)
    read, refined = digits(seed, 1 if quick else 40)
    flowed, density = moons(seed, 3 if quick else 1500)
    learned, series = irregular(seed, 2 if quick else 600)
    report([*orders, *read, *flowed, *learned], arguments, machine("torch", "scikit-learn"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(picture(curves, sizes, refined, density, series), arguments.out / "course_4_residual.png")


if __name__ == "__main__":
    main()
