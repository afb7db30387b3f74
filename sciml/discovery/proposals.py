"""Proposals: supports for all learned functions, from paths and the measurements along them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product, zip_longest
from math import prod

import numpy as np

from sciml.discovery.forms import stacked
from sciml.discovery.library import Library
from sciml.discovery.paths import Path
from sciml.discovery.regressions import Chosen, Columns, bagged, choose
from sciml.discovery.sparse_regression import SparseRegression
from sciml.discovery.supports import Support, propose

SMALL = 12
"""Up to so many terms of a group, supports of four terms are proposed."""

MANY = 20_000
"""So many combinations of the groups' supports are all looked at; where there are more, those near the best."""

HALF = 0.5
"""Terms that come up in so many of the bags count."""


def supports(
    paths: list[Path], library: Library, groups: list[tuple[list[int], list[int]]], method: SparseRegression
) -> list[Support]:
    """Supports over all functions, the most promising first."""
    parts = [_component_supports(paths, group, method) for group in groups]
    combined = []
    for choice in _combinations(parts):
        active = tuple(k for support in choice for k in support.active)
        coefficients = tuple(c for support in choice for c in support.coefficients)
        combined.append(Support(active, coefficients, sum(support.misfit for support in choice)))
    combined.sort(key=lambda support: support.misfit)
    unique = {tuple(sorted(support.active)): support for support in reversed(combined)}
    return _by_size(sorted(unique.values(), key=lambda support: support.misfit))[: method.refits]


def _by_size(supports: list[Support]) -> list[Support]:
    """The best of every size first, then the second best of every size, and so on.

    Misfits of different sizes say little beside noise: which size is right, the refits decide.
    """
    sizes = sorted({len(support.active) for support in supports})
    ranks = [[s for s in supports if len(s.active) == size] for size in sizes]
    return [support for rank in zip_longest(*ranks) for support in rank if support is not None]


def components(paths: list[Path], library: Library) -> list[tuple[list[int], list[int]]]:
    """Groups of functions that share equations: indices of the equations and of the terms of each group."""
    occurs = np.any([np.any(path.linear != 0, axis=0) for path in paths], axis=0)
    groups: list[tuple[set[int], set[int]]] = []
    for function in range(len(library.functions)):
        terms = {k for k, term in enumerate(library.terms) if term.function == function}
        equations = {i for i in range(occurs.shape[0]) if occurs[i, list(terms)].any()}
        if not terms:
            continue
        joined = [group for group in groups if group[0] & equations]
        for group in joined:
            equations |= group[0]
            terms |= group[1]
            groups.remove(group)
        groups.append((equations, terms))
    return [(sorted(equations), sorted(terms)) for equations, terms in groups]


def _combinations(parts: Sequence[list[Support]]) -> Iterable[tuple[Support, ...]]:
    """Every choice of a support for each group; where they are too many, the best with one or two groups exchanged."""
    if prod(map(len, parts)) <= MANY:
        return product(*parts)
    best = [min(part, key=lambda support: support.misfit * 1.1 ** len(support.active)) for part in parts]
    found = [tuple(best)]
    for i, part in enumerate(parts):
        found += [(*best[:i], support, *best[i + 1 :]) for support in part]
    return found


def _component_supports(paths: list[Path], component, method: SparseRegression) -> list[Support]:
    equations, terms = component
    table = stacked([method.form.table(path, i, terms) for path in paths for i in equations])
    # Larger supports of a large library are too many to propose; the search grows them.
    most = min(method.terms, 2 if len(terms) > SMALL else 4)
    found = propose(*table, terms=most, keep=method.keep)
    return [Support(tuple(terms[k] for k in s.active), s.coefficients, s.misfit) for s in found]


def promising(
    paths: list[Path], groups: list[tuple[list[int], list[int]]], method: SparseRegression, above: np.ndarray
) -> list[Support]:
    """The regression's choice for all groups, then that with the choice for one group exchanged, best criterion first."""
    chosen, _ = regressed(paths, groups, replace(method, bags=0), above)
    best = [(one.active, min(score for _, _, score in one.path)) for one in chosen]
    found = [(0.0, tuple(k for active, _ in best for k in active))]
    for i, one in enumerate(chosen):
        for active, _, score in one.path:
            whole = [active if j == i else other for j, (other, _) in enumerate(best)]
            found.append((score - best[i][1], tuple(k for part in whole for k in part)))
    table = {active: score for score, active in sorted(found, reverse=True)}
    ranked = sorted(table, key=lambda active: table[active])[: max(1, method.refits // 4)]
    columns = [_columns(paths, group, method, above) for group in groups]
    return [Support(active, _solved(columns, active), 0.0) for active in ranked]


def _columns(paths: list[Path], group: tuple[list[int], list[int]], method: SparseRegression, above) -> Columns:
    equations, terms = group
    return Columns.of(*stacked([method.form.table(path, i, terms) for path in paths for i in equations]), terms, above)


def _solved(columns: Sequence[Columns], active: Sequence[int]) -> tuple[float, ...]:
    values = {}
    for block in columns:
        places = [i for i, k in enumerate(block.names) if k in active]
        solved = block.solve(places) / block.lengths[places]
        values |= {block.names[i]: float(c) for i, c in zip(places, solved)}
    return tuple(values[k] for k in active)


def regressed(
    paths: list[Path],
    groups: list[tuple[list[int], list[int]]],
    method: SparseRegression,
    above: np.ndarray,
    seed: int = 0,
) -> tuple[list[Chosen], dict[int, float]]:
    """What the regression alone chooses for each group, and how often each term comes up in bags."""
    chosen, inclusion = [], {}
    for group in groups:
        columns = _columns(paths, group, method, above)
        one = choose(method.regression, columns, method.terms, method.select)
        if method.bags:
            shares = bagged(method.regression, columns, method.terms, method.select, method.bags, seed)
            inclusion |= dict.fromkeys(group[1], 0.0) | shares
            places = [i for i, k in enumerate(columns.names) if shares[k] >= HALF]
            values = columns.solve(places) / columns.lengths[places]
            one = Chosen(tuple(columns.names[i] for i in places), tuple(map(float, values)), one.path)
        chosen.append(one)
    return chosen, inclusion
