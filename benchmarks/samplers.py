"""Speed of samplers: 1,000 points by the same network and as many evaluations, here and by diffusers' schedulers.

A small network learns a mixture of eight Gaussians under EDM's process. Samplers take turns on one thread; printed is the
median of the ratios of processor time (above 1: faster than diffusers), the time of the network alone, which none can do
without, and the sliced Wasserstein-2 distance of each sampler's points to exact ones, so that speed is not bought by error.
"""

import math
import statistics
import time
from collections.abc import Callable

import torch
from _peers import installed
from torch import Tensor

from sciml.diffusion import EDM, DPMSolverPP, Euler, Heun, ScoreMLP, sample, train
from sciml.scripts import machine, median_ratio, options, report

PROCESS = EDM(start=0.002, end=80.0)


def mixture(count: int, seed: int) -> Tensor:
    """Points of eight modes on the unit circle, standard deviation 0.1, weights 1 to 4."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.tensor([1.0, 2, 3, 4, 1, 2, 3, 4])
    angles = torch.multinomial(weights, count, replacement=True, generator=generator) * math.pi / 4
    means = torch.stack([angles.cos(), angles.sin()], dim=1)
    return means + 0.1 * torch.randn(count, 2, generator=generator)


def distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-2 distance of as many points."""
    angles = torch.arange(100) * math.pi / 100
    d = torch.stack([angles.cos(), angles.sin()])
    return float(((a @ d).sort(dim=0).values - (b @ d).sort(dim=0).values).square().mean().sqrt())


def scheduled(scheduler, network: torch.nn.Module, steps: int, noise: Tensor) -> Callable[[], Tensor]:
    """Samples by a scheduler of diffusers, as its pages say to use it."""

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t)
            x = scheduler.step(network(scaled, t.to(x.dtype).expand(len(x))), t, x).prev_sample
        return x

    return run


def main() -> None:
    arguments = options(__doc__).parse_args()
    torch.set_num_threads(1)
    quick, steps = arguments.quick, 40
    torch.manual_seed(arguments.seed)
    found = train(
        PROCESS, ScoreMLP(2, hidden=128), mixture(20_000, 1), steps=20 if quick else 2000, seed=arguments.seed
    )
    noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(arguments.seed))
    exact, network, spread = mixture(1000, 2), found.score.network, found.score.spread
    start = noise * PROCESS.end

    def ours(sampler) -> Callable[[], Tensor]:
        return lambda: sample(PROCESS, found.score, noise.shape, sampler=sampler, initial=start)

    pairs = {"DPM-Solver++(2M)": [ours(DPMSolverPP(steps)), None], "Euler": [ours(Euler(steps)), None]}
    if installed("diffusers"):
        from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

        levels = {"sigma_min": PROCESS.start, "sigma_max": PROCESS.end, "sigma_data": spread}
        pairs["DPM-Solver++(2M)"][1] = scheduled(EDMDPMSolverMultistepScheduler(**levels), network, steps, noise)
        pairs["Euler"][1] = scheduled(EDMEulerScheduler(**levels), network, steps, noise)
    pairs["Heun (no peer for EDM)"] = [ours(Heun(steps // 2)), None]

    @torch.no_grad()
    def alone() -> None:
        for _ in range(steps):
            network(noise, noise[:, 0])

    rows = []
    for name, (own, peer) in pairs.items():
        seconds: dict[str, list[float]] = {"here": [], "network": [], "diffusers": []}
        for _ in range(3 if quick else 21):
            for key, run in (("here", own), ("network", alone), ("diffusers", peer)):
                if run is not None:
                    begun = time.process_time()
                    run()
                    seconds[key].append(time.process_time() - begun)
        row = {"sampler": name, "ms": 1e3 * statistics.median(seconds["here"])}
        row |= {"network alone, ms": 1e3 * statistics.median(seconds["network"]), "W2": distance(own(), exact)}
        if peer is not None:
            row |= {"diffusers": median_ratio(seconds["here"], seconds["diffusers"]), "its W2": distance(peer(), exact)}
        rows.append(row)
    report(rows, arguments, machine("torch", "diffusers"))


if __name__ == "__main__":
    main()
