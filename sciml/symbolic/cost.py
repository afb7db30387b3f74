"""Costs of control: what a trajectory costs as it goes, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic import checks
from sciml.symbolic.system import System

ACCUMULATED = sp.Symbol("accumulated_cost", real=True)
"""The state that a System under a cost has besides its own: the integral of the running cost so far."""


@dataclass(frozen=True)
class Cost:
    r"""The cost :math:`\int_{t_0}^{t_1} r(t, x)\, dt + e(t_1, x(t_1))` of a trajectory.

    Attributes:
        running: The integrand r, in the System's states, parameters, inputs, time and learned functions.
        terminal: The price e of the state at the end.
        begin, end: When trajectories begin and end.
    """

    running: sp.Expr
    terminal: sp.Expr
    begin: float
    end: float

    @classmethod
    def of(cls, written: Any, system: System) -> Cost:
        """Read a cost as its user wrote it: `sp.Integral(running, (t, 0, 10)) + terminal`.

        Raises:
            ModelError: It is no scalar, has no integral and thus no horizon, or names what the System does not have.
        """
        where = "the cost"
        if isinstance(written, cls):
            written._check(system)
            return written
        total = checks.expression(written, where)
        observed = {str(name): value for name, value in system.observed.items()}
        total = total.replace(
            lambda e: isinstance(e, sp.Integral),
            lambda e: sp.Integral(_named(e.function, observed), *e.limits),
        )
        integrals = sorted(total.atoms(sp.Integral), key=str)
        if not integrals:
            raise ModelError(
                f"{where} `{total}` has no integral over time, and thus no horizon. Write "
                f"`sp.Integral(running, ({system.time}, 0, 10)) + terminal`; if nothing runs up on the way, `running` is 0."
            )
        begin, end = _horizon(integrals, system)
        places = {integral: sp.Dummy() for integral in integrals}
        outer = total.xreplace(places)
        running, terminal = sp.S.Zero, _named(outer.xreplace(dict.fromkeys(places.values(), sp.S.Zero)), observed)
        for integral, place in places.items():
            factor = outer.diff(place)
            if factor.free_symbols - set(system.parameters):
                raise ModelError(
                    f"{where} `{total}` is not a sum of integrals and a terminal cost: the factor `{_shown(factor, places)}` "
                    f"of `{integral}` is neither a number nor made of parameters. For a function of an integral, "
                    "make the integral a state of the System, and the function of it the terminal cost."
                )
            running += factor * integral.function
        found = cls(sp.sympify(running), terminal, begin, end)
        found._check(system)
        return found

    def _check(self, system: System) -> None:
        """Raise for what the System does not have."""
        known = {*system.states, *system.parameters, *system.inputs, system.time}
        for part, expression in (("running", self.running), ("terminal", self.terminal)):
            where = f"the {part} cost `{expression}`"
            for symbol in sorted(expression.free_symbols - known, key=str):
                raise ModelError(
                    f"`{symbol}` in {where} is neither a state, an observable nor a parameter."
                    f"{suggestion(symbol, [*known, *system.observed])}"
                )
            for call in sorted(expression.atoms(AppliedUndef), key=str):
                if call.func not in system.functions:
                    raise ModelError(
                        f"`{call}` in {where} is an unknown function. The System learns {quoted(system.functions)}."
                        f"{suggestion(call.func.__name__, system.functions)}"
                    )

    def joined(self, system: System) -> System:
        """The System with one state more, which the cost runs up in."""
        own = without_cost(system)
        used = [f"the equation of `{x}`" for x, rhs in own.equations.items() if rhs.has(ACCUMULATED)]
        if used or ACCUMULATED in own.parameters or ACCUMULATED in own.observed:
            raise ModelError(
                f"`{ACCUMULATED}` is the name of what a cost has run up to, and occurs in the System. Rename it."
            )
        equations = {**own.equations, ACCUMULATED: self.running}
        return replace(own, equations=equations, initial={**own.initial, ACCUMULATED: sp.S.Zero})


def without_cost(system: System) -> System:
    """The System without the state that a cost runs up in."""
    if ACCUMULATED not in system.equations:
        return system
    equations = {x: rhs for x, rhs in system.equations.items() if x != ACCUMULATED}
    initial = {x: value for x, value in system.initial.items() if x != ACCUMULATED}
    return replace(system, equations=equations, initial=initial)


def _named(expression: sp.Expr, observed: dict[str, sp.Expr]) -> sp.Expr:
    """The expression with what observables stand for in their place."""
    return expression.subs({s: observed[str(s)] for s in expression.free_symbols if str(s) in observed})


def _shown(factor: sp.Expr, places: dict[sp.Integral, sp.Dummy]) -> sp.Expr:
    return factor.xreplace({place: integral for integral, place in places.items()})


def _horizon(integrals: list[sp.Integral], system: System) -> tuple[float, float]:
    """Common limits of all integrals."""
    found = set()
    for integral in integrals:
        limits: Any = integral.limits
        if len(limits) != 1 or len(limits[0]) != 3 or str(limits[0][0]) != str(system.time):
            raise ModelError(
                f"`{integral}` in the cost is not an integral over time between two limits: write "
                f"`sp.Integral(running, ({system.time}, 0, 10))`."
            )
        _, begin, end = limits[0]
        if not (begin.is_number and end.is_number and begin < end):
            raise ModelError(
                f"`{integral}` in the cost runs from `{begin}` to `{end}`: give two numbers, the first one smaller. An "
                "integral without end is cut where the rest no longer matters."
            )
        found.add((float(begin), float(end)))
    if len(found) > 1:
        raise ModelError(
            f"the integrals in the cost have different limits, {sorted(found)}: one trajectory has one horizon. Use the "
            "longest for all, times a `sp.Piecewise` of time where a part of it counts."
        )
    return found.pop()
