"""What can be seen to be wrong with a problem: units of time, idle parameters, and what the data did not determine."""

from __future__ import annotations

import warnings

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float

from sciml.lowering.networks import set_all_weights
from sciml.measurement.information import information
from sciml.measurement.problem import Problem
from sciml.symbolic.declarations import Parameter
from sciml.uncertainty.laplace import Laplace

MOST = 40
"""Unknowns up to which a fit says by itself what the data leave open."""

FAST, SLOW = 100.0, 1 / 30
"""From which factors on equations are much faster than rows follow each other, or slower than the data change."""


def check_plausible(problem: Problem) -> None:
    """Warn of units of time that do not fit, and of parameters without any effect."""
    idle = _idle(problem)
    if idle:
        warnings.warn(
            f"`{idle[0]}` has no effect on anything that was measured, so that the data cannot determine it. Use it in an "
            f"equation, drop it from `parameters`, or give a number: `parameters={{{idle[0]}: 1.0}}`.",
            stacklevel=3,
        )
    told = _units(problem)
    if told:
        warnings.warn(told, stacklevel=3)


def open_directions(problem: Problem, vector: Float[np.ndarray, " theta"]) -> tuple[str, ...]:
    """A sentence for each parameter, or combination of them, that the data leave open at the best fit.

    Only where that costs next to nothing: of laws without networks whose loss is computed natively. Elsewhere ask
    `fit.laplace().undetermined()`.
    """
    if problem.cost is not None or problem.system.learned or problem.engine != "native" or len(vector) > MOST:
        return ()
    found = information(problem.loss, vector)
    if found is None:
        return ()
    return Laplace(problem, vector, found.matrix).undetermined()


def _idle(problem: Problem) -> list[str]:
    """Free parameters that occur nowhere."""
    system = problem.system
    starts = [value for value in system.initial.values() if not isinstance(value, Parameter)]
    own = [penalty.violation(system) for penalty in problem.inequalities]
    used = {s for e in (*system.formulas, *starts, *problem.scales, *own) for s in sp.sympify(e).free_symbols}
    cost = set() if problem.cost is None else problem.cost.terminal.free_symbols
    return [str(x) for x, p in system.parameters.items() if not p.fixed and x not in used | cost]


@torch.no_grad()
def _units(problem: Problem) -> str:
    """What to say where the equations at their declared values run on another scale of time than the data; else nothing.

    If every state's rate, at the measured rows, would carry it by more than 100 times its size from one row to the next, or
    over all of the time by less than a 30th of how far it was seen to move, the unit of time is another one, or the
    declared values are far off. Networks, whose scales come from the data, would hide it.
    """
    system, names = problem.system, [str(x) for x in problem.system.states]
    if problem.cost is not None or system.noise or system.learned or not set(names) <= set(problem.columns):
        return ""
    vector = problem.initial()
    fast, slow = np.full(len(names), np.inf), np.zeros(len(names))
    for e, experiment in enumerate(problem.experiments):
        states = np.stack([experiment.column(name) for name in names], axis=1)
        whole = np.isfinite(states).all(axis=1)
        if whole.sum() < 2:
            continue
        rates = _rates(problem, vector, experiment.times[whole], states[whole], e)
        spacing, span = np.median(np.diff(experiment.times)), np.ptp(experiment.times)
        moved = np.nanmax(states, axis=0) - np.nanmin(states, axis=0)
        size = np.sqrt(np.nanmean(states**2, axis=0))
        with np.errstate(all="ignore"):
            fast = np.fmin(fast, np.median(rates, axis=0) * spacing / size)
            slow = np.fmax(slow, np.mean(rates, axis=0) * span / moved)
    how = ""
    if np.isfinite(fast).all() and fast.min() > FAST:
        how = f"change every state by more than {fast.min():.0e} times its size from one row to the next"
    elif 0 < slow.max() < SLOW:
        how = f"move no state by more than {slow.max():.0e} of how far it moved in the data"
    if not how:
        return ""
    times = problem.experiments[0].times
    return (
        f"at their declared values the equations {how}. Is time, from {times[0]:g} to {times[-1]:g} in the data, in the unit "
        "of the model? A year has 365 days or 3.2e7 seconds. If it is, start the parameters nearer to what they may be."
    )


def _rates(problem: Problem, vector: np.ndarray, times: np.ndarray, states: np.ndarray, experiment: int) -> np.ndarray:
    """Size of the right-hand side at given states."""
    parameters, weights, _ = problem.loss.physical(vector)
    field = problem.loss.field
    set_all_weights(field.networks, weights)
    signals = problem.experiments[experiment].signals
    u = None if signals is None else torch.as_tensor(signals(times))
    p = torch.as_tensor(parameters[experiment if len(parameters) > 1 else 0])
    return np.abs(field(torch.as_tensor(times)[:, None], torch.as_tensor(states), p, u).numpy())
