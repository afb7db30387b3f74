"""Symbolic derivatives of right-hand sides, as autograd takes them: zero along the flat parts of step functions."""

from __future__ import annotations

from typing import Any

import sympy as sp

from sciml.symbolic.system import System


class Floor(sp.Function):
    """Floor with the derivative zero, which SymPy leaves open."""

    def fdiff(self, argindex=1):
        return sp.Integer(0)


class Ceiling(sp.Function):
    """Ceiling with the derivative zero."""

    def fdiff(self, argindex=1):
        return sp.Integer(0)


class Sign(sp.Function):
    """Sign with the derivative zero, instead of a delta distribution."""

    def fdiff(self, argindex=1):
        return sp.Integer(0)


def flattened(expression: sp.Expr) -> sp.Expr:
    """Step functions in a form whose derivative is zero almost everywhere, as autograd takes it."""
    result: Any = expression.replace(sp.Mod, lambda a, b: a - b * Floor(a / b))
    return result.replace(sp.floor, Floor).replace(sp.ceiling, Ceiling).replace(sp.sign, Sign)


def slope(expression: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """Partial derivative of a flattened expression, without distributions."""
    result = expression.diff(symbol)
    return result.replace(sp.DiracDelta, lambda *a: sp.Integer(0)).replace(sp.sign, Sign)


def jacobian_expressions(system: System) -> list[sp.Expr]:
    """Derivatives of the right-hand sides by the states, row after row.

    Example:
        >>> x, y = sp.symbols("x y", real=True)
        >>> jacobian_expressions(System({x: -x * y, y: x**2}))
        [-y, -x, 2*x, 0]
    """
    return [slope(flattened(e), x) for e in system.equations.values() for x in system.states]
