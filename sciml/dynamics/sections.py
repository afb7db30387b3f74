"""Poincaré sections: a flow as a map, and what becomes of it as a parameter changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
import torch
from torch import Tensor

from sciml.dynamics.evolution import Analyzed, Evolution, Map
from sciml.errors import DataError, ModelError
from sciml.event import Event
from sciml.lowering.vector_field import VectorField, trained_system
from sciml.simulation import simulate
from sciml.solvers import AbstractSolver, Tsit5, solve
from sciml.symbolic import checks
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
        watched = replace(system, observed={}, events=[Event(_expression(condition, system), direction=direction)])
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


def bifurcation_sweep(
    analyzed: System | VectorField | Callable[[float], Map],
    parameter: sp.Symbol | str,
    values: Sequence[float],
    *,
    transient: float,
    duration: float,
    section: sp.Expr | None = None,
    direction: str = "falling",
    y0: Any = None,
    decimals: int | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-7,
) -> pd.DataFrame:
    r"""What a system settles on, for each value of a parameter: the data of a bifurcation diagram.

    A map shows its states after the transient; a flow its passages through a section, by default the maxima of its first
    state, :math:`\dot y_1 = 0` falling. Every value starts from the same state, so of several attractors one is seen.

    Args:
        analyzed: A System (flow or map) or its compiled field.
        parameter: Which parameter is varied.
        values: Its values.
        transient: Time, or steps, that are not shown.
        duration: Time, or steps, that are.
        section: Surface of a flow: an expression of states that passes through zero.
        direction: In which it passes.
        y0: Initial state by name; the System's when None.
        decimals: Round states to this many decimals and drop repetitions, which leaves one row for each branch.
        rtol, atol: Tolerances of a flow.

    Returns:
        One row for each state shown: the parameter, then the states. A value whose trajectory escapes has none.

    Raises:
        ModelError: The parameter is not one of the System's, or the section not an expression of its states.

    Example:
        >>> from sciml import models
        >>> frame = bifurcation_sweep(models.logistic_map(), "r", [2.8, 3.2], transient=500, duration=64, decimals=4)
        >>> frame.groupby("r")["x"].apply(list).to_dict()
        {2.8: [0.6429], 3.2: [0.513, 0.7995]}
    """
    evolution = Evolution.of(analyzed)
    if evolution.field is None:
        raise ModelError("a sweep needs a System, whose parameters have names.")
    system = trained_system(evolution.field)
    symbol = checks.lookup(parameter, system.parameters, "parameter")
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise DataError(f"`values` of `{symbol}` must be a list of finite numbers.")
    names = [str(x) for x in system.states]
    if system.discrete:
        steps = range(int(transient), int(transient) + int(duration))
        path = simulate(
            system, [0, *steps] if steps[0] else steps, initial=y0, parameters={symbol: numbers}, throw=False
        ).states[:, -len(steps) :]
        frame = pd.DataFrame(path.reshape(-1, len(names)), columns=names)
        frame.insert(0, str(symbol), np.repeat(numbers, len(steps)))
        frame = frame.dropna()
    else:
        condition = next(iter(system.equations.values())) if section is None else _expression(section, system)
        watched = replace(system, observed={}, events=[Event(condition, direction=direction)])
        met = simulate(
            watched,
            [0.0, transient + duration],
            initial=y0,
            parameters={symbol: numbers},
            throw=False,
            rtol=rtol,
            atol=atol,
        ).events.reset_index()
        met = met[met[str(system.time)] >= transient]
        frame = met[names].copy()
        frame.insert(0, str(symbol), numbers[met["trajectory"].to_numpy()])
    if decimals is not None:
        frame[names] = frame[names].round(decimals)
        frame = frame.drop_duplicates()
    return frame.sort_values([str(symbol), *names], ignore_index=True)


def _expression(condition: Any, system: System) -> sp.Expr:
    if not isinstance(condition, sp.Expr):
        raise ModelError(f"the surface of a System is an expression of its states, not `{type(condition).__name__}`.")
    return condition
