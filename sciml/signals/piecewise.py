"""Sampled inputs as polynomials of degree three on common pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline, PPoly

DEGREE = 3
# Neighboring pieces are one where they agree up to rounding.
ROUNDING = 16 * np.finfo(float).eps
# Times closer than this, relative to their size, are one.
CLOCK = 64 * np.finfo(float).eps


@dataclass(frozen=True)
class Samples:
    """One input as it was sampled.

    Args:
        times: When, strictly increasing.
        values: What.
        interpolation: "constant" (a sample holds until the next one, the last one for ever), "linear" or "cubic" (a
            spline with continuous second derivatives, "not-a-knot" at the ends).
    """

    times: Float[np.ndarray, " sample"]
    values: Float[np.ndarray, " sample"]
    interpolation: str

    def polynomials(self) -> PPoly:
        """The pieces, each from its own sample on."""
        if self.interpolation == "cubic" and len(self.times) > 1:
            return CubicSpline(self.times, self.values)
        if self.interpolation == "linear" and len(self.times) > 1:
            slopes = np.diff(self.values) / np.diff(self.times)
            return PPoly(np.stack([slopes, self.values[:-1]]), self.times)
        return PPoly(self.values[None], np.append(self.times, self.times[-1] + 1.0))


@dataclass(frozen=True, eq=False)
class Signals:
    r"""All inputs of one experiment: :math:`u_i(t) = \sum_j c_{ij} (t - t_k)^j` from :math:`t_k` to :math:`t_{k+1}`.

    At the start of a piece the value is that of the piece: inputs are continuous from the right.

    Attributes:
        starts: Where each piece begins, increasing.
        end: Time up to which all inputs are known.
        coefficients: Ascending powers of the time since the start of the piece.
    """

    starts: Float[np.ndarray, " piece"]
    end: float
    coefficients: Float[np.ndarray, "piece input 4"]

    @property
    def jumps(self) -> Float[np.ndarray, " jump"]:
        """Times at which an input is not smooth: a solver ends a step there."""
        return self.starts[1:]

    def __call__(self, times: Float[np.ndarray, " time"]) -> Float[np.ndarray, "time input"]:
        """Values at given times.

        Example:
            >>> u = joined([Samples(np.array([0.0, 1.0]), np.array([2.0, 5.0]), "constant")])
            >>> u(np.array([0.0, 0.5, 1.0])).ravel().tolist()
            [2.0, 2.0, 5.0]
        """
        piece = np.searchsorted(self.starts[1:], times, side="right")
        distance = (np.asarray(times) - self.starts[piece])[..., None]
        c = self.coefficients[piece]
        return c[..., 0] + distance * (c[..., 1] + distance * (c[..., 2] + distance * c[..., 3]))

    def table(self, first: float = 0.0) -> Float[np.ndarray, "piece number"]:
        """Rows for native code: a number of its own, the start of the piece, the coefficients of all inputs."""
        flat = self.coefficients.reshape(len(self.starts), -1)
        return np.column_stack([np.full(len(self.starts), first), self.starts, flat])


def joined(inputs: Sequence[Samples]) -> Signals:
    """Several inputs on common pieces; a piece that goes on in the next one is no piece of its own."""
    pieces = [samples.polynomials() for samples in inputs]
    begins = [p.x[:-1] for p in pieces]
    begin = max(x[0] for x in begins)
    starts = np.unique(np.concatenate([[begin], *(x[x > begin] for x in begins)]))
    # Of times that differ by rounding the last, where all inputs have begun their pieces.
    starts = starts[np.append(np.diff(starts) > CLOCK * np.abs(starts).max(), True)]
    scaled = [[p(starts, j) / math.factorial(j) for j in range(DEGREE + 1)] for p in pieces]
    coefficients = np.moveaxis(np.array(scaled), 2, 0)
    kept = _differs(starts, coefficients)
    return Signals(starts[kept], min(float(s.times[-1]) for s in inputs), np.ascontiguousarray(coefficients[kept]))


def _differs(starts: Float[np.ndarray, " piece"], c: Float[np.ndarray, "piece input 4"]) -> np.ndarray:
    """Which pieces are other polynomials than the piece before."""
    if len(starts) == 1:
        return np.ones(1, dtype=bool)
    length = np.diff(starts)[:, None]
    before = c[:-1]
    shifted = [
        sum(math.comb(k, j) * before[..., k] * length ** (k - j) for k in range(j, DEGREE + 1))
        for j in range(DEGREE + 1)
    ]
    change = sum(np.abs(c[1:, :, j] - shifted[j]) * length**j for j in range(DEGREE + 1))
    scale = np.abs(c[..., 0]).max(axis=0)
    return np.append(True, (change > ROUNDING * scale).any(axis=1))
