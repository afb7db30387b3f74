"""What a flow keeps: balances of a quantity along trajectories, and the search for conserved ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Float

from sciml.dynamics.evolution import Evolution
from sciml.errors import DataError, ModelError
from sciml.lowering.vector_field import VectorField, trained_system
from sciml.simulation import simulate
from sciml.solvers import AbstractSolver
from sciml.symbolic.system import System


@dataclass(frozen=True, eq=False)
class Balance:
    r"""What becomes of a quantity H along a trajectory.

    Attributes:
        rate: :math:`\dot H` along the equations, as an expression.
        times: Times.
        values: H there.
        supplied: :math:`\int \dot H \, dt` since the first time, solved along with the trajectory.
    """

    rate: sp.Expr
    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, " time"]
    supplied: Float[np.ndarray, " time"]

    @property
    def conserved(self) -> bool:
        """Whether the equations keep H, by algebra; what SymPy cannot simplify to zero counts as not kept."""
        return self.rate == 0

    @property
    def drift(self) -> float:
        """Largest change of H since the first time, relative to its size there (or 1 where that is smaller)."""
        return float(np.max(np.abs(self.values - self.values[0])) / max(1e-300, abs(self.values[0])))

    @property
    def residual(self) -> float:
        """Largest difference between the change of H and what its rate supplies: the solver's error, no physics."""
        return float(np.max(np.abs(self.values - self.values[0] - self.supplied)))


def energy_balance(
    system: System | VectorField,
    quantity: sp.Expr,
    ts: Sequence[float],
    *,
    initial: Mapping | None = None,
    solver: AbstractSolver | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-9,
) -> Balance:
    r"""The balance of an energy, or any quantity of the states, along a trajectory.

    Args:
        system: The equations.
        quantity: H as an expression of states, parameters and time; learned functions may occur.
        ts: Output times.
        initial: Initial values by name, beside the System's own.
        solver: Method.
        rtol, atol: Its tolerances.

    Returns:
        The rate by algebra, the values, and the integral of the rate.

    Raises:
        ModelError: The quantity holds symbols that the System does not know, or the System is a map.

    Example:
        >>> from sciml import models
        >>> system = models.damped_oscillator()
        >>> x, v = system.states
        >>> balance = energy_balance(system, (v**2 + x**2) / 2, np.linspace(0, 5, 6))
        >>> balance.conserved, balance.residual < 1e-8
        (False, True)
    """
    field = Evolution.of(system).field
    if field is None:
        raise ModelError("a balance needs a System: an expression of its states is differentiated along its equations.")
    plain = replace(trained_system(field), observed={})
    rate = sp.simplify(plain.time_derivative(quantity))
    supplied = sp.Symbol("supplied_", real=True)
    extended = replace(
        plain,
        equations={**plain.equations, supplied: rate},
        initial={**plain.initial, supplied: 0.0},
        observed={sp.Symbol("quantity_", real=True): quantity},
    )
    path = simulate(extended, ts, initial=initial, solver=solver, rtol=rtol, atol=atol)
    return Balance(rate, path.times, path["quantity_"], path["supplied_"])


def conserved_quantities(
    system: System | VectorField,
    terms: int | Sequence[sp.Expr],
    bounds: Any,
    *,
    points: int | None = None,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> list[sp.Expr]:
    r"""Combinations :math:`\sum_j c_j \varphi_j(y)` that the equations keep.

    The rates :math:`\dot\varphi_j` along the equations are taken by algebra and evaluated at points of a box; what
    the null space of that matrix combines is conserved. The combinations are those with as few terms as row reduction
    finds. *A library that holds H and H² finds both; quantities outside the library are not found.*

    Args:
        system: The equations, with the values of their parameters.
        terms: Expressions of the states; or a degree, for all monomials up to it.
        bounds: Box of the states to look at, as for `fixed_points`.
        points: How many points; three per term when None.
        tolerance: Singular values below this, relative to the largest, count as zero.
        seed: Of the points.

    Returns:
        Independent conserved combinations, the leading coefficient 1; empty if there is none.

    Raises:
        DataError: No terms, or a term that is not finite in the box.

    Example:
        >>> from sciml import models
        >>> system = models.hamiltonian_pendulum()
        >>> q, p = system.states
        >>> [e.evalf(4) for e in conserved_quantities(system, [q, p, q**2, p**2, sp.cos(q)], {q: (-1, 1), p: (-1, 1)})]
        [1.0*p**2 - 19.62*cos(q)]

    Reference:
        Kaiser, Kutz, Brunton (2018), 57th IEEE Conference on Decision and Control, 3105-3112.
    """
    evolution = Evolution.of(system)
    if evolution.field is None or evolution.discrete:
        raise ModelError("the search needs a System of differential equations.")
    plain = trained_system(evolution.field)
    states = plain.states
    library = _monomials(states, terms) if isinstance(terms, int) else [sp.sympify(t, strict=True) for t in terms]
    if not library:
        raise DataError("the library holds no terms: give expressions of the states, or a degree of at least 1.")
    values = {symbol: parameter.value for symbol, parameter in plain.parameters.items()}
    rates = [plain.time_derivative(term).subs(values) for term in library]
    sample = evolution.sample(bounds, points or 3 * len(library) + 10, seed).numpy()
    matrix = np.stack(
        [np.broadcast_to(sp.lambdify(states, rate, "numpy")(*sample.T), len(sample)) for rate in rates], axis=1
    ).astype(float)
    if not np.isfinite(matrix).all():
        bad = library[int(np.argmin(np.isfinite(matrix).all(axis=0)))]
        raise DataError(f"the rate of `{bad}` is not finite everywhere in the box: drop the term or narrow `bounds`.")
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes <= 1e-14 * sizes.max(initial=1.0)] = 1.0
    _, singular, rows = np.linalg.svd(matrix / sizes, full_matrices=True)
    rank = int(np.sum(singular > tolerance * max(singular.max(), 1e-300)))
    null = _reduced(rows[rank:] / sizes)
    return [sum((sp.Float(c) * t for c, t in zip(row, library) if c != 0.0), sp.S.Zero) for row in null]


def _monomials(states: Sequence[sp.Symbol], degree: int) -> list[sp.Expr]:
    return [sp.Mul(*f) for d in range(1, degree + 1) for f in combinations_with_replacement(states, d)]


def _reduced(rows: Float[np.ndarray, "row term"]) -> Float[np.ndarray, "row term"]:
    """Reduced row echelon form from the last column on, small entries dropped, leading coefficients 1."""
    rows, pivot = rows[:, ::-1].copy(), 0
    for column in range(rows.shape[1]):
        if pivot == len(rows):
            break
        best = pivot + int(np.argmax(np.abs(rows[pivot:, column])))
        if abs(rows[best, column]) < 1e-7 * np.abs(rows[pivot:]).max():
            continue
        rows[[pivot, best]] = rows[[best, pivot]]
        rows[pivot] /= rows[pivot, column]
        others = np.arange(len(rows)) != pivot
        rows[others] -= np.outer(rows[others, column], rows[pivot])
        pivot += 1
    rows = rows[:, ::-1]
    rows[np.abs(rows) < 1e-7 * np.abs(rows).max(axis=1, keepdims=True)] = 0.0
    leading = np.argmax(rows != 0.0, axis=1)
    return rows / rows[np.arange(len(rows)), leading][:, None]
