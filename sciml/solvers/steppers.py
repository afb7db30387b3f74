"""One trial step of an explicit method, for one trajectory and for a batch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.tableaus import Tableau

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Counted:
    """A field on flat states that counts its calls.

    Args:
        field: The user's field.
        shape: Shape of the states that it takes, the batch included.
        calls: Calls so far.
    """

    field: Field
    shape: torch.Size
    calls: int = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        if len(self.shape) <= 2:
            return self.field(t, y)
        return self.field(t, y.view(self.shape)).reshape(y.shape)


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

    def __init__(self, field: Counted, tableau: Tableau, like: Tensor, rtol: float, atol: float) -> None:
        self.field, self.tableau, self.rtol, self.atol = field, tableau, rtol, atol
        self.kind = {"dtype": like.dtype, "device": like.device}
        self.nodes = tableau.c.tolist()

    def clock(self, t: float) -> Tensor:
        """The time as the field sees it."""
        return torch.tensor(t, **self.kind)

    def stages(self, t: float, h: float, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new state and all stages of a step; `first` is the field at its beginning."""
        rows, field, k, new = self.tableau.rows, self.field, [first], y
        times = torch.tensor([t + c * h for c in self.nodes], **self.kind).unbind()
        for i in range(1, len(rows)):
            new = combine(y, rows[i], k, h)
            k.append(field(times[i], new))
        return new, k

    @torch.no_grad()
    def error(self, h: float, y: Tensor, new: Tensor, k: list[Tensor]) -> float:
        """Root mean square of the error estimate in units of the tolerance; not finite if a stage is not."""
        (j, weight), *row = self.tableau.error_row
        estimate = combine(k[j] * (weight * h), tuple(row), k, h)
        scale = torch.maximum(y.abs(), new.abs()).mul_(self.rtol).add_(self.atol)
        return torch.linalg.vector_norm(estimate.div_(scale)).item() / y.numel() ** 0.5


class BatchStepper:
    """Steps of a batch; times and lengths are arrays `(batch,)` on the host, states `(batch, state)`."""

    def __init__(self, field: Counted, tableau: Tableau, like: Tensor, rtol: float, atol: float) -> None:
        self.field, self.tableau, self.rtol, self.atol = field, tableau, rtol, atol
        self.kind = {"dtype": like.dtype, "device": like.device}
        self.clock_shape = (like.shape[0],) + (1,) * (len(field.shape) - 1)

    def clock(self, t: Float[np.ndarray, " batch"]) -> Tensor:
        """The times as the field sees them: they broadcast against the state."""
        return torch.as_tensor(t, **self.kind).view(self.clock_shape)

    def stages(self, t: np.ndarray, h: np.ndarray, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new states and all stages of a step; `first` is the field at its beginning."""
        rows, field, k, new = self.tableau.rows, self.field, [first], y
        grid = torch.as_tensor(t + self.tableau.c[:, None] * h, **self.kind)
        times = grid.view(-1, *self.clock_shape).unbind()
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
        estimate = combine(k[j] * weight, tuple(row), k)
        scale = torch.maximum(y.abs(), new.abs()).mul_(self.rtol).add_(self.atol)
        norm = torch.linalg.vector_norm(estimate.div_(scale), dim=1)
        # The only synchronisation of a step: one number per trajectory comes to the host.
        return norm.cpu().numpy().astype(np.float64) * np.abs(h) / y.shape[1] ** 0.5
