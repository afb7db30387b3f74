"""Poincaré sections: a flow as a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import sympy as sp
import torch
from torch import Tensor

from sciml.dynamics.evolution import Analyzed, Evolution
from sciml.errors import DataError, ModelError
from sciml.event import Event
from sciml.lowering.vector_field import trained_system
from sciml.simulation import simulate
from sciml.solvers import AbstractSolver, Tsit5, solve
from sciml.symbolic.system import System


def poincare_section(
    analyzed: Analyzed,
    condition: sp.Expr | Callable[[Any, Tensor], Tensor],
    y0: Any = None,
    *,
    duration: float,
    transient: float = 0.0,
    direction: str = "rising",
    solver: AbstractSolver | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-8,
) -> pd.DataFrame:
    r"""Where a trajectory passes through a surface :math:`g(y) = 0`, located on the dense output.

    Args:
        analyzed: A System, a compiled field, or a callable `field(t, y)`.
        condition: The surface: an expression of a System's states, or for a callable a function `(t, y)`.
        y0: Initial state, as for `lyapunov_spectrum`; one trajectory.
        duration: Time over which to look, after the transient.
        transient: Time to run before.
        direction: "rising" where g grows through zero, "falling", or "both".
        solver: Method; `Tsit5()` when None.
        rtol, atol: Its tolerances.

    Returns:
        One row for each passage: the states there; the index is time.

    Raises:
        ModelError: A map was given, or an expression for a callable.
        DataError: There is more than one trajectory, or a duration that is not positive.

    Example:
        >>> from sciml import models
        >>> v = sp.Symbol("v", real=True)
        >>> peaks = poincare_section(models.van_der_pol(), v, duration=30, transient=30, direction="falling")
        >>> [round(x, 3) for x in peaks["x"]]
        [2.009, 2.009, 2.009, 2.009, 2.009]

    Reference:
        Hénon (1982), Physica D 5, 412-414 (whose trick the dense output replaces).
    """
    evolution = Evolution.of(analyzed)
    if evolution.discrete:
        raise ModelError("a Poincaré section is of a flow; a map has its points already: `simulate(system, range(n))`.")
    if not (duration > 0 and transient >= 0):
        raise DataError(f"`duration={duration}` must be positive and `transient={transient}` not negative.")
    rows = evolution.starts(y0)
    if len(rows) != 1:
        raise DataError(f"`y0` holds {len(rows)} trajectories; a section is of one.")
    times = [0.0, transient + duration] if transient == 0 else [0.0, transient, transient + duration]
    if evolution.field is not None:
        system = trained_system(evolution.field)
        watched = replace(system, observed={}, events=[Event(surface_of(condition, system), direction=direction)])
        initial = dict(zip(system.states, rows[0].tolist()))
        frame = simulate(
            watched, times, initial=initial, solver=solver, rtol=rtol, atol=atol, max_steps=10_000_000
        ).events
        return frame[frame.index >= transient].drop(columns="event")
    if isinstance(condition, sp.Basic):
        raise ModelError(
            "the field is a callable: give the surface as a function of `(t, y)`, `lambda t, y: y[..., 0]`."
        )
    with torch.no_grad():
        solution = solve(
            analyzed,
            rows[0],
            torch.tensor(times, dtype=rows.dtype),
            solver=solver or Tsit5(),
            rtol=rtol,
            atol=atol,
            events=[Event(condition, direction=direction)],
            max_steps=10_000_000,
        )
    found = solution.events
    assert found is not None  # events were asked for
    frame = pd.DataFrame(found.states.numpy(), pd.Index(found.times.numpy(), name="t"))
    frame.columns = [f"y{i}" for i in range(rows.shape[1])]
    return frame[frame.index >= transient]


def surface_of(condition: Any, system: System) -> sp.Expr:
    """The surface as an expression, checked."""
    if not isinstance(condition, sp.Expr):
        raise ModelError(f"the surface of a System is an expression of its states, not `{type(condition).__name__}`.")
    return condition
