"""What a sampler is, and what it works on: a process, a score, and random numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.diffusion.grids import AbstractGrid, Karras, checked_grid
from sciml.diffusion.processes import AbstractProcess
from sciml.errors import DataError, ModelError


@dataclass
class Reverse:
    """The way back from noise: a score on the samples of one call, with its random numbers.

    Args:
        process: The forward process.
        score: `score(x, t)`; one that has `denoise(x, level)` is asked for that where it serves.
        generator: Of random numbers.
        evaluations: Calls of the score so far.
    """

    process: AbstractProcess
    score: Callable[[Tensor, Tensor], Tensor]
    generator: torch.Generator
    evaluations: int = 0
    _places: dict[float, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self):
        self._denoise = getattr(self.score, "denoise", None)

    def slope(self, x: Float[Tensor, " batch *shape"], t: float) -> Float[Tensor, " batch *shape"]:
        """The score at a time of the process."""
        self.evaluations += 1
        return self.checked(self.score(x, x.new_full((len(x), *(1,) * (x.ndim - 1)), t)), x)

    def denoise(self, x: Float[Tensor, " batch *shape"], level: float) -> Float[Tensor, " batch *shape"]:
        """The mean of the data given `x` = data + level · noise, both in units of x/m."""
        if self._denoise is not None:
            self.evaluations += 1
            return self.checked(self._denoise(x, x.new_full((len(x), *(1,) * (x.ndim - 1)), level)), x)
        if level not in self._places:
            t = self.process.time(torch.tensor(level, dtype=torch.float64))
            self._places[level] = float(t), float(self.process.mean(t))
        t, mean = self._places[level]
        return x + level**2 * mean * self.slope(mean * x, t)

    def noise(self, x: Tensor) -> Tensor:
        """Standard normal numbers like a sample."""
        return torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device)

    def levels(self, times: Float[Tensor, " time"]) -> list[float]:
        """Noise levels at times."""
        return self.process.noise_level(times).tolist()

    def checked(self, found: Any, x: Tensor) -> Tensor:
        """What the score returned, looked at when it is called for the first time."""
        if self.evaluations == 1:
            if not isinstance(found, Tensor):
                raise ModelError(f"the score returns a `{type(found).__name__}`. Expected a tensor like the samples.")
            if found.shape != x.shape:
                raise ModelError(
                    f"the score returns shape {tuple(found.shape)} for samples of shape {tuple(x.shape)}. Expected the same."
                )
        return found


class AbstractSampler(ABC):
    """A way from noise at the process's end to data at its start."""

    @abstractmethod
    def run(self, reverse: Reverse, x: Float[Tensor, " batch *shape"]) -> Float[Tensor, " batch *shape"]:
        """The samples that noise `x` at the process's end becomes."""


@dataclass(frozen=True)
class AbstractStepper(AbstractSampler):
    """A sampler that goes in steps.

    Args:
        steps: How many.
        grid: Where they end.
        to_zero: Whether the last step goes from the process's start to no noise at all, by the mean of the data;
            otherwise samples are those of the process at its start.

    Raises:
        ModelError: Fewer than two steps, or a grid that is none.
    """

    steps: int = 20
    grid: AbstractGrid = Karras()  # noqa: RUF009 (frozen)
    to_zero: bool = True
    least: ClassVar[int] = 2

    def __post_init__(self):
        if not isinstance(self.steps, int) or self.steps < self.least:
            raise ModelError(
                f"`steps={self.steps!r}` of `{type(self).__name__}` must be a whole number from {self.least}."
            )
        checked_grid(self.grid)

    def times(self, process: AbstractProcess) -> Float[Tensor, " time"]:
        """Where the steps end, down to the process's start."""
        return self.grid.times(process, self.steps - self.to_zero)


class AbstractLevelStepper(AbstractStepper):
    """A sampler in the variables in which all processes are one: x/m, and the noise level as time."""

    def run(self, reverse: Reverse, x: Tensor) -> Tensor:
        times = self.times(reverse.process)
        means = reverse.process.mean(times[[0, -1]]).tolist()
        levels = reverse.levels(times) + [0.0] * self.to_zero
        found = self.march(reverse, x / means[0], levels)
        return found if self.to_zero else found * means[1]

    @abstractmethod
    def march(self, reverse: Reverse, x: Tensor, levels: list[float]) -> Tensor:
        """Samples at the last of the noise levels, which may be zero."""


def checked_count(shape: Any) -> tuple[int, ...]:
    """The shape of what is to be sampled, its first entry their number.

    Raises:
        DataError: It is not two or more positive whole numbers.
    """
    try:
        sizes = tuple(int(size) for size in shape)
    except TypeError as error:
        raise DataError(f"`shape={shape!r}` must list sizes: (samples, dimension, …).") from error
    if len(sizes) < 2 or min(sizes) < 1:
        raise DataError(f"`shape={sizes}` must be positive numbers: (samples, dimension, …).")
    return sizes
