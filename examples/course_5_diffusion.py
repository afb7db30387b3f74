"""Diffusion as a dynamical system: the probability flow of a mixture, its fixed points, and where they are born.

Noise is a stochastic System; its probability flow is derived from it, with the exact score of a mixture of Gaussians in
place of a network. At a frozen time the flow has fixed points: one while the noise is strong, one for each mode at the end.
Between two modes at ±μ of width σ the middle loses its hold where the variance of the noised data is μ²/(1 - σ²): the moment
at which a sample decides. Theory beside measurement, and the reverse flow as phase portraits. All about diffusion models
is in docs/diffusion.md.
"""

import math

import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy.optimize import brentq
from torch import nn

import sciml
from sciml import dynamics
from sciml.diffusion import probability_flow
from sciml.plot.style import color, figure_of, finish, written
from sciml.scripts import machine, options, report

t, x, y = sp.symbols("t x y", real=True)
BETA = 0.1 + 19.9 * t
WIDTH = 0.4


class MixtureScore(nn.Module):
    """The score of a mixture of round Gaussians under variance-preserving noise, of the states and time."""

    def __init__(self, centers: list[list[float]]):
        super().__init__()
        self.register_buffer("centers", torch.tensor(centers, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        point, time = inputs[..., :-1], inputs[..., -1:]
        share = torch.exp(-(0.1 * time + 19.9 * time**2 / 2) / 2)
        variance = 1 - share**2 * (1 - WIDTH**2)
        away = share[..., None] * self.centers - point[..., None, :]
        weights = torch.softmax(-(away**2).sum(dim=-1) / (2 * variance), dim=-1)
        return (weights[..., None] * away).sum(dim=-2) / variance


def flow(states: tuple[sp.Symbol, ...], centers: list[list[float]]) -> sciml.System:
    """The probability flow of the mixture: noise, reversed by algebra, with the exact score in it."""
    forward = sciml.System({s: -BETA * s / 2 for s in states}, noise={s: sp.sqrt(BETA) for s in states}, time=t)
    return probability_flow(forward, MixtureScore(centers))


def two_modes(distance: float) -> list[dict[str, object]]:
    """Where the middle between two modes loses its hold, and that the flow makes the mixture of noise."""
    system = sciml.compile(flow((x,), [[-distance], [distance]]))

    def hold(time: float) -> float:
        jacobian = system.jacobian(torch.tensor(time, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
        return float(jacobian.detach())

    share = (1 - distance**2 / (1 - WIDTH**2)) / (1 - WIDTH**2)  # of the data's variance that is left
    rest = -math.log(share)  # = 0.1 t + 19.9 t²/2
    theory = (-0.1 + math.sqrt(0.01 + 2 * 19.9 * rest)) / 19.9
    rows = [{"statement": "the middle loses its hold at time", "theory": theory, "measured": brentq(hold, 1e-3, 1.0)}]
    for time, count in ((theory + 0.05, 1), (theory - 0.05, 3)):
        found = dynamics.fixed_points(system, ([-2.0], [2.0]), time=time, starts=64)
        rows.append(
            {"statement": f"fixed points at t = {time:.2f}", "theory": float(count), "measured": float(len(found))}
        )
    noise = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64))
    ends = sciml.simulate(system, [1.0, 1e-3], initial={"x": noise.numpy()}, rtol=1e-8, atol=1e-8).states[:, -1, 0]
    rows.append(
        {"statement": "variance of what noise becomes", "theory": distance**2 + WIDTH**2, "measured": ends.var()}
    )
    return rows


def portraits(seed: int) -> Figure:
    """The reverse flow of three modes at three times, its fixed points, and paths of samples."""
    centers = [[1.05 * math.cos(a), 1.05 * math.sin(a)] for a in (math.pi / 2, 7 * math.pi / 6, 11 * math.pi / 6)]
    system = sciml.compile(flow((x, y), centers))
    starts = np.random.default_rng(seed).standard_normal((60, 2))
    times = np.linspace(1.0, 1e-3, 101)
    paths = sciml.simulate(system, times, initial={"x": starts[:, 0], "y": starts[:, 1]}).states
    figure, axes = figure_of(1, 3)
    u = np.linspace(-2.2, 2.2, 31)
    grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
    for panel, time in zip(axes, (0.6, 0.3, 0.05)):
        with torch.no_grad():
            rates = -system(torch.tensor(time, dtype=torch.float64), torch.tensor(grid)).numpy().reshape(31, 31, 2)
        panel.streamplot(u, u, rates[..., 0], rates[..., 1], color="0.75", linewidth=0.7, arrowsize=0.7)
        here = int(np.argmin(np.abs(times - time)))
        for k, path in enumerate(paths[:20]):
            panel.plot(*path[: here + 1].T, lw=0.8, color=color(0), label="samples so far" if k == 0 else None)
        panel.plot(*paths[:, here].T, ".", ms=3, color=color(0))
        for point in dynamics.fixed_points(system, ([-2.2] * 2, [2.2] * 2), time=time):
            attracts = (point.eigenvalues.real > 0).all()  # time runs backwards
            name = "attracts" if attracts else "repels or saddle"
            panel.plot(*point.state, "o", ms=7, mec="k", mfc="k" if attracts else "w", label=name, zorder=5)
        panel.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
        finish(panel, "x", "y")
        handles, labels = panel.get_legend_handles_labels()
        once = dict(zip(labels, handles))
        panel.legend(
            list(once.values()), list(once), title=f"t = {time}", ncols=2, frameon=False, fontsize=8,
            loc="lower center", bbox_to_anchor=(0.5, 1.0),
        )  # fmt: skip
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    report(two_modes(0.8), arguments, machine("torch", "sympy"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(portraits(arguments.seed), arguments.out / "course_5_diffusion.png")


if __name__ == "__main__":
    main()
