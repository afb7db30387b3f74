"""The noise of a System: which Wiener process moves which state, and how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from sciml.errors import ModelError

Noise = Mapping[sp.Symbol, Any]


def terms(noise: Noise) -> Iterator[tuple[sp.Symbol, sp.Symbol, sp.Expr]]:
    """State, Wiener process and coefficient of every term; a state's own process is called `W_state`."""
    for state, value in noise.items():
        if isinstance(value, Mapping):
            yield from ((state, process, coefficient) for process, coefficient in value.items())
        else:
            yield state, sp.Symbol(f"W_{state}", real=True), value


def mapped(noise: Noise, change: Callable[[sp.Expr], sp.Expr]) -> dict[sp.Symbol, Any]:
    """The same noise with every coefficient changed."""
    return {
        state: {process: change(c) for process, c in value.items()} if isinstance(value, Mapping) else change(value)
        for state, value in noise.items()
    }


def processes(noise: Noise) -> tuple[sp.Symbol, ...]:
    """The Wiener processes, in order of appearance."""
    return tuple(dict.fromkeys(process for _, process, _ in terms(noise)))


def diffusion_matrix(noise: Noise, states: Sequence[sp.Symbol]) -> sp.Matrix:
    """Coefficients with a row for each state and a column for each Wiener process."""
    columns = processes(noise)
    matrix = sp.zeros(len(states), len(columns))
    for state, process, coefficient in terms(noise):
        matrix[states.index(state), columns.index(process)] += coefficient
    return matrix


def stratonovich_drift(equations: Mapping[sp.Symbol, sp.Expr], noise: Noise) -> list[sp.Expr]:
    r"""The drift of the Stratonovich equation with the same solutions as Itô's.

    .. math:: f_i - \tfrac12 \sum_{jk} G_{kj}\, \partial G_{ij} / \partial x_k
    """
    states = tuple(equations)
    matrix = diffusion_matrix(noise, states)
    return [
        rhs
        - sp.Rational(1, 2)
        * sum(
            (matrix[k, j] * matrix[i, j].diff(x) for k, x in enumerate(states) for j in range(matrix.cols)), sp.S.Zero
        )
        for i, rhs in enumerate(equations.values())
    ]


def is_additive(noise: Noise, states: Sequence[sp.Symbol]) -> bool:
    """Whether no coefficient depends on a state."""
    return not any(coefficient.has(*states) for _, _, coefficient in terms(noise))


def is_diagonal(noise: Noise) -> bool:
    """Whether every state has a Wiener process of its own."""
    moved = [process for _, process, _ in terms(noise)]
    rows = [state for state, _, _ in terms(noise)]
    return len(set(moved)) == len(moved) and len(set(rows)) == len(rows)


def correlated(states: Sequence[sp.Symbol], covariance: Any) -> dict[sp.Symbol, dict[sp.Symbol, sp.Expr]]:
    r"""Noise of a given covariance per unit of time, for `System(noise=...)`.

    The lower triangular factor L of :math:`\Sigma = L L^T` is taken: of the Wiener processes `W_1`, `W_2`, … the first
    moves all states, the last only the last one.

    Args:
        states: The states, in the order of the matrix.
        covariance: Symmetric, positive definite, of numbers.

    Raises:
        ModelError: The matrix has another shape, is not symmetric, or not positive definite.

    Example:
        >>> x, y = sp.symbols("x y", real=True)
        >>> correlated([x, y], [[4.0, 2.0], [2.0, 2.0]])[x]
        {W_1: 2.00000000000000}
    """
    try:
        matrix = np.asarray(covariance, dtype=float)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the covariance {covariance!r} is not a matrix of numbers.") from error
    if matrix.shape != (len(states), len(states)):
        raise ModelError(f"the covariance has shape {matrix.shape}; {len(states)} states need {(len(states),) * 2}.")
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-12, atol=0.0):
        raise ModelError(f"the covariance {matrix.tolist()} must be symmetric and finite.")
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest <= 0:
        raise ModelError(
            f"the covariance {matrix.tolist()} is not positive definite: its smallest eigenvalue is {lowest:.3g}. "
            "Leave out states without noise, and check signs and sizes of the correlations."
        )
    factor = np.linalg.cholesky(matrix)
    names = [sp.Symbol(f"W_{j + 1}", real=True) for j in range(len(states))]
    return {
        x: {names[j]: sp.Float(factor[i, j]) for j in range(i + 1) if factor[i, j] != 0} for i, x in enumerate(states)
    }
