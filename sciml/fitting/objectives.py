"""How a problem is posed to the optimizers: in one shot, or in several with gaps that close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sciml.errors import ModelError
from sciml.fitting.collocation import Collocation
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import AbstractOptimizer, Outcome
from sciml.measurement.loss import Loss
from sciml.measurement.problem import Problem


class AbstractObjective(ABC):
    """A way to pose a problem."""

    start: Collocation | None

    @abstractmethod
    def minimize(
        self, problem: Problem, optimizers: Sequence[AbstractOptimizer], monitor: Monitor, seed: int
    ) -> Outcome:
        """Run the stages; the vector returned is one of `problem` (single shooting)."""

    def begin(self, problem: Problem, monitor: Monitor, seed: int) -> np.ndarray:
        """Declared values and random weights, improved by collocation where that is possible."""
        vector = problem.initial(seed)
        if self.start is None:
            return vector
        reason = self.start.reason_against(problem)
        if reason is not None:
            monitor.note(f"no collocation start: {reason}.")
            return vector
        improved = self.start.improve(problem, vector, monitor)
        if np.isfinite(problem.value_and_gradient(improved)[0]):
            return improved
        monitor.note("the collocation start was dropped: the equations cannot be solved there.")
        return vector if np.isfinite(problem.value_and_gradient(vector)[0]) else improved


@dataclass(frozen=True)
class SingleShooting(AbstractObjective):
    """One trajectory per experiment, from its initial value to its end.

    Args:
        start: How to find a first vector; None starts from declared values and random weights.
    """

    start: Collocation | None = field(default_factory=Collocation)

    def minimize(self, problem, optimizers, monitor, seed):
        vector = self.begin(problem, monitor, seed)
        outcome = Outcome(vector, False, "no optimizer was given")
        function = monitor.watch(problem.value_and_gradient)
        for optimizer in optimizers:
            monitor.stage(type(optimizer).__name__, optimizer.steps)
            outcome = optimizer.minimize(function, outcome.vector, monitor)
        return outcome


@dataclass(frozen=True)
class MultipleShooting(AbstractObjective):
    r"""Several trajectories per experiment, whose starts are fitted too and whose gaps are priced and then closed.

    The loss surface of long or chaotic trajectories has many valleys; short shots have few. The price of a gap, in
    units of the states' sizes, is raised tenfold and the last optimizer run again until all gaps are below the
    tolerance; then the last optimizer finishes by single shooting.

    Args:
        intervals: Shots per experiment.
        continuity: First price ρ of squared gaps.
        tolerance: Largest gap at the end, relative to the states' sizes.
        raises: How often the price is raised at most.
        start: How to find a first vector; None starts from declared values and random weights.

    Reference:
        Bock (1983); quadratic penalty as in Nocedal and Wright, Numerical Optimization, framework 17.1.
    """

    intervals: int = 5
    continuity: float = 100.0
    tolerance: float = 1e-3
    raises: int = 6
    start: Collocation | None = field(default_factory=Collocation)

    def __post_init__(self):
        if not isinstance(self.intervals, int) or self.intervals < 2:
            raise ModelError(
                f"`MultipleShooting(intervals={self.intervals!r})` needs at least 2; `SingleShooting()` takes one."
            )

    def minimize(self, problem, optimizers, monitor, seed):
        loss = Loss(problem, self.intervals)
        single = self.begin(problem, monitor, seed)
        vector = np.concatenate([single, loss.initial(seed)[len(single) :]])
        price = self.continuity
        stages = list(optimizers)
        for optimizer in stages:
            vector = self._run(optimizer, loss, vector, price, monitor).vector
        for _ in range(self.raises):
            if np.max(np.abs(loss.gaps(vector)), initial=0.0) < self.tolerance:
                break
            price *= 10.0
            vector = self._run(stages[-1], loss, vector, price, monitor).vector
        gap = float(np.max(np.abs(loss.gaps(vector)), initial=0.0))
        if not gap < self.tolerance:
            monitor.note(f"gaps between shots did not close: the largest is {gap:.2g} (tolerance {self.tolerance:g}).")
        function = monitor.watch(problem.value_and_gradient)
        monitor.stage(f"{type(stages[-1]).__name__}, single shooting", stages[-1].steps)
        return stages[-1].minimize(function, loss.without_nodes(vector), monitor)

    def _run(self, optimizer, loss: Loss, vector, price: float, monitor: Monitor) -> Outcome:
        function = monitor.watch(lambda v: loss.value_and_gradient(v, price), loss.without_nodes)
        monitor.stage(f"{type(optimizer).__name__}, gaps at {price:g}", optimizer.steps)
        return optimizer.minimize(function, vector, monitor)
