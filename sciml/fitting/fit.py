"""Fit a problem: from a start, from many, with held-out measurements, across crashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from sciml.errors import ModelError, SolveError
from sciml.fitting.automatic import Automatic
from sciml.fitting.checkpoint import Checkpoint, Journal, identity_of
from sciml.fitting.holdout import Holdout
from sciml.fitting.least_squares import LevenbergMarquardt
from sciml.fitting.monitor import Log, Monitor, Validation
from sciml.fitting.objectives import AbstractObjective, SingleShooting
from sciml.fitting.optimizers import LBFGS, AbstractOptimizer, Adam, Outcome
from sciml.fitting.plausibility import check_plausible, open_directions
from sciml.fitting.result import Fit
from sciml.fitting.starts import in_parallel, varied
from sciml.measurement.experiment import Experiment
from sciml.measurement.loss import Loss
from sciml.measurement.problem import Problem
from sciml.trust.audit import Audit, believed

INTERRUPTED = "interrupted; this is the best so far"


def fit(
    problem: Problem,
    objective: AbstractObjective | None = None,
    optimizers: Sequence[AbstractOptimizer] | None = None,
    *,
    seed: int = 0,
    starts: int = 1,
    validate: Holdout | None = None,
    checkpoint: Checkpoint | None = None,
    log: str | Path | None = None,
    progress: bool = True,
) -> Fit:
    r"""Find the vector that minimizes a problem's negative log-posterior.

    By default: a start by matching the slopes of smoothing splines (`Collocation`), then, for a model with networks,
    Adam and L-BFGS by single shooting; without networks, L-BFGS alone; and shorter shots where that leaves clearly more
    than a smooth curve would (`Automatic`). Ctrl-C ends the fit and returns the best so
    far; trials that cannot be solved are stepped back from.

    Args:
        problem: What to fit.
        objective: `Automatic()`, `SingleShooting()`, `MultipleShooting(intervals=...)` or `GrowingWindow(windows=...)`.
        optimizers: Stages, one after another, of `Adam`, `LBFGS` and `LevenbergMarquardt`.
        seed: Of the random weights.
        starts: How many times to fit: first from the declared values, then from random ones (drawn from priors and
            bounds) with the seeds `seed + 1`, …, on all cores, or where `joblib.parallel_config(...)` says. The best is
            returned, by validation if there is one, else by loss; `fit.starts` holds all.
        validate: Measurements to hold out: stages stop early by them, and the vector that describes them best is kept.
        checkpoint: Where to write down now and then how far the fit is; the same call goes on from there after a crash.
        log: File to which lines on stages, iterations and notes are added.
        progress: Show a progress bar where standard error is a terminal: loss, gradient norm, time left.

    Returns:
        Estimates, history and the fitted System. `fit.converged` tells whether the last stage finished.

    Raises:
        SolveError: The equations could not be solved at any vector that was tried, from any start.
        DataError: The checkpoint is of another fit.

    Example:
        >>> import numpy as np, pandas as pd, sympy as sp
        >>> from sciml import Normal, Parameter, Problem, System
        >>> x, k = sp.symbols("x k", real=True)
        >>> decay = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))})
        >>> t = np.linspace(0, 2, 9)
        >>> problem = Problem(decay, pd.DataFrame({"x": np.exp(-1.5 * t)}, index=t), noise={x: Normal(0.1)})
        >>> round(fit(problem).estimates["k"], 4)
        1.5
    """
    objective = Automatic() if objective is None else objective
    _check(problem, objective, optimizers)
    if validate is not None:
        problem.needs_measurements("`validate`")
    check_plausible(problem)
    if not isinstance(starts, int) or starts < 1:
        raise ModelError(f"`starts={starts!r}` must be a whole number from 1.")
    if validate is not None and not isinstance(validate, Holdout):
        raise ModelError(f"`validate={validate!r}`: say what to hold out, such as `Holdout(after=1913)`.")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise ModelError(
            f"`checkpoint={checkpoint!r}`: say where and how often, such as `Checkpoint('fit.checkpoint', every=60)`."
        )
    if optimizers is None:
        optimizers = [Adam(), LBFGS()] if problem.system.learned else [LBFGS()]
    run = _Run(problem, objective, tuple(optimizers), validate, checkpoint, None if log is None else Path(log))
    if starts == 1:
        return _told(run.once(seed, progress=progress))
    seeds = range(seed, seed + starts)
    many = replace(run, many=True)
    outcomes = in_parallel(partial(_attempt, first=seed), many, seeds)
    # Most attempts leave their problem behind: they share the one that was asked for.
    outcomes = [replace(o, problem=o.problem or problem) if isinstance(o, Fit) else o for o in outcomes]
    found = _told(_best(outcomes, starts))
    if checkpoint is not None and all(each.message != INTERRUPTED for each in found.starts):
        for each in seeds:
            Path(checkpoint.of_start(each).path).unlink(missing_ok=True)
    return found


def _told(found: Fit) -> Fit:
    """The fit with notes of what the data did not determine."""
    said = open_directions(found.problem, found.vector) if found.converged else ()
    return replace(found, notes=(*found.notes, *said))


def _attempt(run: _Run, seed: int, first: int) -> Fit | str:
    """One of many starts: a fit without what can be computed anew, or why it failed.

    It has no problem where that is the one that was asked for, so that the way back from another process is short.
    """
    try:
        found = run.once(seed, vary=seed != first)
    except (SolveError, ArithmeticError, np.linalg.LinAlgError) as error:
        return str(error)
    # A fresh problem travels light: compiled code is found in the cache again.
    same: Any = None if found.problem is run.problem else replace(found.problem)
    return replace(found, problem=same)


def _best(outcomes: Sequence[Fit | str], starts: int) -> Fit:
    fits = [outcome for outcome in outcomes if isinstance(outcome, Fit)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if not fits:
        raise SolveError(
            f"all {starts} starts failed. The first one: {failures[0]} If random starts lie too far apart, give "
            "parameters closer `bounds` or a `prior`."
        )
    fits.sort(key=lambda found: found.loss if found.held_out is None else -found.held_out)
    notes = fits[0].notes
    if failures:
        notes += (f"{len(failures)} of {starts} starts failed. The first one: {failures[0]}",)
    return replace(fits[0], notes=notes, starts=tuple(fits))


@dataclass(frozen=True)
class _Run:
    """The choices of a call, for one start after another."""

    problem: Problem
    objective: AbstractObjective
    optimizers: tuple[AbstractOptimizer, ...]
    validate: Holdout | None
    checkpoint: Checkpoint | None
    log: Path | None
    many: bool = False

    def once(self, seed: int, vary: bool = False, progress: bool = False) -> Fit:
        """Fit from one start: the declared values, or random ones; always from random weights."""
        problem, held = (self.problem, None) if self.validate is None else self.validate.split(self.problem)
        begin = varied(problem, seed) if vary else problem.initial(seed)
        scorer, validation = self._validation(problem, held)
        journal = self._journal(problem, seed, vary)
        log = None if self.log is None else Log(self.log, f"start {seed}: " if self.many else "")
        # Vectors are short here: threads of the linear algebra would only wait for each other, 20 times as long on busy
        # cores.
        with Monitor(show=progress, validation=validation, journal=journal, log=log) as monitor, threadpool_limits(1):
            audit = None
            try:
                problem, audit = _audited(problem, begin, monitor)
                outcome = self.objective.minimize(problem, self.optimizers, monitor, begin)
            except KeyboardInterrupt:
                outcome = self._interrupted(problem, begin, monitor)
            if journal.diverged:
                text = "was written by other libraries or on another machine: its last part was redone"
                monitor.note(f"the checkpoint {text}.")
        vector = outcome.vector if validation is None or validation.best is None else validation.best
        values = sum(experiment.observations for experiment in held or ())
        result = Fit(
            problem=problem,
            vector=vector,
            converged=outcome.converged,
            message=outcome.message,
            history=tuple(monitor.history),
            notes=tuple(monitor.notes),
            evaluations=monitor.evaluations,
            seconds=journal.seconds,
            seed=seed,
            held_out=None if scorer is None else scorer.log_likelihood(vector) / values,
            stages=monitor.stages,
            audit=audit,
        )
        if not np.isfinite(result.loss):
            if problem.loss.ended:
                raise SolveError(f"the loss is infinite at all vectors that were tried: {problem.loss.ended}")
            raise SolveError(
                "the equations could not be solved at any vector that was tried, the start included. Try other starting "
                "values, `MultipleShooting(intervals=...)`, or a larger `max_steps`. To see where it fails: "
                "`sciml.simulate(problem.system, ts, initial=...)`."
            )
        if not self.many and outcome.message != INTERRUPTED:
            journal.remove()
        return result

    def _interrupted(self, problem: Problem, begin: Float[np.ndarray, " theta"], monitor: Monitor) -> Outcome:
        vector = begin if monitor.best is None else monitor.best
        if not np.isfinite(problem.value_and_gradient(vector)[0]):
            vector = begin
        if self.checkpoint is not None:
            monitor.journal.write()
        return Outcome(vector, False, INTERRUPTED)

    def _validation(
        self, problem: Problem, held: tuple[Experiment, ...] | None
    ) -> tuple[Loss | None, Validation | None]:
        if held is None or self.validate is None:
            return None, None
        scorer = Loss(problem, experiments=held, penalized=False)
        return scorer, Validation(lambda vector: -scorer.log_likelihood(vector), self.validate.patience)

    def _journal(self, problem: Problem, seed: int, vary: bool) -> Journal:
        if self.checkpoint is None:
            return Journal()
        here = self.checkpoint.of_start(seed) if self.many else self.checkpoint
        return Journal.at(here, identity_of(problem, [self.objective, self.optimizers, self.validate, seed, vary]))


def _audited(problem: Problem, begin: Float[np.ndarray, " theta"], monitor: Monitor) -> tuple[Problem, Audit | None]:
    """The problem, compiled, with a gradient that passed at the start, if there is one."""
    if problem.engine == "native":
        monitor.stage("compiling", 1)
        problem.loss.prepare()
    problem, audit, text = believed(problem, begin)
    if text is not None:
        monitor.note(text)
    return problem, audit


def _check(problem: Any, objective: Any, optimizers: Any) -> None:
    if not isinstance(problem, Problem):
        raise ModelError(f"`fit` takes a Problem, not `{type(problem).__name__}`: `Problem(system, data, noise=...)`.")
    if not isinstance(objective, AbstractObjective):
        raise ModelError(
            f"objective {objective!r} is not known: use `SingleShooting()`, `MultipleShooting()` or `GrowingWindow()`."
        )
    listed = isinstance(optimizers, Sequence) and len(optimizers) > 0
    if optimizers is not None and not (listed and all(isinstance(o, AbstractOptimizer) for o in optimizers)):
        raise ModelError(f"optimizers {optimizers!r} must be a list such as `[Adam(steps=1000), LBFGS()]`.")
    if problem.cost is not None:
        if not isinstance(objective, Automatic | SingleShooting):
            raise ModelError(f"`{objective!r}` needs rows of measurements: a cost is for `SingleShooting()`.")
        if any(isinstance(optimizer, LevenbergMarquardt) for optimizer in optimizers or ()):
            raise ModelError("`LevenbergMarquardt` needs measurements: for a cost use `Adam` and `LBFGS`.")
    if len(problem.loss.coordinates) == 0:
        raise ModelError("nothing is to be fitted: all parameters are fixed and all initial values are given.")
