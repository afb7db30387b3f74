"""What native code needs to know of a System's events, as Programs."""

from __future__ import annotations

import sympy as sp

from sciml.lowering.program import Program, lower, slot
from sciml.lowering.slopes import flattened, slope
from sciml.native.watch import RECORD, RESET, TERMINAL
from sciml.symbolic.system import System

SIGNS = {"both": 0, "rising": 1, "falling": -1}


def event_programs(system: System, differentiable: bool = False) -> dict[str, Program]:
    r"""The conditions of all events, their rates along the flow, and the states behind all resets.

    .. math:: \dot g = \frac{\partial g}{\partial t} + \sum_i \frac{\partial g}{\partial x_i} f_i

    Args:
        system: Without events there are no Programs.
        differentiable: Whether the rates of what is reset follow those of the conditions, as the reverse pass needs.

    Raises:
        ModelError: What cannot be lowered.

    Example:
        >>> import sympy as sp
        >>> from sciml import Event
        >>> x, v, g = sp.symbols("x v g", real=True)
        >>> ball = System({x: v, v: -g}, {g: 9.8}, events=[Event(x, direction="falling", reset={v: -v / 2})])
        >>> {role: program.results for role, program in event_programs(ball).items()}
        {'conditions': (y[0],), 'rates': (y[1],), 'resets': (y[0], -0.5*y[1])}
    """
    if not system.events:
        return {}
    conditions = [flattened(event.condition) for event in system.events]
    resets = [flattened(event.reset.get(x, x)) for event in system.events if event.reset for x in system.states]
    moving = [*conditions, *(resets if differentiable else [])]
    found = {"conditions": conditions, "rates": [_along(system, e) for e in moving], "resets": resets}
    return {role: lower(system, expressions) for role, expressions in found.items() if expressions}


def _along(system: System, expression: sp.Expr) -> sp.Expr:
    """The rate of change along the flow, step functions taken as flat."""
    by_state = [slope(expression, x) * flattened(rate) for x, rate in system.equations.items()]
    by_input = [slope(expression, u) * slot("v", i) for i, u in enumerate(system.inputs)]
    return sp.Add(slope(expression, system.time), *by_state, *by_input)


def event_kinds(system: System) -> tuple[tuple[int, int], ...]:
    """Of each event the sign of its condition behind it, and what it does, as `native.model.Model` has it."""
    kinds, resets = [], 0
    for event in system.events:
        kinds.append(
            (SIGNS[event.direction], TERMINAL if event.terminal else RESET + resets if event.reset else RECORD)
        )
        resets += event.reset is not None
    return tuple(kinds)
