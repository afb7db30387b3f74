"""The parts of the equations among which to look for the one that is no longer a finite number."""

from __future__ import annotations

import sympy as sp
from sympy.core.function import AppliedUndef

from sciml.lowering.program import Program, lower
from sciml.symbolic.system import System


def suspects(system: System) -> tuple[Program, tuple[str, ...]]:
    """All learned outputs, then all terms of the equations: a Program that computes them, and each in words."""
    found: list[tuple[sp.Expr, str]] = []
    for x, rate in system.equations.items():
        for call in sorted(rate.atoms(AppliedUndef), key=str):
            found.append((call, f"the learned `{call}` in the equation of `{x}`"))
    for x, rate in system.equations.items():
        found += [(term, f"the term `{term}` in the equation of `{x}`") for term in sp.Add.make_args(rate)]
    return lower(system, [expression for expression, _ in found]), tuple(words for _, words in found)
