"""Optimizers of a flat vector, used one after another as the stages of a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from sciml.errors import ModelError
from sciml.fitting.monitor import Monitor, StageStopped
from sciml.fitting.schedules import cosine
from sciml.measurement.information import Information


@dataclass(frozen=True)
class Target:
    """What is minimized.

    Attributes:
        evaluate: Value and gradient at a vector; a value that is not finite marks a failed trial.
        information: What stands for its Hessian, or None where that cannot be computed.
    """

    evaluate: Callable[[Float[np.ndarray, " n"]], tuple[float, Float[np.ndarray, " n"]]]
    information: Callable[[Float[np.ndarray, " n"]], Information | None]

    def __call__(self, vector: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
        return self.evaluate(vector)


@dataclass(frozen=True)
class Outcome:
    """Where an optimizer ended.

    Attributes:
        vector: The best vector it met.
        converged: Whether it stopped because nothing more was to be gained.
        message: Why it stopped.
    """

    vector: Float[np.ndarray, " n"]
    converged: bool
    message: str


class AbstractOptimizer(ABC):
    """One stage of a fit: improves a vector under a function that returns value and gradient."""

    steps: int

    @abstractmethod
    def minimize(self, function: Target, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        """Improve `vector`. A value that is not finite marks a failed trial and never ends in the result."""


@dataclass(frozen=True)
class Adam(AbstractOptimizer):
    r"""Adam, its rate under a schedule.

    A trial that cannot be computed is taken back and the rate halved; the best vector met is returned.

    Args:
        steps: Number of steps.
        rate: First learning rate, in free coordinates.
        schedule: Done share of the steps, from 0 to 1 -> what multiplies the rate: `cosine`, `constant`, `linear`, or a
            function of your own.
        decay_rates: Exponential decay rates of the moment estimates.

    Reference:
        Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2017), eq. 5, for the schedule.
    """

    steps: int = 1000
    rate: float = 5e-3
    schedule: Callable[[float], float] = cosine
    decay_rates: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self):
        check_steps(self)
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise ModelError(f"`Adam(rate={self.rate})`: the learning rate must be a positive number.")
        if not callable(self.schedule):
            raise ModelError(
                f"`Adam(schedule={self.schedule!r})`: give a function of the done share of the steps, such as "
                "`sciml.schedules.cosine`."
            )

    def minimize(self, function: Target, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        beta1, beta2 = self.decay_rates
        first, second = np.zeros_like(vector), np.zeros_like(vector)
        best, trial, previous = vector, vector, vector
        best_value, shrink, failures, done = np.inf, 1.0, 0, 0
        known = monitor.resumed()
        if known:
            first, second, best, trial, previous = (known[n] for n in ("first", "second", "best", "trial", "previous"))
            best_value, shrink = known["best_value"].item(), known["shrink"].item()
            failures, done = int(known["failures"].item()), int(known["done"].item())
        for step in range(done + 1, self.steps + 1):
            here = trial
            value, gradient = function(here)
            if np.isfinite(value):
                failures = 0
                if value < best_value:
                    best, best_value = here, value
                previous = here
                first = beta1 * first + (1 - beta1) * gradient
                second = beta2 * second + (1 - beta2) * gradient**2
            else:
                failures += 1
                shrink *= 0.5
                if failures > 20:
                    return Outcome(
                        best, False, f"the equations could not be solved near the path, {failures} times running"
                    )
                previous = best
                first = np.zeros_like(vector)
            corrected = first / (1 - beta1**step)
            spread = np.sqrt(second / (1 - beta2**step)) + 1e-8
            trial = previous - self.rate * self.schedule(step / self.steps) * shrink * corrected / spread
            state = {"first": first, "second": second, "best": best, "trial": trial, "previous": previous}
            state |= {"best_value": best_value, "shrink": shrink, "failures": failures, "done": step}
            monitor.step(value, gradient, here, lambda state=state: state)
        value, gradient = function(trial)
        return Outcome(trial if value < best_value else best, False, f"all {self.steps} steps used")


@dataclass(frozen=True)
class LBFGS(AbstractOptimizer):
    """SciPy's L-BFGS-B.

    Args:
        steps: Largest number of iterations.
        memory: Number of stored corrections.
        tolerance: Stops when the value falls by less than this, relatively, in one iteration.

    Reference:
        Byrd, Lu, Nocedal, Zhu (1995); `scipy.optimize.minimize(method="L-BFGS-B")`.
    """

    steps: int = 2000
    memory: int = 20
    tolerance: float = 1e-10

    def __post_init__(self):
        check_steps(self)

    def minimize(self, function: Target, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        start, _ = function(vector)
        if not np.isfinite(start):
            return Outcome(vector, False, "the equations could not be solved at the start of this stage")
        state = {"best": vector, "value": start, "worst": start}

        def guarded(trial):
            value, gradient = function(trial)
            if not np.isfinite(value):
                # A finite wall: the line search steps back from it, and infinities would turn its steps into NaN.
                return state["worst"] + 10.0 * (1.0 + abs(state["worst"])), np.zeros_like(trial)
            state["worst"] = max(state["worst"], value)
            if value < state["value"]:
                state["best"], state["value"] = trial.copy(), value
            state["gradient"] = gradient
            return value, gradient

        def report(intermediate_result):
            gradient = state.get("gradient", np.zeros_like(vector))
            monitor.step(intermediate_result.fun, gradient, intermediate_result.x)

        options = {"maxiter": self.steps, "maxfun": 20 * self.steps, "maxcor": self.memory, "ftol": self.tolerance}
        options |= {"gtol": 1e-8, "maxls": 40}
        result = minimize(guarded, vector, jac=True, method="L-BFGS-B", callback=report, options=options)
        return Outcome(state["best"], bool(result.status == 0), str(result.message).lower())


def run_stage(
    name: str, optimizer: AbstractOptimizer, function: Target, vector: Float[np.ndarray, " n"], monitor: Monitor
) -> Outcome:
    """Run an optimizer as a stage of that name, unless an earlier run has finished it.

    Under validation it may end early, at the vector that scored best.
    """
    known = monitor.skipped()
    if known is not None:
        return Outcome(known.vector, known.converged, known.message)
    monitor.stage(name, optimizer.steps)
    try:
        outcome = optimizer.minimize(function, vector, monitor)
    except StageStopped:
        validation = monitor.validation
        assert validation is not None, "only a validation stops a stage"
        assert validation.stage_best is not None, "only a validation stops a stage"
        text = f"held-out measurements were described no better for {validation.patience} iterations"
        outcome = Outcome(validation.stage_best, True, text)
    monitor.finish(outcome.vector, outcome.converged, outcome.message)
    return outcome


def check_steps(optimizer: AbstractOptimizer) -> None:
    """Raise unless the number of steps is a positive whole number."""
    if not isinstance(optimizer.steps, int) or optimizer.steps < 1:
        name = type(optimizer).__name__
        raise ModelError(f"`{name}(steps={optimizer.steps!r})`: the number of steps must be a positive whole number.")
