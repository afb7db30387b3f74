"""Sparse regression: which few terms of a library explain a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from sciml.discovery.forms import AbstractForm, IntegralForm
from sciml.discovery.regressions import SELECTIONS, AbstractRegression, BestSubset
from sciml.discovery.terms import AbstractTerms, Polynomials
from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.checks import expression


@dataclass(frozen=True)
class SparseRegression:
    """Few terms of a library for every learned function, or for every right-hand side.

    Supports (sets of active terms) are proposed by best subsets and by thresholded least squares on a form of the equations
    that measurements stand in linearly. With `discover(..., refine=True)`, the default, fits through the solver alone decide,
    and lead to other supports; with `refine=False` the `regression` and its `select` decide.

    Args:
        degree: Library of all monomials of the function's arguments up to this total degree.
        library: Terms of your own besides: SymPy expressions in the states, and families of terms, `Polynomials(2)`,
            `Powers([-1, 0.5])`, `Trigonometric()` and products of these.
        terms: Most terms per learned function (for functions that share an equation: together).
        form: `IntegralForm()`, `WeakForm()` or `SmoothedDerivative()`.
        regression: `BestSubset()`, `STLSQ()` or `SR3()`, the latter with a threshold or with one that is chosen.
        select: What chooses the number of terms, or the threshold: "familywise" (a price for the size of the library),
            "bic", "aicc" or "cross-validation".
        bags: So many times the regression is repeated on rows drawn anew; terms that come up in half of them count.
        signs: Function, state or a pair of it and a term -> 1 or -1: the sign of the coefficients. Beside `conserved` it is
            that of what a term comes to in all.
        conserved: Expressions of states that the whole System must keep constant: every coefficient multiplies a field
            that does.
        keep: Supports of each size that go into combinations.
        refits: Combinations that are fitted through the solver before the search goes on, and laws in the report.
        beam: How many of the best laws the search goes on from.
        shared: Price a term once that stands in several functions: what one state loses, another gains.
        intervals: Cut every series into so many, each with a start of its own: for long series, above all chaotic ones.

    Reference:
        Brunton, Proctor, Kutz (2016), PNAS 113, 3932 (thresholded least squares); Schaeffer and McCalla (2017),
        Phys. Rev. E 96, 023302 (integral form).
    """

    degree: int | None = None
    library: Sequence[sp.Expr | AbstractTerms] = ()
    terms: int = 3
    form: AbstractForm = field(default_factory=IntegralForm)
    regression: AbstractRegression = field(default_factory=BestSubset)
    select: str = "familywise"
    bags: int = 0
    signs: Mapping[Any, int] = field(default_factory=dict)
    conserved: Sequence[sp.Expr] = ()
    keep: int = 6
    refits: int = 40
    beam: int = 4
    shared: bool = False
    intervals: int = 1

    def __post_init__(self):
        given = self.library if np.iterable(self.library) else [self.library]
        terms = tuple(
            term if isinstance(term, AbstractTerms) else expression(term, "a term of `library`")
            for term in given
            if term is not None
        )
        object.__setattr__(self, "library", terms)
        quantities = self.conserved if np.iterable(self.conserved) else [self.conserved]
        checked = tuple(expression(quantity, "a quantity of `conserved`") for quantity in quantities)
        object.__setattr__(self, "conserved", checked)
        if self.degree is None and not terms:
            raise ModelError("`SparseRegression` needs terms: `degree=2`, or `library=[x, x*y, ...]`.")
        if self.degree is not None:
            Polynomials(self.degree)
        for name in ("terms", "keep", "refits", "beam", "intervals"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ModelError(f"`{name}={getattr(self, name)!r}` must be a positive whole number.")
        if not isinstance(self.bags, int) or self.bags < 0:
            raise ModelError(f"`bags={self.bags!r}` must be a whole number from 0.")
        self._check_choices()

    def _check_choices(self):
        if not isinstance(self.form, AbstractForm):
            raise ModelError(
                f"`form={self.form!r}` is not known: use `IntegralForm()`, `WeakForm()` or `SmoothedDerivative()`."
            )
        if not isinstance(self.regression, AbstractRegression):
            raise ModelError(
                f"`regression={self.regression!r}` is not known: use `BestSubset()`, `STLSQ()` or `SR3()`."
            )
        if self.select not in SELECTIONS:
            raise ModelError(
                f"`select={self.select!r}` is not known. There are {quoted(SELECTIONS)}.{suggestion(self.select, SELECTIONS)}"
            )
        for key, sign in self.signs.items():
            if sign not in (1, -1):
                raise ModelError(f"the sign of `{key}` is `{sign!r}`: 1 for positive, -1 for negative coefficients.")
