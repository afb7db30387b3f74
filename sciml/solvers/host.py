"""Explicit steps of small states on the CPU: between calls of the field NumPy computes, on the memory of the tensors.

An operation of NumPy on a few numbers takes one microsecond, one of torch two or three. Where a graph is wanted, or a
transform of `torch.func` or forward mode is active, the steppers of `steppers` work.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.captured import transformed
from sciml.solvers.field import FlatField
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.steppers import BatchStepper, SingleStepper
from sciml.solvers.tolerance import Tolerance

# Numbers in all states together, beyond which torch is as fast.
LARGEST = 2**13


def computes_on_host(y: Tensor) -> bool:
    """Whether NumPy may compute steps from this state: it is small, on the CPU, and nothing is differentiated."""
    if torch.is_grad_enabled() or y.device.type != "cpu" or y.numel() > LARGEST:
        return False
    return not transformed() and torch.autograd.forward_ad._current_level < 0


class HostSingle(SingleStepper):
    """Steps of one trajectory."""

    def stages(self, t: float, h: float, y: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The new state and all stages of a step; `first` is the field at its beginning."""
        field, times, new, start = self.field, self.clocks(t, h), y, y.numpy(force=True)
        # The state comes first, the stages behind it, so that a stage's argument is one product.
        z = np.empty((len(times) + 1, len(start)), start.dtype)
        z[0], z[1] = start, first.numpy(force=True)
        weights = (h * self.tableau.sums).astype(start.dtype, copy=False)
        weights[:, 0] = 1.0
        for i in range(1, len(times)):
            new = torch.from_numpy(weights[i, : i + 1].dot(z[: i + 1]))
            z[i + 1] = field(times[i], new).numpy(force=True)
        return new, torch.from_numpy(z[1:])

    def error(self, h: float, y: Tensor, new: Tensor, k: Tensor) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Root mean square of the error estimate in units of the tolerance; not finite if a stage is not."""
        weights: Any = self.tableau.error
        estimate = h * weights.dot(k.numpy())
        return float(self.tolerance.on_host(estimate, y.numpy(force=True), new.numpy()))

    def size(self, x: Tensor, y: Tensor) -> Float[np.ndarray, " 1"]:
        """How large a vector is in units of the tolerance."""
        return np.atleast_1d(_size(self.tolerance, x, y))


class HostBatch(BatchStepper):
    """Steps of a batch."""

    def __init__(self, field: FlatField, tableau: Tableau, like: Tensor, tolerance: Tolerance) -> None:
        super().__init__(field, tableau, like, tolerance)
        self.weights = tableau.a.astype(like.numpy(force=True).dtype)

    def clocks(self, t: np.ndarray, h: np.ndarray) -> tuple[Tensor, ...]:
        """The times of all stages."""
        grid = (t + self.nodes * h).astype(self.weights.dtype, copy=False)
        return torch.from_numpy(grid).view(-1, *self.clock_shape).unbind()

    def stages(self, t: np.ndarray, h: np.ndarray, y: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The new states and all stages of a step; `first` is the field at its beginning."""
        field, times, new, states = self.field, self.clocks(t, h), y, y.numpy(force=True)
        start, weights, shape = states.reshape(-1), self.weights, states.shape
        length = np.repeat(h.astype(start.dtype, copy=False), shape[1])
        k = np.empty((len(times), *shape), start.dtype)
        flat = k.reshape(len(times), -1)
        k[0] = first.numpy(force=True)
        for i in range(1, len(times)):
            sums = weights[i, :i].dot(flat[:i])
            sums *= length
            sums += start
            new = torch.from_numpy(sums.reshape(shape))
            k[i] = field(times[i], new).numpy(force=True)
        return new, torch.from_numpy(k)

    def error(self, h: np.ndarray, y: Tensor, new: Tensor, k: Tensor) -> Float[np.ndarray, " batch"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Root mean square, per trajectory, of the error estimate in units of the tolerance."""
        weights: Any = self.tableau.error
        stages = k.numpy()
        estimate = weights.dot(stages.reshape(len(stages), -1)).reshape(stages.shape[1:])
        return self.tolerance.on_host(estimate, y.numpy(force=True), new.numpy()) * np.abs(h)

    def size(self, x: Tensor, y: Tensor) -> Float[np.ndarray, " batch"]:
        """How large vectors are in units of the tolerance."""
        return _size(self.tolerance, x, y)


def _size(tolerance: Tolerance, x: Tensor, y: Tensor) -> np.ndarray:
    states = y.numpy(force=True)
    return tolerance.on_host(x.numpy(force=True), states, states)
