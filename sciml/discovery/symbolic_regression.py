"""Symbolic regression: formulas of any shape for learned functions, by genetic programming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Float
from scipy.optimize import least_squares
from sympy.parsing.sympy_parser import parse_expr

from sciml.errors import ModelError, quoted, suggestion

FUNCTIONS = ("add", "sub", "mul", "div", "exp", "log", "sin", "cos", "tanh", "sqrt", "square", "pow")
DROPPED = 1e-3
"""Parts of a formula that are smaller than this share of its values are left out at once."""


@dataclass(frozen=True)
class SymbolicRegression:
    """Formulas built from operations and constants, found by genetic programming on what the network has learned.

    For each learned function the front of formulas that no shorter one beats is found along the states that were visited;
    constants are refined there, and constants that gain nothing go. Combinations of these formulas are then fitted through
    the solver to the measurements, which decide. Needs pyoperon: `pip install "sciml-hybrid[symbolic]"`.

    Args:
        functions: What formulas are built from, beside constants and the function's arguments: of "add", "sub", "mul", "div",
            "exp", "log", "sin", "cos", "tanh", "sqrt", "square", "pow".
        length: Most operations, constants and arguments in a formula.
        population, generations: Of the genetic programming.
        refits: Combinations that are fitted through the solver.
        seed: Of the genetic programming.

    Reference:
        Burlacu, Kronberger, Kommenda (2020), GECCO Companion, 1562 (Operon).
    """

    functions: Sequence[str] = ("add", "sub", "mul", "div")
    length: int = 15
    population: int = 500
    generations: int = 50
    refits: int = 6
    seed: int = 0

    def __post_init__(self):
        functions = (self.functions,) if isinstance(self.functions, str) else tuple(self.functions)
        object.__setattr__(self, "functions", functions)
        for name in functions:
            if name not in FUNCTIONS:
                raise ModelError(
                    f"`{name}` is no function of `SymbolicRegression`. There are {quoted(FUNCTIONS)}."
                    f"{suggestion(name, FUNCTIONS)}"
                )
        if not functions:
            raise ModelError('`SymbolicRegression` needs functions: `functions=["add", "mul", "div"]`.')
        for name in ("length", "population", "generations", "refits"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ModelError(f"`{name}={getattr(self, name)!r}` must be a positive whole number.")


@dataclass(frozen=True)
class Formula:
    """One formula for one learned function.

    Attributes:
        expression: In the arguments `x0`, `x1`, … and the constants.
        constants: Symbol -> value.
        misfit: Root mean square difference from the learned values, relative to their spread.
        criterion: Bayesian information criterion on the learned values.
    """

    expression: sp.Expr
    constants: dict[sp.Symbol, float]
    misfit: float
    criterion: float

    @property
    def size(self) -> int:
        """Constants and operations."""
        return len(self.constants) + int(sp.count_ops(self.expression))


def arguments_of(count: int) -> tuple[sp.Symbol, ...]:
    """Symbols that stand for the arguments."""
    return tuple(sp.Symbol(f"x{i}", real=True) for i in range(count))


def front(
    points: Float[np.ndarray, "point argument"], values: Float[np.ndarray, " point"], method: SymbolicRegression
) -> list[Formula]:
    """Formulas of growing size, each better than all smaller ones, constants refined."""
    formulas = [refined(e, points, values) for e in _evolved(points, values, method)]
    formulas = sorted((f for f in formulas if f is not None), key=lambda f: (f.size, f.misfit))
    found: list[Formula] = []
    for formula in formulas:
        if not found or formula.misfit < 0.999 * found[-1].misfit:
            found.append(formula)
    return found


def _evolved(points, values, method: SymbolicRegression) -> list[sp.Expr]:
    regressor = _operon().SymbolicRegressor(
        allowed_symbols=",".join([*method.functions, "constant", "variable"]),
        objectives=["mse", "length"],
        add_model_scale_term=True,
        add_model_intercept_term=True,
        max_length=method.length,
        population_size=method.population,
        pool_size=method.population,
        generations=method.generations,
        max_evaluations=method.population * method.generations * 20,
        optimizer_iterations=10,
        n_threads=1,
        random_state=method.seed,
    )
    spread = np.std(values) or 1.0
    regressor.fit(points, values / spread)
    x = arguments_of(points.shape[1])
    known = {f"X{i + 1}": symbol for i, symbol in enumerate(x)}
    texts = [regressor.get_model_string(entry["tree"], 12) for entry in regressor.pareto_front_]
    return [sp.Float(spread) * parse_expr(text.replace("^", "**"), local_dict=known) for text in texts]


def _operon() -> Any:
    try:
        from pyoperon import sklearn
    except ImportError as error:
        raise ModelError(
            'symbolic regression needs pyoperon, which is not installed: `pip install "sciml-hybrid[symbolic]"`.'
        ) from error
    return sklearn


def refined(expression: sp.Expr, points: np.ndarray, values: np.ndarray) -> Formula | None:
    """A formula in normal form with its constants fitted; those whose loss the data do not mind are left out."""
    x = arguments_of(points.shape[1])
    best = _fitted(*_normal(expression, x, points), x, points, values)
    while best is not None and best.constants:
        shorter = [_without(best, c, x, points, values) for c in best.constants]
        better = min((f for f in shorter if f is not None), key=lambda f: f.criterion, default=None)
        if better is None or better.criterion > best.criterion:
            break
        best = better
    return best


def _normal(expression: sp.Expr, x: Sequence[sp.Symbol], points: np.ndarray) -> tuple[sp.Expr, dict[sp.Symbol, float]]:
    """Numbers as constants: of a rational function those of numerator and denominator, whose largest part is scaled to 1."""
    numerator, denominator = sp.fraction(sp.together(expression))
    if not (numerator.is_polynomial(*x) and denominator.is_polynomial(*x)):
        constants = {}
        for number in sorted(expression.atoms(sp.Float), key=str):
            constants[sp.Symbol(f"k{len(constants)}", real=True)] = float(number)
        table = dict(zip(sorted(expression.atoms(sp.Float), key=str), constants))
        return expression.xreplace(table), constants
    polynomials = [sp.Poly(sp.expand(part), *x) for part in (numerator, denominator)]
    scale = float(max(polynomials[1].coeffs(), key=abs))
    constants, parts = {}, []
    for k, polynomial in enumerate(polynomials):
        terms = [(float(c) / scale, sp.Mul(*(v**p for v, p in zip(x, powers)))) for powers, c in polynomial.terms()]
        sizes = [abs(c) * float(np.abs(sp.lambdify(x, t)(*points.T)).max()) for c, t in terms]
        parts.append(sp.S.Zero)
        for (value, term), size in zip(terms, sizes):
            if size < DROPPED * max(sizes):
                continue
            if k == 1 and value == 1.0:
                parts[1] += term
                continue
            symbol = sp.Symbol(f"k{len(constants)}", real=True)
            constants[symbol] = value
            parts[k] += symbol * term
    return parts[0] / parts[1], constants


def _fitted(expression: sp.Expr, constants: dict, x, points: np.ndarray, values: np.ndarray) -> Formula | None:
    function = sp.lambdify([*x, *constants], expression, "numpy")

    def rest(theta):
        with np.errstate(all="ignore"):
            found = np.broadcast_to(function(*points.T, *theta), values.shape) - values
        return np.where(np.isfinite(found), found, 1e6)

    theta = np.array(list(constants.values()))
    if len(theta):
        theta = least_squares(rest, theta, x_scale=np.maximum(np.abs(theta), 1e-6), max_nfev=200).x
    square = float(np.mean(rest(theta) ** 2))
    if not np.isfinite(square) or square >= 1e11:
        return None
    spread = float(np.std(values)) or 1.0
    floor = (1e-4 * spread) ** 2
    criterion = len(values) * np.log(square + floor) + len(theta) * np.log(len(values))
    return Formula(
        expression, dict(zip(constants, map(float, theta))), float(np.sqrt(square)) / spread, float(criterion)
    )


def _without(formula: Formula, constant: sp.Symbol, x, points, values) -> Formula | None:
    shorter = sp.cancel(formula.expression.subs(constant, 0)) if not formula.expression.has(sp.Function) else None
    shorter = formula.expression.subs(constant, 0) if shorter is None else shorter
    if shorter.has(sp.zoo, sp.nan, sp.oo):
        return None
    kept = {k: v for k, v in formula.constants.items() if k in shorter.free_symbols}
    return _fitted(shorter, kept, x, points, values)
