"""What a discovery found: candidate laws, ranked, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import sympy as sp
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from sciml.discovery.library import Library
from sciml.fitting.result import Fit
from sciml.symbolic.system import System

NEAR_TIE = 10.0


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
    """

    fit: Fit
    library: Library
    active: tuple[int, ...]
    free: int
    criterion: float
    errors: dict[str, float]

    @property
    def terms(self) -> int:
        """Number of terms in all closed forms."""
        return len(self.active)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion, for comparison: it does not know how large the library was."""
        return -2 * self.log_likelihood + self.free * float(np.log(self.fit.problem.observations))

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
        names = [str(self.library.terms[k].coefficient) for k in self.active]
        names += [name for name in self.errors if name not in names]
        freedom = max(self.fit.problem.observations - self.free, 1)
        width = float(t_distribution.ppf(0.5 + 0.5 * level, freedom))
        values = self.fit.estimates
        return {n: (values[n] - width * self.errors[n], values[n] + width * self.errors[n]) for n in names}

    @cached_property
    def formulas(self) -> dict[str, sp.Expr]:
        """Learned function -> its closed form, estimates filled in."""
        estimates = {sp.Symbol(name, real=True): value for name, value in self.fit.estimates.items()}
        return {name: form.subs(estimates) for name, form in self.library.formulas(self.active).items()}

    @cached_property
    def system(self) -> System:
        """The law with its estimates; noise levels that the problem added for itself are left out."""
        law = self.library.law(self.fit.estimates, self.active)
        own = self.fit.problem.noise_parameters
        return replace(law, parameters={x: p for x, p in law.parameters.items() if x not in own})


@dataclass(frozen=True)
class Report:
    """Candidates in order of their criterion; the first is the law that is returned.

    The criterion is twice the negative log-posterior of the fitted law plus a price per term that grows with the size of
    the library (`price`). Candidates within 10 of the best are near ties: less than that is no very strong evidence (Kass
    and Raftery 1995, J. Am. Stat. Assoc. 90, 773), and in simulated studies they held the true law when it was not first.

    Attributes:
        candidates: Best criterion first.
        hybrid_log_likelihood: Of the fit that was discovered from; None without one.
        failed: Supports whose equations could not be solved.
        tried: All supports that were fitted.
        rescued: Those that could be solved only after a start on short pieces of the path.
    """

    candidates: tuple[Candidate, ...]
    hybrid_log_likelihood: float | None
    failed: int
    tried: int = 0
    rescued: int = 0

    @property
    def best(self) -> Candidate:
        """The law that `discover` returned."""
        return self.candidates[0]

    @property
    def near_ties(self) -> tuple[Candidate, ...]:
        """Candidates that the data do not clearly tell from the best."""
        return tuple(c for c in self.candidates if self.difference(c) < NEAR_TIE)

    def difference(self, candidate: Candidate) -> float:
        """Criterion of a candidate less that of the best."""
        return candidate.criterion - self.candidates[0].criterion

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate, best criterion first."""
        return pd.DataFrame([self._row(k) for k in range(len(self.candidates))])

    def _row(self, k: int) -> dict[str, object]:
        candidate = self.candidates[k]
        names = ("terms", "degree", "rmse", "log_likelihood", "bic", "criterion")
        row: dict[str, object] = {name: str(rounded(formula)) for name, formula in candidate.formulas.items()}
        row |= {name: getattr(candidate, name) for name in names}
        return row | {"difference": self.difference(candidate)}

    def __str__(self) -> str:
        frame = self.to_frame().head(10)
        return frame.to_string(index=False, float_format=lambda v: f"{v:.3f}")


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


def rounded(expression: sp.Expr, digits: int = 3) -> sp.Expr:
    """An expression with its floating-point numbers cut to a few significant digits."""
    return expression.xreplace({number: sp.Float(number, digits) for number in expression.atoms(sp.Float)})
