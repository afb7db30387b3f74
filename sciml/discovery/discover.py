"""The verb: closed forms for the learned functions of a fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from sciml.discovery.library import build_library
from sciml.discovery.proposals import components, supports, visited
from sciml.discovery.report import NEAR_TIE, Candidate, Report
from sciml.discovery.search import Search, Trial
from sciml.discovery.sparse_regression import SparseRegression
from sciml.errors import ModelError, SolveError, quoted
from sciml.fitting.fit import Fit
from sciml.fitting.monitor import Monitor
from sciml.symbolic.system import System

ROUNDS = 12


def discover(fit: Fit, method: SparseRegression, *, progress: bool = True) -> System:
    r"""Find closed forms for the learned functions of a fit.

    1. Every learned function is written as :math:`\sum_k c_k \phi_k` over the library.
    2. Supports are proposed by best subsets of the integral form along the path that the fit visited,
       measurements − ∫ known = start + Σ c_k ∫ φ_k, where noise stays noise.
    3. Each is fitted through the solver to the data: coefficients, free parameters, initial values and noise levels
       together, by descents with forward sensitivities.
    4. From the best laws the search goes on to those with one term less, one more, or one exchanged, chosen by score
       tests, until the best ones lead to nothing new.
    5. Laws are ranked by twice the negative log-posterior plus a price per term for the size of the library (`price`).
       The best is returned; those that the data do not clearly tell from it are `law.report.near_ties`.

    Args:
        fit: Of a System with learned functions that stand linearly in its equations.
        method: The library, and how many terms.
        progress: Show a progress bar where standard error is a terminal.

    Returns:
        The law, a System like any other with its estimates filled in. `law.report` holds the ranked candidates.

    Raises:
        ModelError: Nothing to discover, or a library that does not fit the System.
        SolveError: No candidate could be solved.

    Example:
        >>> import sciml, sympy as sp
        >>> x, y = sp.symbols("x y", real=True)
        >>> f, g = sp.symbols("f g", cls=sp.Function)
        >>> model = sciml.System({x: 1.3 * x - f(x, y), y: g(x, y) - 1.8 * y}, learned={(f, g): sciml.MLP(hidden=5)})
        >>> fit = sciml.fit(sciml.Problem(model, sciml.datasets.ude_lotka_volterra()))
        >>> sciml.discover(fit, sciml.SparseRegression(degree=2))
        System(x' = -c_f*x*y + 1.3*x, y' = c_g*x*y - 1.8*y)
    """
    if not isinstance(fit, Fit):
        raise ModelError(f"`discover` takes a Fit, not `{type(fit).__name__}`: `discover(sciml.fit(problem), ...)`.")
    if not isinstance(method, SparseRegression):
        raise ModelError(f"method {method!r} is not known: use `SparseRegression(degree=2)`.")
    problem = fit.problem
    if problem.individual:
        names = [list(problem.system.parameters)[i] for i in problem.individual]
        raise ModelError(
            f"{quoted(names)} differs between experiments, which a law read off all of them cannot have. Fit with one value "
            "for all (`per_experiment=False`), or discover from one experiment."
        )
    sizes = dict(zip(map(str, problem.system.states), problem.sizes)) | problem.input_sizes
    library = build_library(problem.system, method.degree, method.library, sizes)
    paths = visited(fit, library)
    groups = components(paths, library)
    proposals = supports(paths, library, groups, method)
    search = Search(fit, library, [terms for _, terms in groups], method)
    with Monitor(show=progress) as monitor, threadpool_limits(1):
        monitor.stage("fitting laws", ROUNDS)
        for proposal in proposals:
            search.try_support(proposal.active, [search.coefficients(proposal.active, proposal.coefficients)])
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
    candidates = tuple(_candidate(search, trial) for trial in search.ranked()[: method.refits])
    report = Report(candidates, fit.log_likelihood, failed, len(search.trials), search.rescued)
    return replace(candidates[0].system, report=report)


def _candidate(search: Search, trial: Trial) -> Candidate:
    message = "nothing more was to be gained" if trial.converged else "all steps used"
    fit = Fit(search.problem, trial.theta, trial.converged, message)
    free = len(trial.theta) - len(search.places) + len(trial.active)
    return Candidate(fit, search.library, trial.active, free, trial.criterion, search.errors(trial))
