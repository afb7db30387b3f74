"""How measurements scatter around the model's values, and what is known of a parameter beforehand."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from sciml.errors import ModelError


class AbstractDistribution:
    """A distribution around the model's value m.

    The scale is a positive number, an expression of parameters, states, observables or time, a column of the data
    (a symbol named like it) or such an expression times a column, or None for a level of its own that is fitted with
    the rest.

    Attributes:
        positive: Whether m must be positive.
        counts: Whether values are whole numbers from 0.
        prior: Whether it can say what is known of a parameter.
    """

    positive: ClassVar[bool] = False
    counts: ClassVar[bool] = False
    prior: ClassVar[bool] = False

    def __post_init__(self):
        object.__setattr__(self, "scale", _checked_scale(self))


@dataclass(frozen=True)
class Normal(AbstractDistribution):
    r"""Additive noise: :math:`y \sim N(m, s^2)`.

    Args:
        scale: Standard deviation, in the unit of the measured quantity.
    """

    scale: Any = None
    prior: ClassVar[bool] = True


@dataclass(frozen=True)
class LogNormal(AbstractDistribution):
    r"""Multiplicative noise: :math:`\log y \sim N(\log m, s^2)` around :math:`m > 0`.

    Args:
        scale: Standard deviation of the logarithm (0.1 is about 10 %).
    """

    scale: Any = None
    positive: ClassVar[bool] = True
    prior: ClassVar[bool] = True


@dataclass(frozen=True)
class StudentT(AbstractDistribution):
    r"""Additive noise with outliers: :math:`(y - m)/s` has Student's t distribution.

    Args:
        scale: The scale s, in the unit of the measured quantity; the standard deviation is
            :math:`s \sqrt{\nu / (\nu - 2)}`.
        freedom: Degrees of freedom ν: the fewer, the more outliers; from about 30 on it is nearly normal.
    """

    scale: Any = None
    freedom: float = 4.0
    prior: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if not (np.isfinite(self.freedom) and self.freedom > 0):
            raise ModelError(f"`StudentT(freedom={self.freedom})`: the degrees of freedom must be a positive number.")


@dataclass(frozen=True)
class Poisson(AbstractDistribution):
    """Counts of independent events, with mean and variance m > 0."""

    scale: ClassVar[sp.Expr] = sp.Integer(1)  # it has none to choose
    positive: ClassVar[bool] = True
    counts: ClassVar[bool] = True

    def __post_init__(self):
        pass


@dataclass(frozen=True)
class NegativeBinomial(AbstractDistribution):
    r"""Counts that scatter more than Poisson's: mean m > 0 and variance :math:`m + m^2/k`.

    Args:
        scale: The number k, often called size: 10 adds about 30 % to large counts; Poisson's is the limit of a large k.
    """

    scale: Any = None
    positive: ClassVar[bool] = True
    counts: ClassVar[bool] = True


DISTRIBUTIONS = {cls.__name__: cls for cls in (Normal, LogNormal, StudentT, Poisson, NegativeBinomial)}


def _checked_scale(distribution: AbstractDistribution) -> sp.Expr | None:
    if distribution.scale is None:
        return None
    scale = None if isinstance(distribution.scale, str) else sp.sympify(distribution.scale)  # parsing text would run it
    if not isinstance(scale, sp.Expr) or (scale.is_number and not (scale.is_finite and scale > 0)):
        raise ModelError(
            f"`{type(distribution).__name__}({distribution.scale!r})`: the scale must be a positive number. Give one, "
            "name a parameter, or leave it out to have it fitted."
        )
    return scale
