"""Optimizers of a flat vector, used one after another as the stages of a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from sciml.errors import ModelError
from sciml.fitting.monitor import Monitor

Function = Callable[[Float[np.ndarray, " n"]], tuple[float, Float[np.ndarray, " n"]]]


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
    def minimize(self, function: Function, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        """Improve `vector`. A value that is not finite marks a failed trial and never ends in the result."""


@dataclass(frozen=True)
class Adam(AbstractOptimizer):
    r"""Adam with a cosine schedule: the rate falls from `rate` to a hundredth of it.

    A trial that cannot be computed is taken back and the rate halved; the best vector met is returned.

    Args:
        steps: Number of steps.
        rate: First learning rate, in free coordinates.
        decay_rates: Exponential decay rates of the moment estimates.

    Reference:
        Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2017), eq. 5, for the schedule.
    """

    steps: int = 1000
    rate: float = 5e-3
    decay_rates: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self):
        _check_steps(self)
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise ModelError(f"`Adam(rate={self.rate})`: the learning rate must be a positive number.")

    def minimize(self, function: Function, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
        beta1, beta2 = self.decay_rates
        first, second = np.zeros_like(vector), np.zeros_like(vector)
        best, best_value = vector, np.inf
        trial, previous, shrink, failures = vector, vector, 1.0, 0
        for step in range(1, self.steps + 1):
            value, gradient = function(trial)
            monitor.step(value, gradient)
            if np.isfinite(value):
                failures = 0
                if value < best_value:
                    best, best_value = trial, value
                previous = trial
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
            cosine = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / self.steps))
            corrected = first / (1 - beta1**step)
            spread = np.sqrt(second / (1 - beta2**step)) + 1e-8
            trial = previous - self.rate * cosine * shrink * corrected / spread
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
        _check_steps(self)

    def minimize(self, function: Function, vector: Float[np.ndarray, " n"], monitor: Monitor) -> Outcome:
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
            monitor.step(intermediate_result.fun, state.get("gradient", np.zeros_like(vector)))

        options = {"maxiter": self.steps, "maxfun": 20 * self.steps, "maxcor": self.memory, "ftol": self.tolerance}
        options |= {"gtol": 1e-8, "maxls": 40}
        result = minimize(guarded, vector, jac=True, method="L-BFGS-B", callback=report, options=options)
        return Outcome(state["best"], bool(result.status == 0), str(result.message).lower())


def _check_steps(optimizer: AbstractOptimizer) -> None:
    if not isinstance(optimizer.steps, int) or optimizer.steps < 1:
        name = type(optimizer).__name__
        raise ModelError(f"`{name}(steps={optimizer.steps!r})`: the number of steps must be a positive whole number.")
