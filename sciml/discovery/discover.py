"""The verb: closed forms for learned functions, or for whole right-hand sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sciml.discovery.candidate import Candidate
from sciml.discovery.constraints import conserving, signs_of
from sciml.discovery.forecasts import forecast_error, read_held_out
from sciml.discovery.library import Library, build_library
from sciml.discovery.paths import Path, check_columns, smoothed, visited
from sciml.discovery.proposals import components, promising, regressed, supports
from sciml.discovery.regression_report import RegressionReport
from sciml.discovery.report import NEAR_TIE, Report
from sciml.discovery.search import Search, Trial
from sciml.discovery.sources import Source, origin_of, problem_of
from sciml.discovery.sparse_regression import SparseRegression
from sciml.discovery.symbolic_regression import SymbolicRegression
from sciml.discovery.symbolic_search import discover_symbolic
from sciml.errors import ModelError, SolveError, quoted
from sciml.fitting.monitor import Monitor
from sciml.fitting.result import Fit
from sciml.measurement.experiment import Experiment
from sciml.measurement.problem import Problem
from sciml.symbolic.system import System

ROUNDS = 12


def discover(
    source: Source,
    method: SparseRegression | SymbolicRegression,
    *,
    refine: bool = True,
    held_out: Any = None,
    simplify: float = 0.0,
    progress: bool = True,
) -> System:
    r"""Find closed forms for the learned functions of a fit, or for whole right-hand sides of measured series.

    1. Every learned function is written as :math:`\sum_k c_k \phi_k` over the library.
    2. Supports are proposed by best subsets of the integral form along the path that the fit visited,
       measurements − ∫ known = start + Σ c_k ∫ φ_k, where noise stays noise.
    3. Each is fitted through the solver to the data: coefficients, free parameters, initial values and noise levels
       together, by descents with forward sensitivities.
    4. From the best laws the search goes on to those with one term less, one more, or one exchanged, chosen by score
       tests, until the best ones lead to nothing new.
    5. Laws are ranked by twice the negative log-posterior plus a price per term for the size of the library (`price`).
       The best is returned; those that the data do not clearly tell from it are `law.report.near_ties`.

    Without a fit, the path is a smoothing spline through each measured state.

    Args:
        source: A fit of a System with learned functions that stand linearly in its equations; a Problem with such a System,
            not yet fitted; or the measurements alone, as for `Problem`: then every column is a state, and its whole
            right-hand side is sought in all of them.
        method: `SparseRegression`: the library, and how many terms; or `SymbolicRegression`, of a fit.
        refine: Fit laws through the solver, which decides among them. Otherwise the regression decides alone: in
            milliseconds, without intervals and near ties, and less surely where there is noise.
        held_out: Later measurements of the same experiments, which nothing is fitted to: the report tells how well laws and
            hybrid forecast them, and of the near ties and the likeliest laws of each size, the best forecast is returned.
        simplify: Replace coefficients by simple fractions (1/2 for 0.49999) as long as twice the log-likelihood of a law
            falls by no more than this in all; 1 is little beside 4, which a parameter is worth. 0: leave them.
        progress: Show a progress bar where standard error is a terminal.

    Returns:
        The law, a System like any other with its estimates filled in. `law.report` holds the ranked candidates.

    Raises:
        ModelError: Nothing to discover, or a library that does not fit the System.
        DataError: Without a fit, a state that is not measured.
        SolveError: No candidate could be solved.

    Example:
        >>> import sciml, sympy as sp
        >>> x, y = sp.symbols("x y", real=True)
        >>> f, g = sp.symbols("f g", cls=sp.Function)
        >>> model = sciml.System({x: 1.3 * x - f(x, y), y: g(x, y) - 1.8 * y}, learned={(f, g): sciml.MLP(hidden=5)})
        >>> fit = sciml.fit(sciml.Problem(model, sciml.datasets.ude_lotka_volterra()))
        >>> sciml.discover(fit, sciml.SparseRegression(degree=2))
        System(x' = -c_f*x*y + 1.3*x, y' = c_g*x*y - 1.8*y)
        >>> sciml.discover(sciml.datasets.ude_lotka_volterra(), sciml.SparseRegression(degree=2))
        System(x' = c_x_1*x + c_x_2*x*y, y' = c_y_1*y + c_y_2*x*y)
    """
    if isinstance(method, SymbolicRegression):
        if not isinstance(source, Fit) or not refine or not simplify >= 0:
            raise ModelError("`SymbolicRegression` takes a Fit, `refine=True`, and `simplify` from 0.")
        if not source.problem.system.functions:
            raise ModelError("nothing is to be discovered: the System has no learned function.")
        held = None if held_out is None else read_held_out(source.problem, held_out)
        return discover_symbolic(source, method, held, simplify)
    if not isinstance(method, SparseRegression):
        raise ModelError(f"method {method!r} is not known: use `SparseRegression(degree=2)`.")
    if not simplify >= 0 or (not refine and (simplify or held_out is not None)):
        raise ModelError(f"`simplify={simplify}` must be a number from 0; it and `held_out` need `refine=True`.")
    problem, names = problem_of(source)
    held = None if held_out is None else read_held_out(problem, held_out)
    if problem.individual:
        different = [list(problem.system.parameters)[i] for i in problem.individual]
        raise ModelError(
            f"{quoted(different)} differs between experiments, which a law read off all of them cannot have. Fit with one "
            "value for all (`per_experiment=False`), or discover from one experiment."
        )
    sizes = dict(zip(map(str, problem.system.states), problem.sizes)) | problem.input_sizes
    library = build_library(problem.system, method.degree, method.library, sizes, names)
    above = signs_of(library, method.signs)
    paths = visited(source, library) if isinstance(source, Fit) else smoothed(problem, library)
    check_columns(paths, library)
    if method.conserved:
        library, factors = conserving(library, method.conserved)
        above = above @ factors
        paths = visited(source, library) if isinstance(source, Fit) else smoothed(problem, library)
    groups = components(paths, library)
    if not refine:
        return _regressed(problem, library, paths, groups, method, above)
    fitted = isinstance(source, Fit)
    starts = supports(paths, library, groups, method) if fitted else promising(paths, groups, method, above)
    search = Search(origin_of(source, problem, method.intervals), library, [t for _, t in groups], method, above)
    with Monitor(show=progress) as monitor, threadpool_limits(1):
        monitor.stage("fitting laws", ROUNDS)
        for start in starts:
            search.try_support(start.active, [search.coefficients(start.active, start.coefficients)])
        for _ in range(ROUNDS):
            monitor.step(min((t.criterion for t in search.ranked()[:1]), default=np.inf), np.zeros(1))
            if not search.round(method.beam):
                break
        for trial in search.ranked():
            if trial.criterion < search.ranked()[0].criterion + NEAR_TIE:
                search.polish(trial)
    failed = sum(trial is None for trial in search.trials.values())
    if failed == len(search.trials):
        raise SolveError(
            f"none of {failed} candidate laws could be solved on the data. Try a smaller library, more terms, "
            "or a fit that follows the data more closely."
        )
    candidates = [_candidate(search, trial, simplify) for trial in search.ranked()[: method.refits]]
    hybrid = source if isinstance(source, Fit) else None
    counts = {"tried": len(search.trials), "failed": failed - search.forbidden}
    counts |= {"forbidden": search.forbidden, "rescued": search.rescued}
    report = Report(tuple(sorted(candidates, key=lambda c: c.criterion)), hybrid, counts)
    if held is not None:
        report = _forecast(report, held, method.intervals)
    return replace(report.best.system, report=report)


def _candidate(search: Search, trial: Trial, simplify: float) -> Candidate:
    exact = {}
    if simplify and trial.criterion < search.ranked()[0].criterion + NEAR_TIE:
        trial, exact = search.simplified(trial, simplify)
    message = "nothing more was to be gained" if trial.converged else "all steps used"
    fit = Fit(search.problem, trial.theta, trial.converged, message)
    free = len(trial.theta) - len(search.places) + len(trial.active) - len(exact)
    return Candidate(fit, search.library, trial.active, free, trial.criterion, search.errors(trial, exact), exact)


def _forecast(report: Report, held: tuple[Experiment, ...], intervals: int) -> Report:
    """The report with forecasts of those laws that they may decide between, and of the hybrid."""
    told = [
        replace(c, forecast=forecast_error(c.fit, held, intervals))
        if any(c is other for other in report.rankable)
        else c
        for c in report.candidates
    ]
    hybrid = None if report.hybrid is None else forecast_error(report.hybrid, held)
    return replace(report, candidates=tuple(told), hybrid_forecast=hybrid)


def _regressed(
    problem: Problem,
    library: Library,
    paths: list[Path],
    groups: list[tuple[list[int], list[int]]],
    method: SparseRegression,
    above: np.ndarray,
) -> System:
    """The law that the regression alone chooses."""
    own = {str(x) for x in problem.noise_parameters}
    free = [x for x, p in library.system.parameters.items() if not p.fixed and str(x) not in own]
    free = [x for x in free if x not in {term.coefficient for term in library.terms}]
    if free:
        raise ModelError(
            f"{quoted(free)} is to be fitted, which a regression alone cannot: give a number, or `refine=True`."
        )
    chosen, inclusion = regressed(paths, groups, method, above)
    values = {str(term.coefficient): 0.0 for term in library.terms}
    for one in chosen:
        values |= {str(library.terms[k].coefficient): c for k, c in zip(one.active, one.coefficients)}
    active = tuple(sorted(k for one in chosen for k in one.active))
    law = library.law(values, active)
    law = replace(law, parameters={x: p for x, p in law.parameters.items() if str(x) not in own})
    return replace(law, report=RegressionReport(library, active, values, tuple(chosen), inclusion))
