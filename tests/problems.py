"""Initial value problems with exact solutions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sciml.solvers import (
    RK4,
    AbstractSolver,
    Bosh3,
    Dopri5,
    Dopri8,
    Euler,
    Heun,
    Kvaerno3,
    Kvaerno5,
    Leapfrog,
    Midpoint,
    Tsit5,
    Yoshida4,
    Yoshida6,
)


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


def driven(weights: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A pendulum with a driven pivot, which every method can solve: the rates of angle and momentum are separable."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        angle, momentum = y[..., :1], y[..., 1:]
        push = weights[2] * torch.cos(t) - weights[0] * torch.sin(angle)
        return torch.cat([momentum * (1 + weights[1] * torch.sin(t)), push], dim=-1)

    return field


def kepler(t: Tensor, y: Tensor) -> Tensor:
    """A planet around a sun of unit strength: two positions, two momenta."""
    q, p = y[..., :2], y[..., 2:]
    return torch.cat([p, -q * q.square().sum(dim=-1, keepdim=True) ** -1.5], dim=-1)


def lorenz(weights: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The Lorenz equations; `weights` are sigma, rho and beta."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        x, u, z = y.unbind(dim=-1)
        return torch.stack([weights[0] * (u - x), x * (weights[1] - z) - u, x * u - weights[2] * z], dim=-1)

    return field


def splitting(method: type) -> Callable[[float], AbstractSolver]:
    """A splitting method for a state of a position and a momentum."""
    return lambda step: method(step=step, momenta=(1,))


# Every method with a step, its order, and numbers of steps to T = 4 at which the error is between the asymptotic range
# and rounding.
METHODS: dict[str, tuple[Callable[[float], AbstractSolver], int, tuple[int, ...]]] = {
    "Euler": (lambda step: Euler(step=step), 1, (512, 768, 1024)),
    "Midpoint": (lambda step: Midpoint(step=step), 2, (128, 192, 256)),
    "Heun": (lambda step: Heun(step=step), 2, (128, 192, 256)),
    "Bosh3": (lambda step: Bosh3(step=step), 3, (96, 128, 192)),
    "RK4": (lambda step: RK4(step=step), 4, (64, 96, 128)),
    "Dopri5": (lambda step: Dopri5(step=step), 5, (48, 64, 96)),
    "Tsit5": (lambda step: Tsit5(step=step), 5, (144, 192, 240)),
    "Dopri8": (lambda step: Dopri8(step=step), 8, (24, 28, 32)),
    "Kvaerno3": (lambda step: Kvaerno3(step=step), 3, (64, 96, 128)),
    "Kvaerno5": (lambda step: Kvaerno5(step=step), 5, (32, 48, 64)),
    "Leapfrog": (splitting(Leapfrog), 2, (64, 96, 128)),
    "Yoshida4": (splitting(Yoshida4), 4, (64, 96, 128)),
    "Yoshida6": (splitting(Yoshida6), 6, (48, 64, 96)),
}
