"""Candidate laws, and what a term must gain to be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import sympy as sp
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from sciml.discovery.library import Library
from sciml.fitting.result import Fit
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Candidate:
    """One law, refitted through the solver.

    Attributes:
        fit: Of the library System, all coefficients but the active ones at zero.
        library: The terms.
        active: Indices of the active terms.
        free: Number of fitted quantities: coefficients, parameters, initial values, noise levels.
        criterion: Twice the negative log-posterior + `price` of the terms.
        errors: Standard error of every coefficient and free parameter, by name; NaN where the data do not tell.
        exact: Terms whose coefficients were rounded, and to what (`discover(..., simplify=...)`).
        forecast: Root mean square error on measurements that were held out; None without.
    """

    fit: Fit
    library: Library
    active: tuple[int, ...]
    free: int
    criterion: float
    errors: dict[str, float]
    exact: Mapping[int, sp.Rational] = field(default_factory=dict)
    forecast: float | None = None

    @property
    def terms(self) -> int:
        """Number of terms in all closed forms."""
        return len(self.active)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion, for comparison: it does not know how large the library was."""
        return -2 * self.log_likelihood + self.free * float(np.log(self.fit.problem.observations))

    @property
    def aicc(self) -> float:
        """Akaike's criterion, corrected for few measurements; it does not know how large the library was, either."""
        return corrected(self.log_likelihood, self.free, self.fit.problem.observations)

    @property
    def degree(self) -> int:
        """Sum of the terms' degrees."""
        return sum(self.library.terms[k].degree for k in self.active)

    @property
    def log_likelihood(self) -> float:
        """Of the data."""
        return self.fit.log_likelihood

    @cached_property
    def rmse(self) -> float:
        """Root mean square residual (of logarithms where the noise is log-normal)."""
        return self.fit.rmse

    def intervals(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Confidence intervals of the coefficients, in the order of the active terms, then of the other parameters.

        They are those of the linearized law (Student's t with the residual degrees of freedom), given that its form is
        right.
        """
        names = [str(self.library.terms[k].coefficient) for k in self.active if k not in self.exact]
        names += [name for name in self.errors if name not in names]
        freedom = max(self.fit.problem.observations - self.free, 1)
        width = float(t_distribution.ppf(0.5 + 0.5 * level, freedom))
        values = self.fit.estimates
        return {n: (values[n] - width * self.errors[n], values[n] + width * self.errors[n]) for n in names}

    @cached_property
    def formulas(self) -> dict[str, sp.Expr]:
        """Learned function -> its closed form, estimates filled in."""
        estimates = {sp.Symbol(name, real=True): value for name, value in self.fit.estimates.items()}
        estimates |= {self.library.terms[k].coefficient: value for k, value in self.exact.items()}
        return {name: form.subs(estimates) for name, form in self.library.formulas(self.active).items()}

    @cached_property
    def system(self) -> System:
        """The law with its estimates; noise levels that the problem added for itself are left out."""
        law = self.library.law(self.fit.estimates, self.active, self.exact)
        own = self.fit.problem.noise_parameters
        return replace(law, parameters={x: p for x, p in law.parameters.items() if x not in own})


def price(terms: int, library: int, observations: int, others: int, level: float = 0.01) -> float:
    r"""What the terms of a law must gain in −2 log-likelihood to be believed.

    The best of many terms fits noise better than any one of them would. The i-th of k terms out of a library of P is
    charged what an F-test at a familywise level α asks for, with n observations and :math:`\nu_i` degrees of freedom left:

    .. math:: \sum_{i=1}^{k} n \log\left(1 + q_i / \nu_i\right), \quad
              q_i = F_{1, \nu_i}^{-1}\left(1 - \alpha / (P - i + 1)\right)

    Args:
        terms: k, number of active terms.
        library: P, number of terms that were searched.
        observations: n, number of measured values.
        others: Fitted quantities besides the coefficients.
        level: α, chance of admitting any spurious term.

    Example:
        >>> round(price(1, library=10, observations=62, others=4), 1)
        11.9
    """
    total = 0.0
    for i in range(1, terms + 1):
        freedom = max(observations - others - i, 1)
        quantile = f_distribution.isf(level / max(library - i + 1, 1), 1, freedom)
        total += observations * float(np.log1p(quantile / freedom))
    return total


def corrected(log_likelihood: float, free: float, observations: int) -> float:
    """Akaike's information criterion with the correction for few measurements; infinite where nothing is left over."""
    left = observations - free - 1
    return -2 * log_likelihood + 2 * free + (2 * free * (free + 1) / left if left > 0 else np.inf)


def rounded(expression: sp.Expr, digits: int = 3) -> sp.Expr:
    """An expression with its floating-point numbers cut to a few significant digits."""
    return expression.xreplace({number: sp.Float(number, digits) for number in expression.atoms(sp.Float)})
