"""Densities by the probability flow, exact but for the solver's tolerance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.processes import AbstractProcess
from sciml.errors import DataError, ModelError
from sciml.solvers import AbstractSolver, Tsit5, solve

Score = Callable[[Tensor, Tensor], Tensor]


class AbstractTrace(ABC):
    """How the divergence of the score is computed."""

    @abstractmethod
    def prepare(self, x: Float[Tensor, " batch *shape"], seed: int) -> Float[Tensor, " probe batch *shape"]:
        """Vectors v, for which the trace is the mean (exact: the sum) of v · J v."""

    @abstractmethod
    def combine(self, products: Float[Tensor, "probe batch"]) -> Float[Tensor, " batch"]:
        """The trace from v · J v of every vector."""


@dataclass(frozen=True)
class Exact(AbstractTrace):
    """One reverse pass for each component: for a few dozen of them."""

    def prepare(self, x: Tensor, seed: int) -> Tensor:
        size = x[0].numel()
        units = torch.eye(size, dtype=x.dtype, device=x.device)
        return units.view(size, 1, *x.shape[1:]).expand(size, *x.shape)

    def combine(self, products: Tensor) -> Tensor:
        return products.sum(dim=0)


@dataclass(frozen=True)
class Hutchinson(AbstractTrace):
    """Random signs, held along the whole path: unbiased for the log-density, with a spread that falls with more probes.

    Args:
        probes: Vectors for each sample.

    Raises:
        ModelError: No probes.

    Reference:
        Hutchinson (1990), Communications in Statistics 19, 433-450; Grathwohl and others (2019), arXiv:1810.01367.
    """

    probes: int = 1

    def __post_init__(self):
        if not isinstance(self.probes, int) or self.probes < 1:
            raise ModelError(f"`probes={self.probes!r}` of `Hutchinson` must be a whole number from 1.")

    def prepare(self, x: Tensor, seed: int) -> Tensor:
        generator = torch.Generator(device=x.device).manual_seed(seed)
        signs = torch.randint(0, 2, (self.probes, *x.shape), generator=generator, device=x.device)
        return (2 * signs - 1).to(x.dtype)

    def combine(self, products: Tensor) -> Tensor:
        return products.mean(dim=0)


@torch.no_grad()
def log_density(
    process: AbstractProcess,
    score: Score,
    x: Float[Tensor, " batch *shape"],
    *,
    trace: AbstractTrace | None = None,
    solver: AbstractSolver = Tsit5(),  # noqa: B008 (frozen)
    rtol: float = 1e-5,
    atol: float = 1e-5,
    end_density: Callable[[Tensor], Tensor] | None = None,
    max_steps: int = 100_000,
    seed: int = 0,
) -> Float[Tensor, " batch"]:
    r"""Natural logarithm of the density that a score stands for, at the process's start.

    .. math:: \log p(x) = \log p_T(x_T) + \int_{start}^{T} \nabla \cdot f(x_t, t)\,dt

    along the probability flow from x. It is the density of what `ProbabilityFlow` samples; for a learned score neither a
    bound nor an estimate of another model's.

    Args:
        process: The forward process.
        score: `score(x, t)`, differentiable by torch.
        x: Samples of the data.
        trace: `Exact()` up to 64 components and `Hutchinson()` above, by default.
        solver, rtol, atol, max_steps: Of the probability flow.
        end_density: Logarithm of the density at the process's end; by default that of pure noise.
        seed: Of the probes.

    Returns:
        One number for each sample, in nats.

    Raises:
        DataError: Samples that are not finite.
        ModelError: The score returns another shape.
        SolveError: The flow left the finite numbers.

    Example:
        >>> from sciml.diffusion import VP
        >>> process = VP()
        >>> normal = lambda x, t: -x  # standard normal data stay so
        >>> round(float(log_density(process, normal, torch.zeros(1, 1, dtype=torch.float64))), 4)
        -0.9189

    Reference:
        Song and others (2021), arXiv:2011.13456, appendix D.2.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point() or not torch.isfinite(x).all():
        raise DataError("`x` must be a finite floating point tensor (sample, dimension, …).")
    size = x[0].numel()
    trace = trace or (Exact() if size <= 64 else Hutchinson())
    probes = trace.prepare(x, seed)

    def field(t: Tensor, state: Tensor) -> Tensor:
        y = state[:, :size].view(x.shape)
        times = t.view(-1, *(1,) * (x.ndim - 1)).expand(len(x), *(1,) * (x.ndim - 1))
        of_state, of_score = process.flow_coefficients(times)
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            slope = score(y, times)
            if slope.shape != x.shape:
                raise ModelError(f"the score returns shape {tuple(slope.shape)} for samples of {tuple(x.shape)}.")
            (rows,) = torch.autograd.grad(slope, y, probes, is_grads_batched=True)
        divergence = trace.combine((rows * probes).flatten(2).sum(dim=2))
        dy = of_state * y.detach() + of_score * slope.detach()
        total = size * of_state.flatten() + of_score.flatten() * divergence
        return torch.cat([dy.flatten(1), total[:, None]], dim=1)

    begin = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1)
    ts = torch.tensor([process.start, process.end], dtype=x.dtype, device=x.device)
    end = solve(field, begin, ts, solver=solver, rtol=rtol, atol=atol, max_steps=max_steps).ys[:, -1]
    noise = end[:, :size]
    if end_density is not None:
        return end_density(noise.view(x.shape)) + end[:, size]
    std = process.std(ts[1])
    return end[:, size] - 0.5 * (noise / std).square().sum(dim=1) - size * (std.log() + 0.5 * math.log(2 * math.pi))


def bits_per_dimension(
    log_density: Float[Tensor, " batch"], dimension: int, width: float = 1.0
) -> Float[Tensor, " batch"]:
    r"""Bits that a sample takes for each of its components.

    Of data with levels of a given width, made continuous by uniform noise of that width, the mean is an upper bound of the
    bits that the levels take: :math:`-(\log_2 p / d + \log_2 w)`.

    Args:
        log_density: In nats.
        dimension: Number of components.
        width: Distance between two levels; 1 for continuous data.

    Raises:
        DataError: Numbers that are not positive.

    Example:
        >>> bits_per_dimension(torch.tensor([0.0]), 4, width=0.25)  # uniform on a unit interval of four levels
        tensor([2.])
    """
    if not (dimension > 0 and width > 0):
        raise DataError(f"`dimension={dimension}` and `width={width}` must be positive.")
    return -log_density / (dimension * math.log(2)) - math.log2(width)
