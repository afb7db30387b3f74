"""Proposals: supports for all learned functions, from the path of a fit and the measurements."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product, zip_longest

import numpy as np
from jaxtyping import Float
from scipy.integrate import cumulative_simpson

from sciml.discovery.library import Library, columns_of
from sciml.discovery.sparse_regression import SparseRegression, Support, propose
from sciml.fitting.fit import Fit
from sciml.symbolic.distributions import LogNormal

SMALL = 12
"""Up to so many terms of a group, supports of four terms are proposed."""


@dataclass(frozen=True)
class Path:
    """The states that one experiment visited, on a fine grid, and what the equations say there.

    Attributes:
        times, states: The grid and the fitted trajectory on it.
        known: Right-hand side without learned functions.
        linear: Derivative of the right-hand side by each library coefficient.
        parameters: Derivative of the right-hand side by each free parameter of the known part.
        weights: Inverse size of an error of each state.
        measured: Measurements where there are some, NaN elsewhere; the trajectory for a state that is not seen.
    """

    times: Float[np.ndarray, " point"]
    states: Float[np.ndarray, "point state"]
    known: Float[np.ndarray, "point state"]
    linear: Float[np.ndarray, "point state term"]
    parameters: Float[np.ndarray, "point state parameter"]
    weights: Float[np.ndarray, "point state"]
    measured: Float[np.ndarray, "point state"]


def visited(fit: Fit, library: Library, points: int = 8) -> list[Path]:
    """The paths of all experiments, with `points` grid points between measurements."""
    problem = fit.problem
    names = [str(x) for x in problem.system.states]
    paths = []
    for e, experiment in enumerate(problem.experiments):
        fractions = np.arange(points) / points
        fine = (experiment.times[:-1, None] + np.diff(experiment.times)[:, None] * fractions).ravel()
        times = np.append(fine, experiment.times[-1])
        states = np.stack([fit.simulate(times, e)[name] for name in names], axis=1)
        inputs = experiment.inputs(times)
        values = {name: float(value) for name, value in fit.parameters.iloc[e].items()}
        known, linear = columns_of(library, times, states, values, inputs)
        measured = np.full(states.shape, np.nan)
        weights = np.empty(states.shape)
        for i, name in enumerate(names):
            seen = experiment.measures(name)
            measured[::points, i] = experiment.column(name) if seen else states[::points, i]
            logarithmic = isinstance(problem.likelihoods.get(name), LogNormal)
            weights[:, i] = 1 / states[:, i] if logarithmic else 1 / problem.sizes[i]
        slopes = _parameter_columns(fit, library, times, states, values, inputs)
        paths.append(Path(times, states, known, linear, slopes, weights, measured))
    return paths


def _parameter_columns(
    fit: Fit, library: Library, times, states, values: dict[str, float], inputs
) -> Float[np.ndarray, "point state parameter"]:
    """Central differences of the known part by the free parameters that occur in it."""
    columns = []
    for name in fit.estimates:
        value = values[name]
        if not any(name in map(str, rhs.free_symbols) for rhs in library.system.equations.values()):
            continue
        step = 1e-5 * (abs(value) or 1.0)
        above, _ = columns_of(library, times, states, values | {name: value + step}, inputs)
        below, _ = columns_of(library, times, states, values | {name: value - step}, inputs)
        columns.append((above - below) / (2 * step))
    return np.stack(columns, axis=2) if columns else np.zeros((*states.shape, 0))


def supports(
    paths: list[Path], library: Library, groups: list[tuple[list[int], list[int]]], method: SparseRegression
) -> list[Support]:
    """Supports over all functions, the most promising first."""
    parts = [_component_supports(paths, group, method) for group in groups]
    combined = []
    for choice in product(*parts):
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
        joined = [group for group in groups if group[0] & equations]
        for group in joined:
            equations |= group[0]
            terms |= group[1]
            groups.remove(group)
        groups.append((equations, terms))
    return [(sorted(equations), sorted(terms)) for equations, terms in groups]


def _component_supports(paths, component, method: SparseRegression) -> list[Support]:
    equations, terms = component
    tables = [_integral_rows(path, i, terms) for path in paths for i in equations]
    target = np.concatenate([table[0] for table in tables])
    columns = np.concatenate([table[1] for table in tables])
    nuisance = _stacked([table[2] for table in tables], [table[3] for table in tables])
    # Larger supports of a large library are too many to propose; the search grows them.
    most = min(method.terms, 2 if len(terms) > SMALL else 4)
    found = propose(target, columns, nuisance, terms=most, keep=method.keep)
    return [Support(tuple(terms[k] for k in s.active), s.coefficients, s.misfit) for s in found]


def _stacked(shared: list[np.ndarray], own: list[np.ndarray]) -> np.ndarray:
    """Columns common to all tables, and block-diagonal ones that belong to one table each."""
    total = sum(len(block) for block in own)
    blocks = np.zeros((total, sum(block.shape[1] for block in own)))
    row = column = 0
    for block in own:
        blocks[row : row + len(block), column : column + block.shape[1]] = block
        row += len(block)
        column += block.shape[1]
    return np.concatenate([np.concatenate(shared), blocks], axis=1)


def _integral_rows(path: Path, equation: int, terms: list[int]):
    """Measurement − ∫ known = start + Σ c_k ∫ φ_k at the measured times."""
    here = np.isfinite(path.measured[:, equation])
    weight = path.weights[here, equation]

    def integral(values):
        return cumulative_simpson(values, x=path.times, axis=0, initial=0.0)[here]

    target = (path.measured[here, equation] - integral(path.known[:, equation])) * weight
    columns = integral(path.linear[:, equation, terms]) * weight[:, None]
    shared = integral(path.parameters[:, equation]) * weight[:, None]
    return target, columns, shared, weight[:, None]
