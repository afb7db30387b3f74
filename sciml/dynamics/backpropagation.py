"""Gradients through time: products of Jacobians along a path, and how they vanish or explode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dynamics.evolution import Evolution, Map
from sciml.errors import DataError, ModelError
from sciml.lowering.vector_field import VectorField
from sciml.symbolic.system import System


@dataclass(frozen=True, eq=False)
class BackwardPath:
    r"""A gradient carried back along a path: :math:`g_t = J_t^T g_{t+1}`.

    Norms are kept as logarithms, so that neither thousands of shrinking nor of growing steps leave the range of numbers.

    Attributes:
        directions: Unit vectors :math:`g_t/|g_t|` (zero once a gradient is exactly zero).
        log_norms: :math:`\log |g_t|`.
    """

    directions: Float[Tensor, "time *rows state"]
    log_norms: Float[Tensor, " time *rows"]

    @property
    def gradients(self) -> Float[Tensor, "time *batch state"]:
        """The vectors themselves, which can underflow or overflow."""
        return self.directions * self.log_norms.exp()[..., None]

    @property
    def growth(self) -> Float[Tensor, "*batch"]:
        """Mean change of the logarithm of the norm for each step back: below zero the gradient vanishes."""
        return (self.log_norms[0] - self.log_norms[-1]) / (len(self.log_norms) - 1)


def backpropagate(
    analyzed: System | VectorField | Map,
    path: Float[Tensor, "time *batch state"],
    gradient: Float[Tensor, "*batch state"],
    start: int = 0,
) -> BackwardPath:
    r"""The gradient of something that depends on the last state of a map's path, by all states before it.

    .. math:: \frac{\partial L}{\partial x_t} = J_t^T J_{t+1}^T \cdots J_{T-1}^T \frac{\partial L}{\partial x_T}

    Args:
        analyzed: A map: a System with `discrete=True`, or `Map(step)`; a recurrent network driven by inputs is
            `Map(lambda n, h: cell(inputs[n], h), counted=True)`.
        path: States from step `start` on, such as `map.path(...)` with time in front.
        gradient: :math:`\partial L/\partial x_T`.
        start: Number of the first step.

    Returns:
        Directions and logarithms of norms, from the first state of the path to the last.

    Raises:
        ModelError: A flow was given.
        DataError: The gradient does not fit the states, or the path holds fewer than two.

    Example:
        >>> shrink = Map(lambda y: y / 2)
        >>> path = shrink.path(torch.tensor([8.0]), 3)
        >>> backpropagate(shrink, path, torch.tensor([1.0])).gradients.flatten()
        tensor([0.1250, 0.2500, 0.5000, 1.0000])

    Reference:
        Bengio, Simard, Frasconi (1994), IEEE Transactions on Neural Networks 5, 157-166; Pascanu, Mikolov, Bengio (2013),
        arXiv:1211.5063, eq. 5.
    """
    evolution = Evolution.of(analyzed)
    if not evolution.discrete:
        raise ModelError("a flow has no steps to go back: use `gradients=` of `solve`, or give a map.")
    if path.ndim < 2 or len(path) < 2 or gradient.shape != path.shape[1:]:
        raise DataError(
            f"`path` has shape {tuple(path.shape)} and `gradient` {tuple(gradient.shape)}; expected are (time, *batch, "
            "state) with at least two times, and (*batch, state)."
        )
    rows, back = path.reshape(len(path), -1, path.shape[-1]), gradient.reshape(-1, path.shape[-1])
    log_norm = back.norm(dim=-1).log()
    back = _unit(back)
    directions, logs = [back], [log_norm]
    for n in range(len(rows) - 2, -1, -1):
        back = evolution.pulled(start + n, rows[n], back)
        log_norm = log_norm + back.norm(dim=-1).log()
        back = _unit(back)
        directions.append(back)
        logs.append(log_norm)
    return BackwardPath(
        torch.stack(directions[::-1]).reshape(path.shape), torch.stack(logs[::-1]).reshape(path.shape[:-1])
    )


def _unit(rows: Float[Tensor, "row state"]) -> Float[Tensor, "row state"]:
    norms = rows.norm(dim=-1, keepdim=True)
    return torch.where(norms > 0, rows / norms, torch.zeros_like(rows))
