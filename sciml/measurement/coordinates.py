"""Free coordinates: the flat vector that optimizers move, and its map to bounded quantities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int

from sciml.symbolic.declarations import LogNormal, Normal, Parameter


class Transform(IntEnum):
    r"""How a coordinate :math:`u` becomes a value :math:`v`."""

    SCALED = 0  # v = scale · u
    ABOVE = 1  # v = lower + exp(u)
    BELOW = 2  # v = upper − exp(u)
    BETWEEN = 3  # v = lower + (upper − lower) / (1 + exp(−u))


class Prior(IntEnum):
    """On what a Gaussian prior of a coordinate acts."""

    NONE = 0
    VALUE = 1
    LOGARITHM = 2


@dataclass(frozen=True)
class Coordinates:
    r"""Smooth one-to-one maps between free coordinates and values, one per entry, and Gaussian priors on the values.

    Attributes:
        transform: `Transform` codes.
        lower, upper, scale: Bounds, and the unit of unbounded coordinates.
        prior: `Prior` codes.
        center, precision: Mean and inverse variance of the prior, of the value or its logarithm.
    """

    transform: Int[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    scale: Float[np.ndarray, " n"]
    prior: Int[np.ndarray, " n"]
    center: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]

    @classmethod
    def of_parameters(cls, parameters: Iterable[Parameter], scales: Iterable[float | None] = ()) -> Coordinates:
        """Coordinates of declared parameters; an unbounded one is measured in its scale, by default |value| or 1."""
        rows = []
        parameters = list(parameters)
        scales = list(scales) or [None] * len(parameters)
        for parameter, scale in zip(parameters, scales):
            lower, upper = parameter.bounds
            transform = Transform((lower is not None) + 2 * (upper is not None))
            unit = scale or abs(parameter.value) or 1.0
            kind, center, spread = _prior_of(parameter)
            rows.append((transform, lower or 0.0, upper or 0.0, unit, kind, center, spread))
        return cls._from_rows(rows)

    @classmethod
    def of_weights(cls, precision: Float[np.ndarray, " n"]) -> Coordinates:
        """Unbounded coordinates with a prior of mean zero: weights of a network under decay."""
        kind = np.where(precision > 0, Prior.VALUE, Prior.NONE)
        zero, one = np.zeros(len(precision)), np.ones(len(precision))
        return cls(np.full(len(precision), Transform.SCALED), zero, zero, one, kind, zero, precision)

    @classmethod
    def _from_rows(cls, rows: list[tuple]) -> Coordinates:
        columns = [np.array(column) for column in zip(*rows)] if rows else [np.zeros(0)] * 7
        kinds = (int, float, float, float, int, float, float)
        return cls(*(column.astype(kind) for column, kind in zip(columns, kinds)))

    @classmethod
    def joined(cls, parts: Iterable[Coordinates]) -> Coordinates:
        """One after another."""
        parts = list(parts)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def at(self, indices: Int[np.ndarray, " m"]) -> Coordinates:
        """Some of them."""
        return Coordinates(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.transform)

    def values(self, free: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Values, and their derivatives by the coordinates."""
        exponential = np.exp(np.clip(free, -700, 700))  # exp overflows above 709
        logistic = 1.0 / (1.0 + np.exp(-np.clip(free, -700, 700)))
        width = self.upper - self.lower
        cases = [self.transform == code for code in Transform]
        values = np.select(
            cases,
            [self.scale * free, self.lower + exponential, self.upper - exponential, self.lower + width * logistic],
        )
        slopes = np.select(cases, [self.scale, exponential, -exponential, width * logistic * (1 - logistic)])
        return values, slopes

    def free(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The coordinates of given values; values on or beyond a bound come out just inside."""
        tiny = np.finfo(float).tiny
        above = np.maximum(values - self.lower, tiny)
        below = np.maximum(self.upper - values, tiny)
        cases = [self.transform == code for code in Transform]
        return np.select(cases, [values / self.scale, np.log(above), np.log(below), np.log(above) - np.log(below)])

    def penalty(self, values: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
        """Negative log-density of the priors (without constants), and its derivatives by the values."""
        logarithmic = self.prior == Prior.LOGARITHM
        positive = np.where(logarithmic, np.maximum(values, np.finfo(float).tiny), 1.0)
        deviation = np.where(logarithmic, np.log(positive), values) - self.center
        deviation = np.where(self.prior == Prior.NONE, 0.0, deviation)
        gradient = self.precision * deviation / positive
        return 0.5 * float(np.sum(self.precision * deviation**2)), gradient


def _prior_of(parameter: Parameter) -> tuple[Prior, float, float]:
    if parameter.prior is None:
        return Prior.NONE, 0.0, 0.0
    precision = float(parameter.prior.scale) ** -2
    if isinstance(parameter.prior, LogNormal):
        return Prior.LOGARITHM, float(np.log(parameter.value)), precision
    assert isinstance(parameter.prior, Normal), "Parameter refuses other priors"
    return Prior.VALUE, parameter.value, precision
