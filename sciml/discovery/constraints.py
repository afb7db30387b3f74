"""What is known of a law before: signs of coefficients, and quantities that it conserves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Float

from sciml.discovery.library import Library, Term
from sciml.errors import ModelError, quoted, suggestion
from sciml.symbolic.declarations import Parameter

MOST = 200
"""Coefficients up to which triples of them are tried."""


def signs_of(library: Library, signs: Mapping[Any, int]) -> Float[np.ndarray, "constraint term"]:
    """Known signs as linear forms of the coefficients that must not be negative: a row for each term that has one."""
    found: dict[int, int] = {}
    for key, sign in signs.items():
        name, term = key if isinstance(key, tuple) else (key, None)
        called = getattr(name, "__name__", str(name))
        if called not in library.functions:
            raise ModelError(
                f"`signs` names `{called}`, and what is to be discovered is {quoted(library.functions)}."
                f"{suggestion(called, library.functions)}"
            )
        function = library.functions.index(called)
        own = [k for k, t in enumerate(library.terms) if t.function == function]
        chosen = own if term is None else [k for k in own if library.terms[k].expression == sp.sympify(term)]
        if not chosen:
            raise ModelError(f"`signs` names the term `{term}` of `{called}`, which is not in the library.")
        found |= dict.fromkeys(chosen, sign)
    rows = np.zeros((len(found), len(library.terms)))
    rows[range(len(found)), list(found)] = list(found.values())
    return rows


def conserving(
    library: Library, quantities: Sequence[sp.Expr]
) -> tuple[Library, Float[np.ndarray, "term combination"]]:
    r"""The library of all smallest combinations of terms that keep quantities H constant.

    .. math:: \sum_i \frac{\partial H}{\partial x_i} \frac{\partial f_i}{\partial c_k} = 0

    holds for sets of one to three coefficients in fixed proportions; each of these becomes one coefficient. So every
    law of the new library conserves H exactly, whatever its coefficients are. Beside it comes the matrix that takes its
    coefficients to those of the old one, so that what is known of these (`signs_of(...) @ matrix`) is known of the new
    ones.

    Raises:
        ModelError: The known part does not conserve H, H holds unknown symbols, or no combination of terms conserves it.
    """
    system = library.system
    coefficients = [term.coefficient for term in library.terms]
    numbers = {x: sp.Float(p.value) for x, p in system.parameters.items() if x not in coefficients}
    rows: list[dict[sp.Expr, list[float]]] = []
    for quantity in quantities:
        _check_quantity(library, quantity)
        change = sum(quantity.diff(x) * rhs for x, rhs in system.equations.items())
        rest = sp.simplify(change.xreplace(dict.fromkeys(coefficients, sp.S.Zero)))
        if rest != 0:
            raise ModelError(f"the known part of the equations does not conserve `{quantity}`: it changes by `{rest}`.")
        table: dict[sp.Expr, list[float]] = {}
        for k, coefficient in enumerate(coefficients):
            expanded = sp.expand(change.diff(coefficient).xreplace(numbers))
            for monomial, factor in expanded.as_coefficients_dict().items():
                table.setdefault(monomial, [0.0] * len(coefficients))[k] += float(factor)
        rows.append(table)
    matrix = np.array([row for table in rows for row in table.values()]).reshape(-1, len(coefficients))
    found = circuits(matrix)
    if not found:
        raise ModelError(
            f"no combination of up to three terms of the library conserves {quoted(quantities)}. Add the terms that balance "
            "each other, or leave `conserved` out."
        )
    factors = np.zeros((len(coefficients), len(found)))
    for i, circuit in enumerate(found):
        factors[list(circuit), i] = list(circuit.values())
    return _combined(library, found), factors


def circuits(matrix: np.ndarray) -> list[dict[int, float]]:
    """Smallest sets of one to three columns that are linearly dependent, with the factors of their zero sum."""
    size = np.linalg.norm(matrix, axis=0)
    found = [{int(k): 1.0} for k in np.flatnonzero(size <= 1e-12)]
    rest = np.flatnonzero(size > 1e-12)
    pairs = set()
    for a, b in combinations(rest.tolist(), 2):
        factor = matrix[:, a] @ matrix[:, b] / size[b] ** 2
        if np.allclose(matrix[:, a], factor * matrix[:, b], rtol=0, atol=1e-10 * size[a]):
            found.append({a: 1.0, b: -factor})
            pairs.add((a, b))
    if len(rest) > MOST:
        return found
    for triple in combinations(rest.tolist(), 3):
        if pairs.isdisjoint(combinations(triple, 2)):
            block = matrix[:, list(triple)] / size[list(triple)]
            _, values, directions = np.linalg.svd(block[block.any(axis=1)], full_matrices=True)
            if len(values) < 3 or values[2] < 1e-10:
                direction = directions[2] / size[list(triple)]
                found.append({k: float(v) for k, v in zip(triple, direction / direction[0])})
    return found


def _combined(library: Library, found: Sequence[Mapping[int, float]]) -> Library:
    """A library with one coefficient for each combination."""
    terms: list[Term] = []
    sums: dict[sp.Symbol, sp.Expr] = {term.coefficient: sp.S.Zero for term in library.terms}
    parameters = {}
    for i, circuit in enumerate(found):
        symbol = sp.Symbol(f"{library.functions[0]}_c{i}", real=True)
        parts = []
        for k, factor in circuit.items():
            exact = sp.nsimplify(factor, rational=True, tolerance=1e-10)
            sums[library.terms[k].coefficient] += exact * symbol
            parts.append((library.terms[k].function, exact * library.terms[k].expression))
        first = library.terms[next(iter(circuit))]
        parameters[symbol] = Parameter(library.system.parameters[first.coefficient].value)
        degree = max(library.terms[k].degree for k in circuit)
        terms.append(Term(*parts[0], symbol, degree, tuple(parts[1:])))
    system = library.system.substitute(sums, parameters=parameters)
    return replace(library, system=system, terms=tuple(terms))


def _check_quantity(library: Library, quantity: sp.Expr) -> None:
    known = [*library.system.states, *(x for x in library.system.parameters if not x.name.startswith("_"))]
    for symbol in sorted(quantity.free_symbols - set(known), key=str):
        raise ModelError(
            f"`{symbol}` in the conserved quantity `{quantity}` is neither a state nor a parameter."
            f"{suggestion(symbol, known)}"
        )
