"""Free coordinates: the flat vector that optimizers move, and its map to bounded quantities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.distributions import LogNormal, StudentT


class Transform(IntEnum):
    r"""How a coordinate :math:`u` becomes a value :math:`v`."""

    SCALED = 0  # v = scale · u
    ABOVE = 1  # v = lower + exp(u)
    BELOW = 2  # v = upper − exp(u)
    BETWEEN = 3  # v = lower + (upper − lower) / (1 + exp(−u))


class Prior(IntEnum):
    """On what the prior of a coordinate acts."""

    NONE = 0
    VALUE = 1
    LOGARITHM = 2


@dataclass(frozen=True)
class Coordinates:
    r"""Smooth one-to-one maps between free coordinates and values, one per entry, and priors on the values.

    Attributes:
        transform: `Transform` codes.
        lower, upper, scale: Bounds, and the unit of unbounded coordinates.
        prior: `Prior` codes.
        center, precision: Center and inverse squared scale of the prior, of the value or its logarithm.
        freedom: Degrees of freedom of the prior, a Student's t; infinite for a Gaussian.
    """

    transform: Int[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    scale: Float[np.ndarray, " n"]
    prior: Int[np.ndarray, " n"]
    center: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    freedom: Float[np.ndarray, " n"]

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
            rows.append((transform, lower or 0.0, upper or 0.0, unit, *_prior_of(parameter)))
        return cls._from_rows(rows)

    @classmethod
    def of_weights(cls, precision: Float[np.ndarray, " n"]) -> Coordinates:
        """Unbounded coordinates with a Gaussian prior around zero: weights of a network."""
        kind = np.where(precision > 0, Prior.VALUE, Prior.NONE)
        zero, one = np.zeros(len(precision)), np.ones(len(precision))
        gaussian = np.full(len(precision), np.inf)
        return cls(np.full(len(precision), Transform.SCALED), zero, zero, one, kind, zero, precision, gaussian)

    @classmethod
    def _from_rows(cls, rows: list[tuple]) -> Coordinates:
        columns = [np.array(column) for column in zip(*rows)] if rows else [np.zeros(0)] * 8
        kinds = (int, float, float, float, int, float, float, float)
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
        square = np.where(self.prior == Prior.NONE, 0.0, self.precision * deviation**2)
        heavy = np.isfinite(self.freedom)
        nu = np.where(heavy, self.freedom, 1.0)
        each = np.where(heavy, 0.5 * (nu + 1) * np.log1p(square / nu), 0.5 * square)
        weight = np.where(heavy, (nu + 1) / (nu + square), 1.0) * self.precision
        gradient = np.where(self.prior == Prior.NONE, 0.0, weight * deviation / positive)
        return float(np.sum(each)), gradient

    def prior_information(self, free: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Curvature of the priors along each free coordinate, as Gauss and Newton take it: never negative."""
        values, slopes = self.values(free)
        per_logarithm = np.where(self.prior == Prior.LOGARITHM, np.maximum(np.abs(values), np.finfo(float).tiny), 1.0)
        heavy = np.isfinite(self.freedom)
        nu = np.where(heavy, self.freedom, 1.0)
        expected = np.where(heavy, (nu + 1) / (nu + 3), 1.0)  # as for measurements with Student's t
        return np.where(self.prior == Prior.NONE, 0.0, expected * self.precision * (slopes / per_logarithm) ** 2)


def _prior_of(parameter: Parameter) -> tuple[Prior, float, float, float]:
    """On what it acts, its center, inverse squared scale, and degrees of freedom."""
    prior = parameter.prior
    if prior is None:
        return Prior.NONE, 0.0, 0.0, np.inf
    precision = float(prior.scale) ** -2
    if isinstance(prior, LogNormal):
        return Prior.LOGARITHM, float(np.log(parameter.value)), precision, np.inf
    return Prior.VALUE, parameter.value, precision, prior.freedom if isinstance(prior, StudentT) else np.inf
