"""From higher-order equations, Hamiltonians and Lagrangians to first-order right-hand sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef, UndefinedFunction

from sciml.errors import ModelError, quoted


def derivative_symbol(function: AppliedUndef, order: int) -> sp.Symbol:
    """The state that stands for a derivative of `x(t)`: `x`, `x_dot`, `x_ddot`, `x_d3`, …"""
    name = function.func.__name__
    suffix = {0: "", 1: "_dot", 2: "_ddot"}.get(order, f"_d{order}")
    return sp.Symbol(name + suffix, real=True)


def time_of(expressions: Iterable[sp.Expr], time: sp.Symbol | None) -> sp.Symbol:
    """The symbol with respect to which something is differentiated."""
    if time is not None:
        return time
    found = {
        variable
        for expression in expressions
        for derivative in expression.atoms(sp.Derivative)
        for variable in derivative.variables
        if isinstance(variable, sp.Symbol)
    }
    if len(found) != 1:
        raise ModelError(f"time could not be told among {quoted(sorted(map(str, found)))}: pass `time=t`.")
    return found.pop()


def dynamic_functions(
    expressions: Iterable[sp.Expr], time: sp.Symbol, learned: Iterable[UndefinedFunction]
) -> list[AppliedUndef]:
    """The functions of time alone, `x(t)`, that are not to be learned, by name."""
    calls = set().union(*(expression.atoms(AppliedUndef) for expression in expressions))
    return sorted((c for c in calls if c.args == (time,) and c.func not in set(learned)), key=str)


def to_symbols(value: Any, functions: Sequence[AppliedUndef], time: sp.Symbol) -> Any:
    """`x(t)` and its derivatives replaced by symbols; anything that is not an expression stays as it is."""
    if not isinstance(value, sp.Basic):
        return value
    table: dict[Any, sp.Symbol] = {}
    for derivative in value.atoms(sp.Derivative):
        if derivative.expr in functions and set(derivative.variables) == {time}:
            table[derivative] = derivative_symbol(derivative.expr, derivative.derivative_count)
    table.update({function: derivative_symbol(function, 0) for function in functions})
    return value.xreplace(table)


def declarations_to_symbols(
    declarations: Mapping[str, Any], functions: Sequence[AppliedUndef], time: sp.Symbol
) -> dict[str, Any]:
    """Initial values, observables, noise and events given in `x(t)` rewritten in symbols, keys and values."""
    result = dict(declarations)
    for name in ("initial", "observed", "noise"):
        if name in result:
            result[name] = {
                to_symbols(key, functions, time): {k: to_symbols(v, functions, time) for k, v in value.items()}
                if isinstance(value, Mapping)
                else to_symbols(value, functions, time)
                for key, value in result[name].items()
            }
    if "events" in result:
        result["events"] = [
            replace(
                event,
                condition=to_symbols(event.condition, functions, time),
                reset=event.reset
                and {to_symbols(x, functions, time): to_symbols(e, functions, time) for x, e in event.reset.items()},
            )
            for event in result["events"]
        ]
    return result


def first_order(
    equations: Sequence[sp.Eq], time: sp.Symbol | None, learned: Iterable[UndefinedFunction] = ()
) -> tuple[dict[sp.Symbol, sp.Expr], list[AppliedUndef], sp.Symbol]:
    r"""Reduce differential equations of any order to first order.

    The highest derivative of each unknown must occur linearly; :math:`x, \dot x, \dots, x^{(n-1)}` become states.

    Args:
        equations: As many as there are functions of time; an expression stands for "= 0".
        time: The independent variable; None finds it in the derivatives.
        learned: Functions to be learned, which are no unknowns even where they depend on time alone.

    Returns:
        State -> right-hand side, the functions of time, and time.
    """
    residuals = [e.lhs - e.rhs if isinstance(e, sp.Eq) else sp.sympify(e) for e in equations]
    time = time_of(residuals, time)
    functions = dynamic_functions(residuals, time, learned)
    orders = dict.fromkeys(functions, 0)
    for residual in residuals:
        for derivative in residual.atoms(sp.Derivative):
            if derivative.expr in orders:
                orders[derivative.expr] = max(orders[derivative.expr], derivative.derivative_count)
    static = [function for function, order in orders.items() if order == 0]
    if static:
        raise ModelError(
            f"no derivative of {quoted(static)} occurs. An algebraic unknown cannot be solved for; a function to be "
            "learned goes into `learned`."
        )
    if len(residuals) != len(functions):
        raise ModelError(f"{len(residuals)} equations for {len(functions)} unknowns: {quoted(functions)}.")
    highest = [derivative_symbol(function, order) for function, order in orders.items()]
    symbolic = [to_symbols(residual, functions, time) for residual in residuals]
    solved = _solve_linear(symbolic, highest)
    result = {}
    for function, order in orders.items():
        for k in range(order - 1):
            result[derivative_symbol(function, k)] = derivative_symbol(function, k + 1)
        result[derivative_symbol(function, order - 1)] = solved[derivative_symbol(function, order)]
    return result, functions, time


def _solve_linear(residuals: Sequence[sp.Expr], unknowns: Sequence[sp.Symbol]) -> dict[sp.Symbol, sp.Expr]:
    matrix = sp.Matrix([[residual.diff(unknown) for unknown in unknowns] for residual in residuals])
    if matrix.has(*unknowns):
        raise ModelError(
            f"the equations are not linear in their highest derivatives {quoted(unknowns)}: solve them for these first."
        )
    if sp.simplify(matrix.det()) == 0:
        raise ModelError(f"the equations do not determine the highest derivatives {quoted(unknowns)}.")
    constant = sp.Matrix([residual.subs(dict.fromkeys(unknowns, 0)) for residual in residuals])
    return dict(zip(unknowns, matrix.LUsolve(-constant)))


def hamilton(hamiltonian: sp.Expr, pairs: Mapping[sp.Symbol, sp.Symbol]) -> dict[sp.Symbol, sp.Expr]:
    r"""Hamilton's equations :math:`\dot q = \partial H/\partial p`, :math:`\dot p = -\partial H/\partial q`."""
    hamiltonian = sp.sympify(hamiltonian)
    for symbol in (*pairs, *pairs.values()):
        if symbol not in hamiltonian.free_symbols:
            raise ModelError(f"`{symbol}` does not occur in the Hamiltonian `{hamiltonian}`.")
    positions = {q: hamiltonian.diff(p) for q, p in pairs.items()}
    return positions | {p: -hamiltonian.diff(q) for q, p in pairs.items()}


def euler_lagrange(
    lagrangian: sp.Expr, coordinates: Sequence[AppliedUndef]
) -> tuple[dict[sp.Symbol, sp.Expr], sp.Symbol]:
    r"""The Euler-Lagrange equations, solved for the accelerations.

    .. math:: L_{\dot q \dot q} \, \ddot q = L_q - L_{\dot q q} \, \dot q - L_{\dot q t}

    Args:
        lagrangian: Expression of `q(t)`, `q(t).diff(t)` and possibly time; it may hold functions to be learned.
        coordinates: The `q(t)`.

    Returns:
        State -> right-hand side with states `q`, `q_dot`; and time.
    """
    lagrangian = sp.sympify(lagrangian)
    for coordinate in coordinates:
        if not (isinstance(coordinate, AppliedUndef) and len(coordinate.args) == 1):
            raise ModelError(f'coordinate `{coordinate}` must be a function of time: `q = sp.Function("q")(t)`.')
    time = coordinates[0].args[0]
    L = to_symbols(lagrangian, coordinates, time)
    q = [derivative_symbol(coordinate, 0) for coordinate in coordinates]
    v = [derivative_symbol(coordinate, 1) for coordinate in coordinates]
    mass = sp.Matrix([[L.diff(vi, vj) for vj in v] for vi in v])
    force = sp.Matrix([L.diff(qi) - sum(L.diff(vi, qj) * vj for qj, vj in zip(q, v)) - L.diff(vi, time)
                       for qi, vi in zip(q, v)])  # fmt: skip
    if sp.simplify(mass.det()) == 0:
        raise ModelError(
            f"the Lagrangian is not quadratic enough in the velocities {quoted(v)}: its mass matrix is singular."
        )
    acceleration = mass.LUsolve(force)
    return dict(zip(q, v)) | {
        vi: sp.simplify(a) if not a.has(AppliedUndef) else a for vi, a in zip(v, acceleration)
    }, time
