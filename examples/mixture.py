"""A mixture of eight Gaussians under diffusion: what samplers, densities and conditions are worth where all is known.

The score of a mixture is known at every time of a process, so nothing is learned here and every error is the method's own.
Printed are (1) the order at which errors along paths fall with the number of steps, against a solution at 1e-11, and how
well `log_density` agrees with the mixture's; (2) the sliced Wasserstein-2 distance of samples to the mixture at about 40
evaluations of the score, beside that of exact samples; (3) samples given a measurement of the first coordinate, by the exact
conditional score and by pseudo-inverse guidance, which finds the modes and gets their weights wrong. The picture shows the
paths of the probability flow and samples, all and conditional.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from matplotlib.figure import Figure
from torch import Tensor

from sciml import Dopri8
from sciml.diffusion import (
    EDM,
    VE,
    VP,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    LinearInverse,
    PredictorCorrector,
    ProbabilityFlow,
    StochasticHeun,
    SubVP,
    log_density,
    sample,
)
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report

SEEN, NOISE = 0.6, 0.2  # the first coordinate was measured as 0.6, with noise of standard deviation 0.2


@dataclass
class Mixture:
    """A mixture of Gaussians under a process; called with `(x, t)` it gives the score.

    Args:
        process: Under which its samples become noise.
        means: (mode, dimension).
        weights: Of the modes, with sum 1.
        variances: Of each coordinate, the same in all modes.
    """

    process: object
    means: Tensor
    weights: Tensor
    variances: Tensor

    def shares(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log(weight * density) of each mode (point, mode), scaled distances to them, and variances."""
        m = self.process.mean(t)
        spread = (m**2 * self.variances + self.process.std(t) ** 2)[:, None]
        away = (x[:, None] - m[:, None] * self.means) / spread
        logs = -0.5 * (away**2 * spread + torch.log(2 * math.pi * spread)).sum(dim=-1) + self.weights.log()
        return logs, away, spread

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        logs, away, _ = self.shares(x, t)
        return -(torch.softmax(logs, dim=1)[..., None] * away).sum(dim=1)

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """Of points at one time."""
        return torch.logsumexp(self.shares(x, torch.full_like(x[:, :1], t))[0], dim=1)

    def sample(self, count: int, seed: int) -> Tensor:
        """Exact samples at time zero."""
        generator = torch.Generator().manual_seed(seed)
        modes = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return self.means[modes] + self.variances.sqrt() * noise

    def given(self, value: float, noise: float) -> "Mixture":
        """The mixture that remains when the first coordinate was measured as a value, by Bayes' rule."""
        both = self.variances[0] + noise**2
        gain = self.variances[0] / both
        shift = torch.stack([gain * (value - self.means[:, 0]), torch.zeros(8)], dim=1)
        weights = torch.softmax(self.weights.log() - (value - self.means[:, 0]) ** 2 / both / 2, dim=0)
        left = torch.stack([self.variances[0] * (1 - gain), self.variances[1]])
        return Mixture(self.process, self.means + shift, weights, left)


def ring(process: object) -> Mixture:
    """Eight modes on the unit circle, standard deviation 0.1, weights 1 to 4."""
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    weights = torch.tensor([1, 2, 3, 4, 1, 2, 3, 4], dtype=torch.float64)
    return Mixture(
        process, torch.stack([angles.cos(), angles.sin()], dim=1), weights / 20, torch.full((2,), 0.01).double()
    )


def distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-2 distance of as many points, over 200 directions."""
    angles = torch.arange(200, dtype=torch.float64) * math.pi / 200
    d = torch.stack([angles.cos(), angles.sin()])
    return float(((a @ d).sort(dim=0).values - (b @ d).sort(dim=0).values).square().mean().sqrt())


def orders(seed: int, quick: bool) -> list[dict[str, object]]:
    """Errors along paths of three methods of fixed steps, and of log-densities."""
    rows = []
    for process in (VP(), SubVP(), VE(sigma_min=0.002), EDM()):
        mixture, end = ring(process), torch.tensor(process.end, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        noise = process.std(end) * torch.randn(8 if quick else 50, 2, generator=generator, dtype=torch.float64)
        given = {"initial": noise, "shape": noise.shape}
        tolerance = 1e-8 if quick else 1e-11
        exact = sample(process, mixture, sampler=ProbabilityFlow(Dopri8(), tolerance, tolerance), **given)
        row: dict[str, object] = {"process": type(process).__name__}
        for method in (Euler, Heun, DPMSolverPP):
            errors = [
                float(
                    (sample(process, mixture, sampler=method(n, to_zero=False), **given) - exact).norm(dim=1).median()
                )
                for n in (150, 300)
            ]
            row[f"order of {method.__name__}"] = math.log2(errors[0] / errors[1])
        points = mixture.sample(4 if quick else 50, seed)
        found = log_density(
            process,
            mixture,
            points,
            solver=Dopri8(),
            rtol=1e-8,
            atol=1e-8,
            end_density=lambda z, mixture=mixture, process=process: mixture.log_density(z, process.end),
        )
        row["largest error of log p"] = float((found - mixture.log_density(points, process.start)).abs().max())
        rows.append(row)
    return rows


class Counted:
    """A score that counts how often it is asked."""

    def __init__(self, score: Mixture):
        self.score, self.calls = score, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.score(x, t)


def samplers(seed: int, count: int) -> list[dict[str, object]]:
    """Distances at about 40 evaluations, which are few for the stochastic ones."""
    process = EDM()
    mixture = ring(process)
    exact = mixture.sample(count, seed)
    rows = [
        {"sampler": "exact samples", "evaluations": 0, "sliced W2": distance(mixture.sample(count, seed + 1), exact)}
    ]
    for sampler in (
        DPMSolverPP(40),
        Heun(20),
        Euler(40),
        StochasticHeun(20, churn=2),
        Ancestral(40),
        EulerMaruyama(40),
        PredictorCorrector(20),
        ProbabilityFlow(rtol=1e-3, atol=1e-3),
    ):
        score = Counted(mixture)
        found = sample(process, score, (count, 2), sampler=sampler, seed=seed + 2)
        rows.append(
            {"sampler": type(sampler).__name__, "evaluations": score.calls, "sliced W2": distance(found, exact)}
        )
    return rows


def conditional(seed: int, count: int) -> tuple[list[dict[str, object]], Tensor]:
    """Samples given the first coordinate, and the shares of the four modes that remain."""
    process = EDM()
    mixture, rows = ring(process), []
    posterior = mixture.given(SEEN, NOISE)
    guided = LinearInverse(
        process, mixture, torch.tensor([[1.0, 0.0]]).double(), torch.tensor([SEEN]).double(), noise=NOISE, spread=0.7
    )
    exact = posterior.sample(count, seed)
    drawn = {
        "exact samples": posterior.sample(count, seed + 1),
        "exact conditional score": sample(process, posterior, (count, 2), sampler=Heun(20), seed=seed),
        "pseudo-inverse guidance": sample(process, guided, (count, 2), sampler=Heun(20), seed=seed),
    }
    kept = [0, 1, 7, 2, 6]
    for name, points in drawn.items():
        nearest = torch.cdist(points, posterior.means).argmin(dim=1)
        row: dict[str, object] = {"samples given x": name, "sliced W2": distance(points, exact)}
        for mode in kept:
            row[f"mode at {45 * mode}°"] = f"{(nearest == mode).double().mean():.3f} of {posterior.weights[mode]:.3f}"
        rows.append(row)
    return rows, drawn["exact conditional score"]


def picture(seed: int, given: Tensor) -> Figure:
    """Paths of the flow from noise to the ring, samples, and samples given the first coordinate."""
    process = EDM(end=3.0)
    mixture = ring(process)
    generator = torch.Generator().manual_seed(seed)
    x = process.end * torch.randn(60, 2, generator=generator, dtype=torch.float64)
    times, path = torch.linspace(process.end, process.start, 200, dtype=torch.float64), [x]
    for early, late in pairwise(times):
        x = x + (early - late) * early * mixture(x, early.expand(60, 1))  # dx/dt = -t score
        path.append(x)
    figure, axes = figure_of(1, 3)
    for k, line in enumerate(torch.stack(path, dim=1)):
        axes[0].plot(*line.T, lw=0.7, color=color(0), alpha=0.6, label="paths of the flow" if k == 0 else None)
    axes[0].plot(*x.T, "o", ms=3, color=color(1), label="where they end")
    points = sample(EDM(), ring(EDM()), (2000, 2), sampler=DPMSolverPP(40), seed=seed)
    axes[1].plot(*points.T, ".", ms=2, color=color(1), label="samples, DPM-Solver++")
    axes[2].axvline(SEEN, color="0.6", lw=0.8, label="measured")
    axes[2].plot(*given[:2000].T, ".", ms=2, color=color(2), label="samples given x")
    for panel, limit in zip(axes, (3.2, 1.6, 1.6)):
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        finish(panel, "x", "y")
        legend(panel)
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    torch.set_num_threads(1)
    quick, seed = arguments.quick, arguments.seed
    count = 2000 if quick else 100_000
    conditioned, given = conditional(seed, count)
    tables = {
        "orders and densities": orders(seed, quick),
        f"samples by the variance-exploding process of EDM, {count} of them": samplers(seed, count),
        f"given a measurement {SEEN} of the first coordinate": conditioned,
    }
    report(tables, arguments, machine("torch"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(picture(seed, given), arguments.out / "mixture.png")


if __name__ == "__main__":
    main()
