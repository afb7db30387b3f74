"""Systems as LaTeX."""

from __future__ import annotations

import sympy as sp

from sciml.symbolic.system import System


def latex(system: System, digits: int | None = 3) -> str:
    r"""The equations of a System as a LaTeX `aligned` environment.

    Args:
        system: What to print; functions to be learned stay functions.
        digits: Significant digits of the parameters' values, put in place of their symbols. None keeps the symbols.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(latex(System({x: -k * x}, parameters={k: 0.51234})))
        \begin{aligned}
        \dot{x} &= - 0.512 x
        \end{aligned}
    """
    rows = [
        rf"\dot{{{sp.latex(x)}}} &= {sp.latex(with_values(system, rhs, digits))}" for x, rhs in system.equations.items()
    ]
    rows += [
        rf"{sp.latex(x)} &= {sp.latex(with_values(system, value, digits))}" for x, value in system.observed.items()
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def with_values(system: System, expression: sp.Expr, digits: int | None) -> sp.Expr:
    """An expression with parameters replaced by their values, rounded to significant digits."""
    if digits is None:
        return expression
    return expression.subs({x: sp.Float(p.value, digits) for x, p in system.parameters.items()})
