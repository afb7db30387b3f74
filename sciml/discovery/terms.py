"""Families of candidate terms, as SymPy expressions of the arguments of a learned function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from numbers import Real

import numpy as np
import sympy as sp

from sciml.errors import ModelError


class AbstractTerms(ABC):
    """A rule that gives terms for any arguments. Two of them multiplied give every product of their terms."""

    @abstractmethod
    def of(self, arguments: Sequence[sp.Expr]) -> list[sp.Expr]:
        """The terms in these arguments, none twice."""

    def __mul__(self, other: AbstractTerms) -> AbstractTerms:
        return Products(self, other) if isinstance(other, AbstractTerms) else NotImplemented


@dataclass(frozen=True)
class Polynomials(AbstractTerms):
    """All monomials up to a total degree, the constant among them.

    Args:
        degree: From 0 to 10.

    Example:
        >>> x, y = sp.symbols("x y", real=True)
        >>> Polynomials(2).of([x, y])
        [1, x, y, x**2, x*y, y**2]
    """

    degree: int

    def __post_init__(self):
        if not isinstance(self.degree, int) or not 0 <= self.degree <= 10:
            hint = " Terms of your own are `library=[...]`." if np.iterable(self.degree) else ""
            raise ModelError(f"`degree={self.degree!r}` must be a whole number from 0 to 10.{hint}")

    def of(self, arguments: Sequence[sp.Expr]) -> list[sp.Expr]:
        return monomials(arguments, self.degree)


@dataclass(frozen=True)
class Powers(AbstractTerms):
    """Powers of single arguments, such as roots and inverses.

    Args:
        exponents: Whole or half numbers, or other fractions; not 0.

    Example:
        >>> Powers([-1, 0.5]).of([sp.Symbol("x", real=True)])
        [1/x, sqrt(x)]
    """

    exponents: Sequence[float]

    def __post_init__(self):
        given = self.exponents if np.iterable(self.exponents) else [self.exponents]
        found = tuple(_fraction(exponent) for exponent in given)
        if not found:
            raise ModelError("`Powers` needs exponents: `Powers([-1, 0.5])`.")
        object.__setattr__(self, "exponents", found)

    def of(self, arguments: Sequence[sp.Expr]) -> list[sp.Expr]:
        return _once([argument**exponent for exponent in self.exponents for argument in arguments])


@dataclass(frozen=True)
class Trigonometric(AbstractTerms):
    """Sine and cosine of single arguments.

    Args:
        frequencies: What the arguments are multiplied by, inside.

    Example:
        >>> Trigonometric([1, 2]).of([sp.Symbol("x", real=True)])
        [sin(x), cos(x), sin(2*x), cos(2*x)]
    """

    frequencies: Sequence[float] = (1,)

    def __post_init__(self):
        given = self.frequencies if np.iterable(self.frequencies) else [self.frequencies]
        found = tuple(_fraction(frequency, "frequency", "`Trigonometric([1, 2])`") for frequency in given)
        if not found:
            raise ModelError("`Trigonometric` needs frequencies: `Trigonometric([1, 2])`.")
        object.__setattr__(self, "frequencies", found)

    def of(self, arguments: Sequence[sp.Expr]) -> list[sp.Expr]:
        inside = [w * argument for w in self.frequencies for argument in arguments]
        return _once([wave(a) for a in inside for wave in (sp.sin, sp.cos)])


@dataclass(frozen=True)
class Products(AbstractTerms):
    """Every product of a term of one family and a term of another: `Polynomials(1) * Trigonometric()`."""

    left: AbstractTerms
    right: AbstractTerms

    def of(self, arguments: Sequence[sp.Expr]) -> list[sp.Expr]:
        return _once([a * b for a in self.left.of(arguments) for b in self.right.of(arguments)])


def monomials(arguments: Sequence[sp.Expr], degree: int) -> list[sp.Expr]:
    """All monomials of the arguments up to a total degree, by degree, the constant first."""
    return [
        sp.Mul(*combination)
        for total in range(degree + 1)
        for combination in combinations_with_replacement(arguments, total)
    ]


def _once(terms: Sequence[sp.Expr]) -> list[sp.Expr]:
    return list(dict.fromkeys(terms))


def _fraction(number: object, what: str = "exponent", example: str = "`Powers([-1, 0.5])`") -> sp.Expr:
    """A number as a fraction where it is one with a small denominator, so that 0.5 is printed as a root."""
    if isinstance(number, sp.Expr) and number.is_number and number.is_real and number != 0:
        return number
    if isinstance(number, bool) or not isinstance(number, Real) or not np.isfinite(float(number)) or number == 0:
        raise ModelError(f"the {what} `{number!r}` must be a number other than zero: {example}.")
    near = Fraction(float(number)).limit_denominator(12)
    return sp.Rational(near.numerator, near.denominator) if float(near) == float(number) else sp.Float(float(number))
