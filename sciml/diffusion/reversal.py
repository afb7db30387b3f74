r"""The reverse SDE and the probability-flow ODE of a stochastic System, derived from its equations.

For :math:`dx = f\,dt + G\,dw` with density :math:`p_t` and :math:`D = G G^T`, both follow from the Fokker-Planck equation:
the reverse SDE has drift :math:`f - \nabla\cdot D - D \nabla \log p_t`, with the same G and time running backwards; the
ordinary equation with the same marginals has :math:`f - \tfrac12 \nabla\cdot D - \tfrac12 D \nabla \log p_t`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.system import System

X = sp.Symbol("x", real=True)


def score_functions(system: System) -> tuple[Any, ...]:
    """Undefined functions that stand for the components of the score: `score_x(x, ..., t)` for each state `x`."""
    return tuple(sp.Function(f"score_{x}") for x in system.states)


def reverse_sde(system: System, learned: Any) -> System:
    r"""The SDE whose solutions, run from late to early times, have the same densities as the System's.

    Args:
        system: A stochastic System.
        learned: What gives the score: `MLP(...)` or a torch module from (states, time) to one number per state.

    Returns:
        A System with the same noise, in which `score_x(x, ..., t)` are learned functions. Its time runs backwards:
        solve it over falling times.

    Raises:
        ModelError: The System has no noise.

    Example:
        >>> from sciml import MLP
        >>> x = sp.Symbol("x", real=True)
        >>> reverse_sde(System({x: -x}, noise={x: sp.sqrt(2)}), MLP())
        System(x' = -x - 2*score_x(x, t))

    Reference:
        Anderson (1982), Stochastic Processes and their Applications 12, 313-326.
    """
    return _with_score(system, sp.S.One, learned)


def probability_flow(system: System, learned: Any) -> System:
    """The ordinary differential equation with the same densities as a stochastic System.

    Args:
        system: A stochastic System.
        learned: What gives the score, as for `reverse_sde`.

    Returns:
        A System without noise, to be solved in either direction of time.

    Raises:
        ModelError: The System has no noise.

    Example:
        >>> from sciml import MLP
        >>> x = sp.Symbol("x", real=True)
        >>> probability_flow(System({x: -x}, noise={x: x}), MLP())
        System(x' = -x**2*score_x(x, t)/2 - 2*x)

    Reference:
        Song and others (2021), arXiv:2011.13456, appendix D.1.
    """
    return replace(_with_score(system, sp.Rational(1, 2), learned), noise={})


def _with_score(system: System, share: sp.Expr, learned: Any) -> System:
    functions = score_functions(system)
    scores = [function(*system.states, system.time) for function in functions]
    drifts = drift_with_score(system, share, scores)
    equations = {x: sp.expand(drift) for x, drift in zip(system.states, drifts)}
    return replace(system, equations=equations, learned={**system.learned, functions: learned})


def drift_with_score(system: System, share: sp.Expr, scores: list[Any]) -> list[sp.Expr]:
    r"""The drift :math:`f - c\,(\nabla\cdot D + D s)`; c = 1 for the reverse SDE, 1/2 for the probability flow."""
    if not system.noise:
        raise ModelError("the System has no noise, so nothing diffuses: declare it by `System(noise={x: ...})`.")
    states, matrix = system.states, system.diffusion
    tensor = matrix * matrix.T
    return [
        rhs - share * sum(tensor[i, j].diff(x) + tensor[i, j] * scores[j] for j, x in enumerate(states))
        for i, rhs in enumerate(system.equations.values())
    ]


@dataclass(frozen=True)
class LinearDrift:
    """The drift of a process that is linear: its coefficients of the state and of the score, functions of time."""

    of_state: sp.Expr
    of_score: sp.Expr


def reverse_drift(system: System) -> LinearDrift:
    """The reverse SDE's drift of a process."""
    return _linear(system, sp.S.One)


def flow_drift(system: System) -> LinearDrift:
    """The probability flow's drift of a process."""
    return _linear(system, sp.Rational(1, 2))


def _linear(system: System, share: sp.Expr) -> LinearDrift:
    score = sp.Symbol("score", real=True)
    (drift,) = drift_with_score(system, share, [score])
    (x,) = system.states
    found = LinearDrift(sp.simplify(drift.diff(x)), sp.simplify(drift.diff(score)))
    if (found.of_state.free_symbols | found.of_score.free_symbols) & {x, score}:
        raise ModelError(f"the drift `{drift}` of the process is not linear in `{x}`: its marginals are not Gaussian.")
    return found
