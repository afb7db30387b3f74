"""Where samplers stop on their way from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.processes import AbstractProcess
from sciml.errors import DataError, ModelError


class AbstractGrid(ABC):
    """A choice of falling times within a process."""

    @abstractmethod
    def times(self, process: AbstractProcess, intervals: int) -> Float[Tensor, " time"]:
        """Times from the process's end to its start, one more than there are intervals."""


@dataclass(frozen=True)
class Karras(AbstractGrid):
    r"""Noise levels whose ρ-th roots have equal distances.

    .. math:: \sigma_i = \left((1 - \tfrac{i}{n})\,\sigma_{max}^{1/\rho} + \tfrac{i}{n}\,\sigma_{min}^{1/\rho}\right)^\rho

    Args:
        rho: The larger, the more steps at low noise; 7 is EDM's choice.

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self):
        if not self.rho > 0:
            raise ModelError(f"`rho={self.rho}` of the grid must be positive.")

    def times(self, process: AbstractProcess, intervals: int) -> Tensor:
        highest, lowest = process.noise_level(torch.tensor([process.end, process.start], dtype=torch.float64)).tolist()
        share = torch.linspace(0, 1, intervals + 1, dtype=torch.float64)
        a, b = highest ** (1 / self.rho), lowest ** (1 / self.rho)
        times = process.time((a + share * (b - a)) ** self.rho)
        times[0], times[-1] = process.end, process.start
        return times


@dataclass(frozen=True)
class Uniform(AbstractGrid):
    """Equal intervals of time."""

    def times(self, process: AbstractProcess, intervals: int) -> Tensor:
        return torch.linspace(process.end, process.start, intervals + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Times(AbstractGrid):
    """Times of the user's own.

    Args:
        values: Falling, within the process; one more than the sampler has intervals.
    """

    values: Sequence[float]

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(map(float, self.values)))

    def times(self, process: AbstractProcess, intervals: int) -> Tensor:
        times = process.checked_times(self.values)
        if len(times) != intervals + 1:
            raise DataError(f"the grid has {len(times)} times for {intervals} intervals: give {intervals + 1}.")
        return times


def checked_grid(grid: Any) -> AbstractGrid:
    """The grid, if it is one.

    Raises:
        ModelError: It is something else.
    """
    if not isinstance(grid, AbstractGrid):
        raise ModelError(f"`grid={grid!r}` is not known: use `Karras()`, `Uniform()` or `Times([...])`.")
    return grid
