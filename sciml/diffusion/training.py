"""Denoising score matching: a network learns the score of a process from data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sciml.diffusion import checkpoint as files
from sciml.diffusion.denoiser import Denoiser
from sciml.diffusion.networks.condition import checked_condition
from sciml.diffusion.processes import AbstractProcess
from sciml.diffusion.weighting import AbstractWeighting, EDMWeighting
from sciml.errors import DataError, ModelError, SolveError


@dataclass(frozen=True, eq=False)
class Training:
    """What a run of `train` found.

    Attributes:
        score: The learned score, with the averaged weights: `score(x, t)`, `score.given(condition)`.
        losses: Mean loss of each hundredth of the run, skipped batches left out.
        skipped: Batches that were not finite and were left out.
        steps: Steps taken, the skipped ones included.
        seconds: Wall time since the run began or was resumed.
    """

    score: Denoiser
    losses: tuple[float, ...]
    skipped: int
    steps: int
    seconds: float


@dataclass
class _Run:
    """Counts and losses so far; what a checkpoint holds beside tensors."""

    step: int = 0
    skipped: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 100)
    counts: list[int] = field(default_factory=lambda: [0] * 100)


class _Matching(nn.Module):
    """The loss of a batch, as a module so that torch's DDP can wrap it."""

    def __init__(self, denoiser: Denoiser, weighting: AbstractWeighting):
        super().__init__()
        self.denoiser, self.weighting = denoiser, weighting

    def forward(self, data: Tensor, levels: Tensor, noise: Tensor, condition: Tensor | None) -> Tensor:
        denoiser = self.denoiser
        error = denoiser.denoise(data + levels * noise, levels, condition) - data
        return (self.weighting.weight(denoiser.process, levels, denoiser.spread) * error**2).mean()


def train(
    process: AbstractProcess,
    network: nn.Module,
    data: Float[Tensor, " sample *shape"],
    *,
    condition: Any = None,
    weighting: AbstractWeighting = EDMWeighting(),  # noqa: B008 (frozen)
    steps: int = 10_000,
    batch: int = 256,
    rate: float = 1e-3,
    average: float = 0.999,
    drop: float = 0.1,
    augment: Callable[[Tensor], Tensor] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    max_skipped: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> Training:
    r"""Learn the score of data under a process.

    .. math:: \min_\theta\; E_{\sigma, x_0, \epsilon}\; w(\sigma)\, \| D_\theta(x_0 + \sigma \epsilon, \sigma) - x_0 \|^2

    Adam with a rate that warms up over the first hundredth and falls by a half cosine to zero; the score that is returned
    has a running average of the weights. Under `torchrun` (an initialized process group) every process takes its share of
    each batch, by torch's DDP, and the first one writes the checkpoint.

    Args:
        process: The forward process.
        network: Takes `(x, level)`, or with a condition `(x, level, condition)`, and returns the shape of x. It is copied.
        data: Samples, finite; centered near zero is best.
        condition: Of each sample, for a network that takes one: labels, or rows of features.
        weighting: `EDMWeighting()`, `VarianceWeighting()` (σ²) or `LikelihoodWeighting()` (g²).
        steps: Batches.
        batch: Samples in each, over all processes.
        rate: Largest learning rate.
        average: Factor of the running average of weights; it begins faster.
        drop: Share of samples whose condition is left out, for classifier-free guidance.
        augment: Applied to each batch of data, such as fresh noise to make levels continuous. Its random numbers are
            torch's, and so repeat with the seed.
        checkpoint: A file to write to, and to resume from where it exists, to the same numbers.
        every: Steps between two checkpoints.
        max_skipped: Batches with a loss or gradient that is not finite are left out; after that many the run stops.
        seed: Of everything random.
        progress: Show a bar where standard error is a terminal.

    Returns:
        The score and how it went.

    Raises:
        ModelError: A network of the wrong shape, or one that cannot take the condition.
        DataError: Data that are not finite, labels out of range, or a checkpoint of another run.
        SolveError: More than `max_skipped` batches were not finite.

    Example:
        >>> from sciml.diffusion import EDM, ScoreMLP
        >>> data = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> found = train(EDM(end=10.0), ScoreMLP(2, hidden=16, layers=1), data, steps=20, progress=False)
        >>> found.score(data[:3], torch.ones(3, 1)).shape
        torch.Size([3, 2])

    Reference:
        Vincent (2011), Neural Computation 23, 1661-1674; Karras and others (2022), arXiv:2206.00364.
    """
    _check_numbers(steps=steps, batch=batch, rate=rate, every=every)
    first = next(iter(network.parameters()), torch.zeros(()))
    data = _checked_data(data).to(first)
    labels = checked_condition(network, condition, len(data))
    if labels is not None:
        labels = labels.to(first) if labels.is_floating_point() else labels.to(first.device)
    absent = None if labels is None else _absent(labels)
    spread = float(data.std())
    started = time.perf_counter()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if _distributed() else (0, 1)
    share = math.ceil(batch / world)
    settings = {
        "process": repr(process),
        "weighting": repr(weighting),
        "samples": list(data.shape),
        **{
            "steps": steps,
            "batch": batch,
            "rate": rate,
            "average": average,
            "drop": drop,
            "seed": seed,
            "world": world,
        },
    }
    path = None if checkpoint is None else Path(checkpoint)
    # All random numbers are drawn from a seed of the step, so that a resumed run needs no generator's state.
    with torch.random.fork_rng(devices=[first.device] if first.is_cuda else []):
        model = Denoiser(deepcopy(network), process, spread, absent).train()
        _check_shape(model, data, labels)
        averaged = deepcopy(model).eval().requires_grad_(False)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
        run = _Run()
        if path is not None and path.exists():
            found, tensors = files.read(path, settings)
            run = _Run(**found)
            files.load_module("model", model, tensors, path)
            files.load_module("average", averaged, tensors, path)
            files.load_moments(optimizer, tensors)
        matching: nn.Module = _Matching(model, weighting)
        if world > 1:
            matching = DistributedDataParallel(matching)
        bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4g}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (progress and rank == 0 and Console(stderr=True).is_terminal),
        )
        with bar:
            task = bar.add_task("training", total=steps, completed=run.step, loss=float("nan"))
            while run.step < steps:
                torch.manual_seed(_mixed(seed, run.step, rank))
                chosen = torch.randint(len(data), (share,))
                x = data[chosen.to(data.device)]
                x = x if augment is None else augment(x)
                c = (
                    None
                    if labels is None or absent is None
                    else _dropped(labels[chosen.to(labels.device)], absent, drop)
                )
                levels = weighting.draw(process, share, x).view(-1, *(1,) * (x.ndim - 1))
                optimizer.param_groups[0]["lr"] = rate * _schedule(run.step, steps)
                optimizer.zero_grad(set_to_none=True)
                loss = matching(x, levels, torch.randn(x.shape).to(x), c)
                loss.backward()
                value = loss.detach()
                if not _all_finite(value, model, world):
                    run.skipped += 1
                    if run.skipped > max_skipped:
                        raise SolveError(
                            f"{run.skipped} batches had a loss or gradient that is not finite, by step {run.step}; "
                            f"`max_skipped={max_skipped}`. Look at `augment` and the network, or lower `rate={rate}`."
                        )
                else:
                    optimizer.step()
                    _follow(averaged, model, min(average, (1 + run.step) / (10 + run.step)))
                    part = run.step * 100 // steps
                    run.sums[part] += float(value)
                    run.counts[part] += 1
                run.step += 1
                if run.step % 20 == 0 or run.step == steps:
                    bar.update(task, completed=run.step, loss=float(value))
                if path is not None and rank == 0 and (run.step % every == 0 or run.step == steps):
                    tensors = files.module_tensors("model", model) | files.module_tensors("average", averaged)
                    files.write(path, settings, vars(run), tensors | files.moment_tensors(optimizer))
    losses = tuple(total / count for total, count in zip(run.sums, run.counts) if count)
    return Training(averaged, losses, run.skipped, run.step, time.perf_counter() - started)


def _schedule(step: int, steps: int) -> float:
    """The learning rate in units of the largest."""
    warm = max(1, steps // 100)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _mixed(seed: int, step: int, rank: int) -> int:
    """One seed of three numbers; steps and ranks next to each other have unrelated ones."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB + 1) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    return ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**63


def _dropped(labels: Tensor, absent: Tensor, drop: float) -> Tensor:
    gone = torch.rand(len(labels)).to(labels.device) < drop
    return torch.where(gone.view(-1, *(1,) * (labels.ndim - 1)), absent, labels)


def _absent(labels: Tensor) -> Tensor:
    return torch.full_like(labels[0], float("nan")) if labels.is_floating_point() else torch.full_like(labels[0], -1)


@torch.no_grad()
def _follow(averaged: nn.Module, model: nn.Module, factor: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - factor)
    for kept, own in zip(averaged.buffers(), model.buffers()):
        kept.copy_(own)


def _all_finite(value: Tensor, model: nn.Module, world: int) -> bool:
    """Whether loss and gradients are finite numbers, on every process."""
    norms = torch.stack(torch._foreach_norm([p.grad for p in model.parameters() if p.grad is not None]))
    bad = (~torch.isfinite(norms.sum() + value)).to(torch.float32)
    if world > 1:
        distributed.all_reduce(bad)
    return not bool(bad)


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _check_numbers(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise DataError(f"`{name}={value}` of the training must be positive.")


def _checked_data(data: Any) -> Tensor:
    if not isinstance(data, Tensor) or not data.is_floating_point() or data.ndim < 2 or len(data) < 2:
        told = (
            f"shape {tuple(data.shape)}, {data.dtype}" if isinstance(data, Tensor) else f"type `{type(data).__name__}`"
        )
        raise DataError(f"`data` has {told}. Expected a floating point tensor (sample, …) of two samples or more.")
    if not torch.isfinite(data).all():
        count = int((~torch.isfinite(data)).flatten(1).any(dim=1).sum())
        raise DataError(
            f"`data` holds numbers that are not finite, in {count} of {len(data)} samples. Leave these out."
        )
    return data


def _check_shape(model: Denoiser, data: Tensor, labels: Tensor | None) -> None:
    """One call of the network, so that a wrong one is named before a long run."""
    x, level = data[:2], data.new_ones(2)
    try:
        with torch.no_grad():
            found = model.network(x, level) if labels is None else model.network(x, level, labels[:2])
    except (RuntimeError, TypeError) as error:
        words = "(x, level)" if labels is None else "(x, level, condition)"
        raise ModelError(
            f"the network cannot be called with {words} for samples of {tuple(x.shape[1:])}: {error}"
        ) from error
    if not isinstance(found, Tensor) or found.shape != x.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(f"the network returns {shape} for samples of {tuple(x.shape)}. Expected the same shape.")
