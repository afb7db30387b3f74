"""The verb: draw samples from a process's data by its score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.diffusion.processes import AbstractProcess
from sciml.diffusion.samplers.heun import Heun
from sciml.diffusion.samplers.protocol import AbstractSampler, Reverse, checked_count
from sciml.errors import DataError, ModelError, SolveError


@torch.no_grad()
def sample(
    process: AbstractProcess,
    score: Callable[[Tensor, Tensor], Tensor],
    shape: Sequence[int],
    *,
    sampler: AbstractSampler = Heun(),  # noqa: B008 (frozen)
    seed: int = 0,
    initial: Float[Tensor, " batch *shape"] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, " batch *shape"]:
    """Draw samples of the data from noise.

    Args:
        process: The forward process.
        score: The gradient of the log-density, `score(x, t)` with `t` of shape (batch, 1, …): a learned score, a guided one,
            or any function.
        shape: Of the result: (samples, dimension, …).
        sampler: `Heun(20)` by default, 39 evaluations.
        seed: Of all random numbers.
        initial: Noise at the process's end to begin with, instead of random numbers.
        dtype, device: Of the samples; those of the score's parameters by default, otherwise float64 on the CPU.

    Returns:
        The samples.

    Raises:
        ModelError: The score returns another shape, or `sampler` is none.
        DataError: A time grid that leaves the process, or a shape that is none.
        SolveError: Samples left the finite numbers.

    Example:
        >>> from sciml.diffusion import EDM
        >>> normal = lambda x, t: -x / (1 + t**2)  # the score of standard normal data
        >>> round(float(sample(EDM(), normal, (1000, 1)).std()), 1)
        1.0
    """
    if not isinstance(process, AbstractProcess):
        raise ModelError(
            f"`process` is of type `{type(process).__name__}`. Expected `VP()`, `EDM()` or another process."
        )
    if not callable(score):
        raise ModelError(f"`score` is of type `{type(score).__name__}`. Expected a callable `score(x, t)`.")
    if not isinstance(sampler, AbstractSampler):
        raise ModelError(f"`sampler={sampler!r}` is none: use `Heun(20)`, `DPMSolverPP(40)` or another.")
    shape = checked_count(shape)
    _check_process(process, score)
    first = _first_parameter(score)
    dtype = dtype or (torch.float64 if first is None else first.dtype)
    device = torch.device(device or ("cpu" if first is None else first.device))
    generator = torch.Generator(device=device).manual_seed(seed)
    if initial is None:
        std = float(process.std(torch.tensor(process.end, dtype=torch.float64)))
        x = std * torch.randn(shape, generator=generator, dtype=dtype, device=device)
    elif tuple(initial.shape) != shape:
        raise DataError(f"`initial` has shape {tuple(initial.shape)}. Expected {shape}.")
    else:
        x = initial
    found = sampler.run(Reverse(process, score, generator), x)
    lost = (~torch.isfinite(found)).flatten(1).any(dim=1)
    if lost.any():
        raise SolveError(
            f"{int(lost.sum())} of {len(found)} samples left the finite numbers under `{type(sampler).__name__}`. Take more "
            "steps, or look for times at which the score is not finite."
        )
    return found


def _first_parameter(score: Any) -> Tensor | None:
    parameters = getattr(score, "parameters", None)
    return next(iter(parameters()), None) if callable(parameters) else None


def _check_process(process: AbstractProcess, score: Any) -> None:
    own = getattr(score, "process", None)
    if isinstance(own, AbstractProcess) and own != process and not isinstance(score, nn.Module):
        raise ModelError(f"the score is one of `{own!r}`, and samples are to come from `{process!r}`: give the same.")
