"""One trial step of an explicit method, for one trajectory and for a batch."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.solvers.field import FlatField
from sciml.solvers.methods.tableau import Tableau
from sciml.solvers.tolerance import Tolerance, host


def combine(y: Tensor, row: tuple[tuple[int, float], ...], k: list[Tensor], h: float = 1.0) -> Tensor:
    """`y + h * sum(a * k[j])` over the pairs (j, a); a chain of fused additions is the fastest in eager mode."""
    if torch.is_grad_enabled() or not row:
        for j, a in row:
            y = torch.add(y, k[j], alpha=a * h)
        return y
    (j, a), *rest = row
    y = torch.add(y, k[j], alpha=a * h)
    for j, a in rest:
        y.add_(k[j], alpha=a * h)
    return y


class SingleStepper:
    """Steps of one trajectory; times and lengths are Python floats."""

    def __init__(self, field: FlatField, tableau: Tableau, like: Tensor, tolerance: Tolerance) -> None:
        self.field, self.tableau, self.tolerance = field, tableau, tolerance
        self.kind = {"dtype": like.dtype, "device": like.device}
        self.nodes = tableau.c.tolist()
        self.masks, self.unsolved = None, False

    def size(self, x: Tensor, y: Tensor) -> Float[np.ndarray, " 1"]:
        """How large a vector is in units of the tolerance."""
        return np.atleast_1d(host(self.tolerance.norm(x, y)))

    def clock(self, t: float) -> Tensor:
        """The time as the field sees it."""
        return torch.tensor(t, **self.kind)

    def clocks(self, t: float, h: float) -> tuple[Tensor, ...]:
        """The times of all stages."""
        return torch.tensor([t + c * h for c in self.nodes], **self.kind).unbind()

    def stages(self, t: float, h: float, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new state and all stages of a step; `first` is the field at its beginning."""
        rows, field, k, new = self.tableau.rows, self.field, [first], y
        times = self.clocks(t, h)
        for i in range(1, len(rows)):
            new = combine(y, rows[i], k, h)
            k.append(field(times[i], new))
        return new, k

    @torch.no_grad()
    def error(self, h: float, y: Tensor, new: Tensor, k: list[Tensor]) -> float:
        """Root mean square of the error estimate in units of the tolerance; not finite if a stage is not."""
        (j, weight), *row = self.tableau.error_row
        return self.tolerance.norm(combine(k[j] * (weight * h), tuple(row), k, h), y, new).item()

    @torch.no_grad()
    def sound(self, new: Tensor, k: list[Tensor]) -> Bool[np.ndarray, " batch"]:
        """Whether a step ended in finite numbers."""
        return np.atleast_1d(host(torch.isfinite(new + k[-1]).all(dim=-1)))


class BatchStepper:
    """Steps of a batch; times and lengths are arrays `(batch,)` on the host, states `(batch, state)`."""

    def __init__(self, field: FlatField, tableau: Tableau, like: Tensor, tolerance: Tolerance) -> None:
        self.field, self.tableau, self.tolerance = field, tableau, tolerance
        self.kind = {"dtype": like.dtype, "device": like.device}
        self.nodes = tableau.c[:, None]
        self.clock_shape = (len(like),) + (1,) * (1 if field.lifted else len(field.shape) - 1)
        # What each stage counts for, where a method splits the state.
        self.masks: Tensor | None = None
        # For which trajectories the last step could not be found, where it is implicit.
        self.unsolved: Bool[np.ndarray, " batch"] | bool = False

    def size(self, x: Tensor, y: Tensor) -> Float[np.ndarray, " batch"]:
        """How large vectors are in units of the tolerance."""
        return host(self.tolerance.norm(x, y))

    def clock(self, t: Float[np.ndarray, " batch"]) -> Tensor:
        """The times as the field sees them: they broadcast against the state."""
        return torch.as_tensor(t, **self.kind).view(self.clock_shape)

    def clocks(self, t: Float[np.ndarray, " batch"], h: Float[np.ndarray, " batch"]) -> tuple[Tensor, ...]:
        """The times of all stages."""
        grid = torch.as_tensor(t + self.nodes * h, **self.kind)
        return grid.view(-1, *self.clock_shape).unbind()

    def stages(self, t: np.ndarray, h: np.ndarray, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new states and all stages of a step; `first` is the field at its beginning."""
        rows, field, k, new = self.tableau.rows, self.field, [first], y
        times = self.clocks(t, h)
        length = torch.as_tensor(h, **self.kind)[:, None]
        increments = [first * length]
        for i in range(1, len(rows)):
            new = combine(y, rows[i], increments)
            k.append(field(times[i], new))
            if i + 1 < len(rows):
                increments.append(k[i] * length)
        return new, k

    @torch.no_grad()
    def error(self, h: np.ndarray, y: Tensor, new: Tensor, k: list[Tensor]) -> Float[np.ndarray, " batch"]:
        """Root mean square, per trajectory, of the error estimate in units of the tolerance."""
        (j, weight), *row = self.tableau.error_row
        # The only synchronization of a step: one number per trajectory comes to the host.
        return host(self.tolerance.norm(combine(k[j] * weight, tuple(row), k), y, new)) * np.abs(h)

    @torch.no_grad()
    def sound(self, new: Tensor, k: list[Tensor]) -> Bool[np.ndarray, " batch"]:
        """Which trajectories ended the step in finite numbers."""
        return host(torch.isfinite(new + k[-1]).all(dim=-1))
