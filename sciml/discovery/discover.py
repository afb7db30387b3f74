"""The verb: closed forms for the learned functions of a fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from sciml.discovery.library import Library, build_library
from sciml.discovery.proposals import supports
from sciml.discovery.report import Candidate, Report, choose, price
from sciml.discovery.sparse_regression import SparseRegression, Support
from sciml.errors import ModelError, SolveError
from sciml.fitting.fit import Fit
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import LBFGS
from sciml.measurement.problem import Problem
from sciml.symbolic.system import System


def discover(fit: Fit, method: SparseRegression, *, progress: bool = True) -> System:
    r"""Find closed forms for the learned functions of a fit.

    1. Every learned function is written as :math:`\sum_k c_k \phi_k` over the library.
    2. Supports are proposed by sparse regression on the states that the fit visited: on the slopes of the hybrid, and
       on the integral form, measurements − ∫ known = start + Σ c_k ∫ φ_k, where noise stays noise.
    3. Each proposal is refitted through the solver to the data: coefficients, free parameters, initial values and
       noise levels together.
    4. Laws are ranked by likelihood less a price per term for the size of the library; of those that the data do not
       clearly tell apart, the simplest is returned.

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
    sizes = dict(zip(map(str, problem.system.states), problem.sizes))
    library = build_library(problem.system, method.degree, method.library, sizes)
    proposals = supports(fit, library, method)
    refitter = _Refitter(fit, library)
    candidates, failed = [], 0
    with Monitor(show=progress) as monitor, threadpool_limits(1):
        monitor.stage("refitting laws", len(proposals))
        for proposal in proposals:
            candidate = refitter.refit(proposal)
            failed += candidate is None
            candidates += [] if candidate is None else [candidate]
            monitor.step(min((c.criterion for c in candidates), default=np.inf), np.zeros(1))
    if not candidates:
        raise SolveError(
            f"none of {len(proposals)} candidate laws could be solved on the data. Try a smaller library, more terms, "
            "or a fit that follows the data more closely."
        )
    candidates.sort(key=lambda c: c.criterion)
    chosen = choose(candidates)
    report = Report(tuple(candidates), chosen, fit.log_likelihood, failed)
    return replace(candidates[chosen].system, report=report)


class _Refitter:
    """Fits the library System to the data with all but a few coefficients held at zero."""

    def __init__(self, fit: Fit, library: Library):
        self.library = library
        self.problem: Problem = fit.problem.with_system(library.system)
        loss = self.problem.loss
        self.names = [str(x) for x, p in self.problem.system.parameters.items() if not p.fixed]
        self.places = {t.coefficient: self.names.index(str(t.coefficient)) for t in library.terms}
        values = loss.coordinates.values(loss.initial())[0]
        for k, name in enumerate(self.names):
            values[k] = fit.estimates.get(name, values[k])
        for place in self.places.values():
            values[place] = 0.0
        starts = [fit.initial.iloc[s.experiment, s.state] for s in self.problem.starts]
        values[len(values) - len(starts) :] = starts
        self.values = values

    def refit(self, support: Support) -> Candidate | None:
        """The law with this support at its best coefficients; None where it cannot be solved."""
        loss = self.problem.loss
        places = [self.places[self.library.terms[k].coefficient] for k in support.active]
        values = self.values.copy()
        values[places] = support.coefficients
        vector = loss.coordinates.free(values)
        moving = np.setdiff1d(np.arange(len(vector)), [p for p in self.places.values() if p not in places])

        def function(part):
            full = vector.copy()
            full[moving] = part
            value, gradient = self.problem.value_and_gradient(full)
            return value, gradient[moving]

        outcome = LBFGS(steps=200).minimize(function, vector[moving], Monitor(show=False))
        best = vector.copy()
        best[moving] = outcome.vector
        fit = Fit(self.problem, best, outcome.converged, outcome.message)
        if not np.isfinite(fit.log_likelihood):
            return None
        terms, others = len(support.active), len(moving) - len(support.active)
        cost = price(terms, len(self.library.terms), self.problem.observations, others)
        return Candidate(fit, self.library, tuple(sorted(support.active)), len(moving), cost - 2 * fit.log_likelihood)
