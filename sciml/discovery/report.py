"""What a discovery found: candidate laws, ranked, and why one was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import sympy as sp

from sciml.symbolic.system import System

NEAR_TIE = 6.0


@dataclass(frozen=True)
class Candidate:
    """One law, refitted through the solver.

    Attributes:
        system: The law with its estimates.
        formulas: Learned function -> its closed form.
        terms: Number of terms in all closed forms.
        degree: Sum of the terms' degrees.
        free: Number of fitted quantities: coefficients, parameters, initial values, noise levels.
        log_likelihood: Of the data.
        rmse: Root mean square residual (of logarithms where the noise is log-normal).
        bic: −2 log-likelihood + free · log(number of observations).
    """

    system: System
    formulas: Mapping[str, sp.Expr]
    terms: int
    degree: int
    free: int
    log_likelihood: float
    rmse: float
    bic: float


@dataclass(frozen=True)
class Report:
    """Candidates in order of their criterion, and the choice among them.

    The criterion is the Bayesian information criterion of the refitted law. Candidates within 6 of the best are near
    ties: such a difference is positive but not strong evidence (Kass and Raftery 1995, J. Am. Stat. Assoc. 90, 773).
    Of the near ties the simplest is chosen: fewest terms, then lowest total degree, then best criterion.

    Attributes:
        candidates: Best criterion first.
        chosen: Index of the chosen one.
        hybrid_log_likelihood: Of the fit that was discovered from.
        failed: Supports whose equations could not be solved.
    """

    candidates: tuple[Candidate, ...]
    chosen: int
    hybrid_log_likelihood: float
    failed: int

    @property
    def near_ties(self) -> tuple[Candidate, ...]:
        """Candidates that the data do not clearly tell from the best."""
        return tuple(c for c in self.candidates if c.bic - self.candidates[0].bic < NEAR_TIE)

    def to_frame(self) -> pd.DataFrame:
        """One row per candidate, best criterion first."""
        rows = [
            {
                **{name: str(rounded(formula)) for name, formula in c.formulas.items()},
                "terms": c.terms,
                "degree": c.degree,
                "rmse": c.rmse,
                "log_likelihood": c.log_likelihood,
                "bic": c.bic,
                "difference": c.bic - self.candidates[0].bic,
                "chosen": k == self.chosen,
            }
            for k, c in enumerate(self.candidates)
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        frame = self.to_frame()
        frame["chosen"] = frame["chosen"].map({True: "<--", False: ""})
        return frame.head(10).to_string(index=False, float_format=lambda v: f"{v:.3f}")


def choose(candidates: list[Candidate]) -> int:
    """Index of the simplest near tie."""
    best = candidates[0].bic
    near = [k for k, c in enumerate(candidates) if c.bic - best < NEAR_TIE]
    return min(near, key=lambda k: (candidates[k].terms, candidates[k].degree, candidates[k].bic))


def rounded(expression: sp.Expr, digits: int = 3) -> sp.Expr:
    """An expression with its floating-point numbers cut to a few significant digits."""
    return expression.xreplace({number: sp.Float(number, digits) for number in expression.atoms(sp.Float)})
