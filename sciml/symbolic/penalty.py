"""Soft penalties: inequalities that a fitted trajectory should keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.core.relational import GreaterThan, LessThan, Relational, StrictGreaterThan, StrictLessThan

from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Penalty:
    r"""A price for breaking an inequality along the trajectory.

    .. math:: w \, \frac1T \int_0^T \max(0, g(t))^2 \, dt

    is added to the negative log-likelihood of each experiment, where the inequality says :math:`g < 0` and T is the
    experiment's duration; the integral is that of the trapezoidal rule.

    Args:
        condition: An inequality between expressions of states, observables, parameters, time and learned functions.
            The derivative of a state along the equations is `sp.Derivative(x, t)`, or `x(t).diff(t)` with the function
            of that name (SymPy takes `x.diff(t)` of two symbols for zero).
        weight: The price w of a violation by 1, in the unit of the expression, all the time. Log-likelihoods differ
            by a few units between good fits: choose w so that a violation that matters costs more.
        points: Points per interval between two rows of data.

    Example:
        >>> x, t = sp.symbols("x t", real=True)
        >>> Penalty(sp.Derivative(x, t) < 0, weight=100.0)
        Penalty(condition=Derivative(x, t) < 0, weight=100.0, points=4)
    """

    condition: Any
    weight: float = 1.0
    points: int = 4

    def __post_init__(self):
        if isinstance(self.condition, bool | sp.logic.boolalg.BooleanAtom):
            raise ModelError(
                f"the condition of a penalty is `{self.condition}`: SymPy has decided it already. Of symbols, `x.diff(t)` "
                "is zero: write the derivative along the equations as `sp.Derivative(x, t)`."
            )
        if not isinstance(self.condition, LessThan | StrictLessThan | GreaterThan | StrictGreaterThan):
            raise ModelError(
                f"the condition of a penalty is `{self.condition}`: give an inequality, such as `Penalty(x > 0)`."
            )
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ModelError(f"`Penalty(weight={self.weight})`: the weight must be a positive number.")
        if not isinstance(self.points, int) or self.points < 1:
            raise ModelError(
                f"`Penalty(points={self.points!r})`: the number of points must be a positive whole number."
            )

    def violation(self, system: System) -> sp.Expr:
        """The expression g that should be negative, in the System's states, parameters and learned functions.

        Raises:
            ModelError: It names what the System does not have.
        """
        relation: Relational = self.condition
        positive = isinstance(relation, GreaterThan | StrictGreaterThan)
        g: Any = relation.rhs - relation.lhs if positive else relation.lhs - relation.rhs
        g = g.replace(lambda e: self._is_quantity(system, e), lambda e: sp.Symbol(e.func.__name__, real=True))
        names = {str(name): value for name, value in system.observed.items()}
        g = g.subs({s: names[str(s)] for s in g.free_symbols if str(s) in names})
        g = g.replace(
            lambda e: self._is_rate(system, e), lambda e: system.time_derivative(e.expr, int(e.derivative_count))
        )
        where = f"the penalty `{relation}`"
        known = {*system.states, *system.parameters, system.time}
        for symbol in sorted(g.free_symbols - known, key=str):
            raise ModelError(
                f"`{symbol}` in {where} is neither a state, an observable nor a parameter."
                f"{suggestion(symbol, [*known, *names])}"
            )
        for call in sorted(g.atoms(AppliedUndef), key=str):
            if call.func not in system.functions:
                raise ModelError(
                    f"`{call}` in {where} is an unknown function. The System learns {quoted(system.functions)}."
                    f"{suggestion(call.func.__name__, system.functions)}"
                )
        return g

    @staticmethod
    def _is_quantity(system: System, e: sp.Basic) -> bool:
        """Whether it is a state or observable written as a function of time."""
        named = isinstance(e, AppliedUndef) and e.func not in system.functions
        return named and len(e.args) == 1 and str(e.args[0]) == str(system.time)

    @staticmethod
    def _is_rate(system: System, e: sp.Basic) -> bool:
        """Whether it is a derivative by time, and by time alone, of something that is not a learned function."""
        if not isinstance(e, sp.Derivative) or any(str(v) != str(system.time) for v in e.variables):
            return False
        return not isinstance(e.expr, AppliedUndef)
