"""Stochastic Systems: orders of the methods, how often 90 % intervals cover the truth, and how fast paths are.

Ornstein-Uhlenbeck (theta = 1, sigma = 0.5; 600 values at steps of 0.1) and geometric Brownian motion (mu = 0.3, sigma =
0.4; 300 values at steps of 0.1) are fitted by their transition densities, a hundred times each, to paths drawn from their
exact solutions; an interval of 90 % that is right covers the truth in 85 to 95 of 100 repeats. Speed: 1,000 paths of a System
with two states over 100 Euler-Maruyama steps, native against torchsde with drift and noise written by hand, in turns on one
thread; the target is 20 times as fast.
"""

import math
import statistics
import time

import numpy as np
import pandas as pd
import sympy as sp
import torch

import sciml
from sciml import LBFGS, Parameter, Problem, SingleShooting, System
from sciml.scripts import machine, median_ratio, options, report
from sciml.stochastic import SRK, EulerMaruyama, Milstein, ReversibleHeun, TransitionDensity, solve_sde

x, y, theta, mu, s = sp.symbols("x y theta mu sigma", real=True)
STEP = 0.1


def ornstein(rng: np.random.Generator) -> tuple[Problem, dict[str, float]]:
    """A problem with its truth."""
    truth, count = {"theta": 1.0, "sigma": 0.5}, 600
    factor, std = math.exp(-STEP), 0.5 * math.sqrt((1 - math.exp(-2 * STEP)) / 2)
    values = np.empty(count)
    values[0] = 0.5 / math.sqrt(2) * rng.normal()
    for k in range(1, count):
        values[k] = factor * values[k - 1] + std * rng.normal()
    parameters = {theta: Parameter(0.7, bounds=(0, None)), s: Parameter(1.0, bounds=(0, None))}
    system = System({x: -theta * x}, noise={x: s}, parameters=parameters)
    data = pd.DataFrame({"x": values}, index=STEP * np.arange(count))
    return Problem(system, data, transitions=TransitionDensity()), truth


def geometric(rng: np.random.Generator) -> tuple[Problem, dict[str, float]]:
    """A problem with its truth."""
    truth, count = {"mu": 0.3, "sigma": 0.4}, 300
    moves = (0.3 - 0.08) * STEP + 0.4 * math.sqrt(STEP) * rng.normal(size=count - 1)
    values = np.exp(np.concatenate([[0.0], np.cumsum(moves)]))
    system = System({x: mu * x}, noise={x: s * x}, parameters={mu: Parameter(0.0), s: Parameter(1.0, bounds=(0, None))})
    data = pd.DataFrame({"x": values}, index=STEP * np.arange(count))
    return Problem(system, data, transitions=TransitionDensity()), truth


def coverage(name: str, make, repeats: int, seed: int) -> list[dict[str, object]]:
    """How often the intervals hold the truth."""
    inside: dict[str, int] = {}
    estimates: dict[str, list[float]] = {}
    for repeat in range(repeats):
        problem, truth = make(np.random.default_rng([seed, repeat]))
        fit = sciml.fit(problem, SingleShooting(start=None), [LBFGS(steps=60)], progress=False)
        intervals = fit.laplace().intervals(0.9)
        for parameter, value in truth.items():
            lower, upper = intervals.loc[parameter, ["lower", "upper"]]
            inside[parameter] = inside.get(parameter, 0) + int(lower <= value <= upper)
            estimates.setdefault(parameter, []).append(fit.estimates[parameter])
    return [
        {
            "what": f"{name}: {parameter}",
            "result": f"{count} of {repeats} intervals hold {truth[parameter]}",
            "mean": statistics.fmean(estimates[parameter]),
        }
        for parameter, count in inside.items()
    ]


class Written(torch.nn.Module):
    """The same two states, written for torchsde."""

    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, y):
        return torch.stack([0.5 * y[:, 0], -y[:, 1]], 1)

    def g(self, t, y):
        return torch.stack([0.3 * y[:, 0], torch.full_like(y[:, 0], 0.5)], 1)


def speed(quick: bool) -> list[dict[str, object]]:
    """Native paths against torchsde, in turns."""
    import torchsde

    torch.set_num_threads(1)
    system = System({x: 0.5 * x, y: -y}, noise={x: 0.3 * x, y: 0.5}, initial={x: 1.0, y: 0.0})
    field, ts = sciml.compile(system), np.linspace(0, 1, 11)
    start, times = torch.tensor([[1.0, 0.0]]).double().expand(1000, 2), torch.tensor(ts)

    def native() -> np.ndarray:
        return sciml.simulate(field, ts, paths=1000, seed=1, solver=EulerMaruyama(0.01)).states[:, -1]

    def peer() -> np.ndarray:
        with torch.no_grad():
            return torchsde.sdeint(Written(), start, times, method="euler", dt=0.01)[-1].numpy()

    seconds: dict[str, list[float]] = {"native": [], "torchsde": []}
    ends = {"native": native(), "torchsde": peer()}
    for _ in range(3 if quick else 25):
        for name, run in (("native", native), ("torchsde", peer)):
            # Processor time: one thread each, and other jobs of the machine do not count.
            begun = time.process_time()
            run()
            seconds[name].append(time.process_time() - begun)
    ratio = median_ratio(seconds["native"], seconds["torchsde"])
    spread = max(abs(ends["native"].std(axis=0) / ends["torchsde"].std(axis=0) - 1))
    return [
        {
            "what": "paths against torchsde",
            "result": f"{ratio:.1f} times as fast",
            "mean": float("nan"),
        },
        {"what": "standard deviations of the paths", "result": f"differ by {100 * spread:.1f} %", "mean": float("nan")},
    ]


@torch.no_grad()
def ends(solver, a: float, b: float, paths: int, counts: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    """Differences to the known ends of geometric Brownian motion for the same Wiener process, for numbers of steps."""
    import torchsde

    levy = "space-time" if solver is SRK else "none"
    motion = torchsde.BrownianInterval(
        0.0, 1.0, size=(paths, 1), dtype=torch.float64, entropy=seed, levy_area_approximation=levy, tol=1e-8
    )
    exact = torch.exp(a - b**2 / 2 + b * motion(0.0, 1.0))
    found = []
    for n in counts:
        path = solve_sde(
            lambda t, y: a * y,
            lambda t, y: b * y,
            torch.ones(paths, 1).double(),
            torch.tensor([0.0, 1.0]).double(),
            noise="diagonal",
            processes=1,
            solver=solver(1 / n),
            stratonovich=lambda t, y: (a - b**2 / 2) * y,
            motion=motion,
        )
        found.append(path[:, -1] - exact)
    return found


def orders(seed: int, quick: bool) -> list[dict[str, object]]:
    """Strong orders where noise rules (0.3 x, 0.9 x dW), weak ones, of the mean, where drift does.

    On this linear equation the mean of `SRK` is of a higher order than it need be, and soon below the scatter of 20,000
    paths: it takes longer steps.
    """
    rows, fine = [], (4, 16) if quick else (16, 64, 256)
    for solver, strong, weak in ((EulerMaruyama, 0.5, 1), (Milstein, 1, 1), (SRK, 1.5, 1.5), (ReversibleHeun, 1, 1)):
        drift, noise, coarse = (2.0, 0.2, (4, 8, 16)) if solver is SRK else (1.0, 0.4, (8, 16, 32))
        apart = [float(e.abs().mean()) for e in ends(solver, 0.3, 0.9, 50 if quick else 1000, fine, seed)]
        away = ends(solver, drift, noise, 100 if quick else 20_000, coarse, seed)
        biased = [float(e.mean().abs()) for e in away]
        scatter = math.hypot(*(float(e.std()) / math.sqrt(len(e)) / bias for e, bias in zip(away[::2], biased[::2])))
        doublings = math.log2(coarse[-1] / coarse[0])
        row = {
            "method": solver.__name__,
            "strong order": strong,
            "measured": math.log2(apart[0] / apart[-1]) / math.log2(fine[-1] / fine[0]),
        }
        row |= {"weak order, at least": weak, "of the mean": math.log2(biased[0] / biased[-1]) / doublings}
        rows.append(row | {"its standard error": scatter / doublings / math.log(2)})
    return rows


def main() -> None:
    arguments = options(__doc__).parse_args()
    repeats = 3 if arguments.quick else 100
    steps = orders(arguments.seed, arguments.quick)
    rows = coverage("Ornstein-Uhlenbeck", ornstein, repeats, arguments.seed)
    rows += coverage("geometric Brownian", geometric, repeats, arguments.seed)
    rows += speed(arguments.quick)
    tables = {"orders on geometric Brownian motion": steps, "coverage and speed": rows}
    report(tables, arguments, machine("torch", "torchsde", "numba"))


if __name__ == "__main__":
    main()
