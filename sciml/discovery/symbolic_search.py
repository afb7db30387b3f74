"""Formulas of symbolic regression, fitted through the solver to the measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
import sympy as sp

from sciml.discovery.candidate import rounded
from sciml.discovery.forecasts import forecast_error
from sciml.discovery.report import NEAR_TIE
from sciml.discovery.simple_numbers import rounded_off
from sciml.discovery.standard_errors import standard_errors
from sciml.discovery.symbolic_regression import Formula, SymbolicRegression, arguments_of, front
from sciml.errors import ModelError, SolveError
from sciml.fitting.fit import fit as run_fit
from sciml.fitting.result import Fit
from sciml.measurement.experiment import Experiment
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


@dataclass(frozen=True)
class SymbolicCandidate:
    """One formula for each learned function, fitted.

    Attributes:
        fit: Of the law.
        forms: Learned function -> its formula, with the law's constants.
        size: Constants and operations of all formulas.
        exact: Constants that were rounded, and to what (`discover(..., simplify=...)`).
        forecast: Root mean square error on measurements that were held out; None without.
    """

    fit: Fit
    forms: dict[str, sp.Expr]
    size: int
    exact: Mapping[sp.Symbol, sp.Rational] = field(default_factory=dict)
    forecast: float | None = None

    @property
    def criterion(self) -> float:
        """Twice the negative log-posterior, and log n for every fitted quantity, rounded or not (BIC)."""
        return 2 * self.fit.loss + len(self.fit.vector) * float(np.log(self.fit.problem.observations))

    @cached_property
    def formulas(self) -> dict[str, sp.Expr]:
        """Learned function -> its closed form, estimates filled in."""
        values = {sp.Symbol(name, real=True): value for name, value in self.fit.estimates.items()}
        return {name: form.subs(self.exact).subs(values) for name, form in self.forms.items()}


@dataclass(frozen=True)
class SymbolicReport:
    """Laws made of formulas, best criterion first.

    Attributes:
        candidates: Those that could be solved.
        fronts: Learned function -> formulas that no shorter one beats, along the states that the network visited.
        failed: Combinations that could not be solved.
        hybrid_log_likelihood: Of the network, for comparison.
        hybrid_forecast: Error of the network on measurements that were held out.
    """

    candidates: tuple[SymbolicCandidate, ...]
    fronts: dict[str, tuple[Formula, ...]]
    failed: int
    hybrid_log_likelihood: float
    hybrid_forecast: float | None = None

    @property
    def best(self) -> SymbolicCandidate:
        """The law that `discover` returned: by criterion, or by its forecast where measurements were held out."""
        forecasts = [c for c in self.candidates if c.forecast is not None]
        return min(forecasts, key=lambda c: c.forecast) if forecasts else self.candidates[0]

    @property
    def near_ties(self) -> tuple[SymbolicCandidate, ...]:
        """Laws less than 10 behind."""
        return tuple(c for c in self.candidates if self.difference(c) < NEAR_TIE)

    def difference(self, candidate: SymbolicCandidate) -> float:
        """Criterion of a law less that of the first."""
        return candidate.criterion - self.candidates[0].criterion

    def to_frame(self) -> pd.DataFrame:
        """One row for each law."""
        rows = []
        for c in self.candidates:
            row: dict[str, object] = {name: str(rounded(form)) for name, form in c.formulas.items()}
            row |= {"size": c.size, "rmse": c.fit.rmse, "log_likelihood": c.fit.log_likelihood}
            row |= {"criterion": c.criterion, "difference": self.difference(c)}
            rows.append(row | ({} if c.forecast is None else {"forecast": c.forecast}))
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        return self.to_frame().to_string(index=False, float_format=lambda v: f"{v:.3f}")


def discover_symbolic(
    fit: Fit, method: SymbolicRegression, held: tuple[Experiment, ...] | None = None, simplify: float = 0.0
) -> System:
    """The law of the best formulas, see `SymbolicRegression`; of near ties the best forecast, if data are held out."""
    system = fit.problem.system
    fronts = {f.__name__: tuple(_front(fit, f, method)) for f in system.functions}
    candidates, failed = [], 0
    for choice in _combinations(list(fronts.values()), method.refits):
        law, forms = _law(fit, choice)
        try:
            found = run_fit(fit.problem.with_system(law), progress=False)
        except (SolveError, ModelError):
            failed += 1
            continue
        candidates.append(SymbolicCandidate(found, forms, sum(formula.size for formula in choice)))
    if not candidates:
        raise SolveError(
            f"none of {failed} laws could be solved on the data. Allow longer formulas or more `refits`, or fit the hybrid "
            "more closely."
        )
    report = SymbolicReport(tuple(sorted(candidates, key=lambda c: c.criterion)), fronts, failed, fit.log_likelihood)
    if simplify:
        ties = report.near_ties
        candidates = [*(_simplified(c, simplify) for c in ties), *report.candidates[len(ties) :]]
        report = replace(report, candidates=tuple(sorted(candidates, key=lambda c: c.criterion)))
    if held is not None:
        ties = [replace(c, forecast=forecast_error(c.fit, held)) for c in report.near_ties]
        others = report.candidates[len(ties) :]
        report = replace(report, candidates=(*ties, *others), hybrid_forecast=forecast_error(fit, held))
    best = report.best.fit
    own = best.problem.noise_parameters
    law = best.problem.system
    law = law.with_parameters({x: best.estimates[str(x)] for x, p in law.parameters.items() if not p.fixed})
    law = law.substitute(report.best.exact)
    return replace(law, parameters={x: p for x, p in law.parameters.items() if x not in own}, report=report)


def _simplified(candidate: SymbolicCandidate, simplify: float) -> SymbolicCandidate:
    """The candidate with constants of its formulas rounded as far as the measurements do not mind."""
    fit, loss = candidate.fit, candidate.fit.problem.loss
    scorer = loss.scorer()
    moving = np.array([k for k in range(len(fit.vector)) if k not in scorer.noise], dtype=int)
    constants = set().union(*(form.free_symbols for form in candidate.forms.values())) & set(
        fit.problem.system.parameters
    )
    own = {k: sp.Symbol(name, real=True) for k, name in enumerate(loss.labels)}
    own = {k: symbol for k, symbol in own.items() if symbol in constants}
    # The fit may end where scoring still gains a little; what rounding costs counts from there.
    start = scorer.descend(fit.vector, moving, 200, 1e-8)
    errors = standard_errors(loss, scorer, start.theta, moving)
    errors = {k: errors.get(k, np.nan) for k in own}
    found = rounded_off(scorer, start.theta, start.value, moving, errors, loss.coordinates.scale, simplify)
    exact = {own[k]: number for k, number in found.exact.items()}
    return replace(candidate, fit=replace(fit, vector=found.theta), exact=exact)


def _front(fit: Fit, function, method: SymbolicRegression) -> list[Formula]:
    """Formulas for what a function has become along the trajectories of the fit."""
    system = fit.problem.system
    calls = {call.args for call in system.calls(function)}
    if len(calls) != 1:
        raise ModelError(f"`{function}` is called with different arguments; discovery needs one set of arguments.")
    if not any(_bare(rhs).has(function) for rhs in system.equations.values()):
        raise ModelError(
            f"`{function}` does not stand in the equations itself, only its derivatives do, or observables: symbolic "
            "regression needs its values. Use `SparseRegression(...)`."
        )
    symbols = [*system.states, system.time, *system.inputs, *system.parameters]
    points, values = [], []
    for e, experiment in enumerate(fit.problem.experiments):
        times = np.linspace(experiment.times[0], experiment.times[-1], 200)
        frame = fit.simulate(times, e)
        numbers = [*(frame[str(x)] for x in system.states), times, *experiment.inputs(times).T]
        numbers += [np.full(len(times), v) for v in fit.parameters.iloc[e]]
        arguments = [np.broadcast_to(sp.lambdify(symbols, a)(*numbers), times.shape) for a in next(iter(calls))]
        points.append(np.stack(arguments, axis=1))
        values.append(fit.learned_values(function, points[-1]))
    return front(np.concatenate(points), np.concatenate(values), method)


def _bare(rhs: sp.Expr) -> sp.Expr:
    """An expression without its derivatives."""
    return rhs.replace(lambda e: isinstance(e, sp.Derivative | sp.Subs), lambda e: sp.Dummy())


def _combinations(fronts: Sequence[Sequence[Formula]], count: int) -> list[tuple[Formula, ...]]:
    """Those whose formulas together have the best criterion on the learned values, and the smallest ones that are close."""
    choices = list(product(*([*f] for f in fronts)))
    by_size: dict[int, tuple[Formula, ...]] = {}
    for choice in sorted(choices, key=lambda c: sum(f.misfit**2 for f in c)):
        by_size.setdefault(sum(f.size for f in choice), choice)
    ranked = sorted(by_size.values(), key=lambda c: sum(f.misfit**2 for f in c) * 1.2 ** sum(f.size for f in c))
    return ranked[:count]


def _law(fit: Fit, choice: Sequence[Formula]) -> tuple[System, dict[str, sp.Expr]]:
    """The System with formulas for its functions, and the formulas in the symbols of the equations."""
    system, replacements, parameters, forms = fit.problem.system, {}, {}, {}
    taken = {str(x) for x in (*system.states, *system.parameters, *system.inputs, *system.observed, system.time)}
    for function, formula in zip(system.functions, choice):
        names = {}
        for i, constant in enumerate(formula.constants, 1):
            name = f"c_{function.__name__}_{i}"
            while name in taken:
                name += "_"
            names[constant] = sp.Symbol(name, real=True)
            parameters[names[constant]] = Parameter(formula.constants[constant])
        body = formula.expression.xreplace(names)
        arguments = next(iter(system.calls(function))).args
        formals = arguments_of(len(arguments))
        replacements[function] = sp.Lambda(formals, body)
        forms[function.__name__] = body.subs(dict(zip(formals, arguments)), simultaneous=True)
    values = {k: v for k, v in fit.estimates.items() if k in {str(x) for x in system.parameters}}
    return system.with_parameters(values).substitute(replacements, parameters=parameters), forms
