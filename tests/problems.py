"""Initial value problems with exact solutions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ExactProblem:
    """An initial value problem and its solution.

    Args:
        name: Shown by the tests.
        field: Right-hand side, for one trajectory or a batch.
        exact: The solution through `start`, at times `(time,)`.
        start: Initial state at time 0.
        end: Last time.
    """

    name: str
    field: Callable[[Tensor, Tensor], Tensor]
    exact: Callable[[Tensor], Tensor]
    start: tuple[float, ...]
    end: float

    @property
    def y0(self) -> Tensor:
        """The initial state."""
        return torch.tensor(self.start, dtype=torch.float64)


def _rotation(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[..., 1], -y[..., 0]], dim=-1)


def _logistic(t: Tensor, y: Tensor) -> Tensor:
    return y * (1 - y)


def _forced(t: Tensor, y: Tensor) -> Tensor:
    return y * torch.cos(t)


# A circle: x = cos t, v = -sin t.
rotation = ExactProblem(
    "rotation", _rotation, lambda t: torch.stack([torch.cos(t), -torch.sin(t)], dim=-1), (1.0, 0.0), 3.0
)
# Nonlinear and without time: y = 1 / (1 + 3 exp(-t)).
logistic = ExactProblem("logistic", _logistic, lambda t: (1 / (1 + 3 * torch.exp(-t)))[..., None], (0.25,), 5.0)
# Linear with time: y = exp(sin t).
forced = ExactProblem("forced", _forced, lambda t: torch.exp(torch.sin(t))[..., None], (1.0,), 3.0)

EXACT_PROBLEMS = (rotation, logistic, forced)


def pendulum(weights: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A driven, damped pendulum; `weights` are stiffness, damping and drive."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        angle, speed = y[..., :1], y[..., 1:]
        pull = weights[0] * torch.sin(angle) + weights[1] * speed
        return torch.cat([speed, weights[2] * torch.cos(t) - pull], dim=-1)

    return field


def explosion(t: Tensor, y: Tensor) -> Tensor:
    """`y' = y^2`: a positive state leaves the finite numbers at time 1 / y(0)."""
    return y**2
