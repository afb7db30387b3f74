"""Where nothing moves, and what happens nearby."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sciml.dynamics.evolution import Analyzed, Evolution, names_of

NEUTRAL = 1e-7
"""Real parts (distances of moduli from 1, for maps) below this, relative to the largest, count as zero."""


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state at rest.

    Attributes:
        state: Where.
        eigenvalues: Of the Jacobian there, by falling real part (modulus, for maps).
        discrete: Whether it belongs to a map.
    """

    state: Float[np.ndarray, " state"]
    eigenvalues: Complex[np.ndarray, " state"]
    discrete: bool

    @property
    def growth(self) -> Float[np.ndarray, " state"]:
        """Growth rates of small deviations, per unit of time or per step: real parts, or logarithms of moduli."""
        if not self.discrete:
            return self.eigenvalues.real
        with np.errstate(divide="ignore"):
            return np.log(np.abs(self.eigenvalues))

    @property
    def stable(self) -> bool:
        """Whether all small deviations die out."""
        return bool((self.growth < -self._neutral).all())

    @property
    def kind(self) -> str:
        """Its name: a node, focus or saddle, stable or unstable, or neutral where linear terms do not decide."""
        growing, neutral = self.growth > self._neutral, np.abs(self.growth) <= self._neutral
        turning = np.abs(self.eigenvalues.imag) > NEUTRAL * max(1.0, float(np.abs(self.eigenvalues).max()))
        if neutral.any():
            return "center" if neutral.all() and turning.all() else "unstable, neutral" if growing.any() else "neutral"
        if growing.any() and not growing.all():
            return "saddle"
        return f"{'unstable' if growing.all() else 'stable'} {'focus' if turning.any() else 'node'}"

    @property
    def _neutral(self) -> float:
        return NEUTRAL * max(1.0, float(np.abs(self.eigenvalues).max()))


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """All fixed points that a search found.

    Attributes:
        points: In the order of their first coordinates.
        names: Of the states.
        starts: How many starts the search had.
        failed: How many of them ended nowhere.
    """

    points: tuple[FixedPoint, ...]
    names: tuple[str, ...]
    starts: int
    failed: int

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> FixedPoint:
        return self.points[index]

    def __iter__(self) -> Iterator[FixedPoint]:
        return iter(self.points)

    def to_frame(self) -> pd.DataFrame:
        """One row for each point: its state, kind and eigenvalues."""
        rows = [
            dict(zip(self.names, point.state)) | {"kind": point.kind, "eigenvalues": point.eigenvalues}
            for point in self.points
        ]
        return pd.DataFrame(rows, columns=[*self.names, "kind", "eigenvalues"])


def fixed_points(
    analyzed: Analyzed,
    bounds: Any,
    *,
    starts: int = 256,
    time: float = 0.0,
    tolerance: float = 1e-10,
    iterations: int = 100,
    seed: int = 0,
) -> FixedPoints:
    r"""Fixed points of a flow or a map within a box, by Newton's method from many starts.

    A flow rests where :math:`f(y) = 0`, a map where :math:`F(y) = y`. Each start takes steps of least norm, which also
    converge to lines of fixed points (conserved quantities), shortened until the residual falls; ends that agree are
    one point. *Points with a small basin of Newton's method can be missed; more starts make that less likely.*

    Args:
        analyzed: A System, a compiled field, a callable `field(t, y)`, or `Map(step)`.
        bounds: State -> (lower, upper); or `(lower, upper)` with a number for each state.
        starts: How many points of the box to start from.
        time: At which a field that depends on time is frozen.
        tolerance: Largest residual of a fixed point, relative to the size of the rates in the box.
        iterations: Steps of a start at most.
        seed: Of the starts.

    Returns:
        The points with eigenvalues and kind. Where none is found, a warning says so.

    Raises:
        DataError: The bounds do not fit the states.
        ModelError: The function does not return a rate or next state for each state.

    Example:
        >>> from sciml import models
        >>> points = fixed_points(models.lorenz(), ([-20, -20, -5], [20, 20, 45]))
        >>> [p.kind for p in points]
        ['saddle', 'saddle', 'saddle']
        >>> points[2].state.round(4)
        array([ 8.4853,  8.4853, 27.    ])

    Reference:
        Dennis, Schnabel (1983), Numerical Methods for Unconstrained Optimization and Nonlinear Equations, section 6.3.
    """
    evolution = Evolution.of(analyzed)
    low, high = evolution.box(bounds)
    y = evolution.sample(bounds, starts, seed)
    size = float(torch.nan_to_num(_residual(evolution, time, y), 0.0, 0.0, 0.0).abs().median()) or 1.0
    y, rest = _newton(evolution, time, y, iterations, size * tolerance)
    width = torch.as_tensor(high - low)
    inside = ((y >= torch.as_tensor(low) - 1e-9 * width) & (y <= torch.as_tensor(high) + 1e-9 * width)).all(-1)
    found = rest <= size * tolerance
    points = _distinct(y[found & inside], width)
    names = tuple(names_of(evolution, len(low)))
    if not len(points):
        warnings.warn(
            f"no fixed point was found in the box from {starts} starts ({int(found.sum())} ended outside). Widen "
            "`bounds`, or raise `starts`.",
            stacklevel=2,
        )
        return FixedPoints((), names, starts, int((~found).sum()))
    spectra = np.linalg.eigvals(evolution.jacobian(time, points).numpy()).astype(complex)
    order = [np.argsort(-(np.abs(s) if evolution.discrete else s.real), kind="stable") for s in spectra]
    listed = [FixedPoint(p, s[o], evolution.discrete) for p, s, o in zip(points.numpy(), spectra, order)]
    return FixedPoints(tuple(listed), names, starts, int((~found).sum()))


def _residual(evolution: Evolution, time: float, y: Tensor) -> Tensor:
    return evolution(time, y) - y if evolution.discrete else evolution(time, y)


def _newton(evolution: Evolution, time: float, y: Tensor, iterations: int, goal: float) -> tuple[Tensor, Tensor]:
    """States and norms of their residuals at the ends of damped Newton iterations, all starts together."""
    identity = torch.eye(y.shape[-1], dtype=y.dtype) if evolution.discrete else 0.0
    residual = _residual(evolution, time, y)
    norm = _norm(residual)
    stuck = torch.zeros_like(norm, dtype=torch.bool)
    for _ in range(iterations):
        going = (norm > goal) & torch.isfinite(norm) & ~stuck
        if not going.any():
            break
        here, target = y[going], norm[going]
        jacobian = torch.nan_to_num(evolution.jacobian(time, here) - identity)
        step = -(torch.linalg.pinv(jacobian, rtol=1e-12) @ residual[going][..., None])[..., 0]
        best, best_residual, best_norm = here, residual[going], target
        length = torch.ones_like(target)
        for _ in range(12):
            trial = here + length[:, None] * step
            value = _residual(evolution, time, trial)
            value_norm = _norm(value)
            better = (value_norm < (1 - 1e-4 * length) * target) & (best_norm == target)
            best = torch.where(better[:, None], trial, best)
            best_residual = torch.where(better[:, None], value, best_residual)
            best_norm = torch.where(better, value_norm, best_norm)
            length = torch.where(best_norm == target, length / 2, length)
            if (best_norm < target).all():
                break
        y, residual, norm, stuck = y.clone(), residual.clone(), norm.clone(), stuck.clone()
        y[going], residual[going], norm[going], stuck[going] = best, best_residual, best_norm, best_norm == target
    return y, norm


def _norm(residual: Tensor) -> Tensor:
    return torch.nan_to_num(torch.linalg.vector_norm(residual, dim=-1), nan=torch.inf)


def _distinct(points: Tensor, width: Tensor) -> Tensor:
    """One of each group of points that agree to a millionth of the box, ordered by coordinates."""
    kept: list[Tensor] = []
    for point in points:
        if all(((point - other).abs() / width).max() > 1e-6 for other in kept):
            kept.append(point)
    if not kept:
        return points[:0]
    rows = torch.stack(kept)
    return rows[torch.as_tensor(np.lexsort((rows / width).round(decimals=6).numpy().T[::-1]))]
