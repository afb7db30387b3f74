"""How a problem is posed to the optimizers: in one shot, or in several with gaps that close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sciml.errors import ModelError
from sciml.fitting.collocation import Collocation
from sciml.fitting.monitor import Monitor
from sciml.fitting.optimizers import AbstractOptimizer, Outcome, Target, run_stage
from sciml.measurement.information import information
from sciml.measurement.loss import Loss
from sciml.measurement.problem import Problem


class AbstractObjective(ABC):
    """A way to pose a problem."""

    start: Collocation | None

    @abstractmethod
    def minimize(
        self,
        problem: Problem,
        optimizers: Sequence[AbstractOptimizer],
        monitor: Monitor,
        vector: Float[np.ndarray, " theta"],
    ) -> Outcome:
        """Run the stages from a first vector; it and the one returned are of `problem` (single shooting)."""

    def begin(self, problem: Problem, monitor: Monitor, vector: Float[np.ndarray, " theta"]) -> np.ndarray:
        """The first vector, improved by collocation where that is possible."""
        if self.start is None or problem.cost is not None:
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

    def minimize(self, problem, optimizers, monitor, vector):
        vector = self.begin(problem, monitor, vector)
        outcome = Outcome(vector, False, "no optimizer was given")
        function = monitor.watch(target(problem))
        for optimizer in optimizers:
            outcome = run_stage(type(optimizer).__name__, optimizer, function, outcome.vector, monitor)
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

    def minimize(self, problem, optimizers, monitor, vector):
        loss = Loss(problem, self.intervals)
        single = self.begin(problem, monitor, vector)
        vector = np.concatenate([single, loss.initial()[len(single) :]])
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
        name = f"{type(stages[-1]).__name__}, single shooting"
        return run_stage(name, stages[-1], monitor.watch(target(problem)), loss.without_nodes(vector), monitor)

    def _run(self, optimizer, loss: Loss, vector, price: float, monitor: Monitor) -> Outcome:
        function = Target(lambda v: loss.value_and_gradient(v, price), lambda v: information(loss, v, price))
        name = f"{type(optimizer).__name__}, gaps at {price:g}"
        return run_stage(name, optimizer, monitor.watch(function, loss.without_nodes), vector, monitor)


@dataclass(frozen=True)
class GrowingWindow(AbstractObjective):
    """Single shooting over the first part of every experiment, then over longer ones, up to the whole.

    A first part is short, so that a bad start does not lead far from the data; each fit begins where the one before
    ended. Oscillations whose period is unknown are the usual case.

    Args:
        windows: How many parts, the last being the whole; the k-th ends at k/windows of the rows.
        start: How to find a first vector; None starts from declared values and random weights.
    """

    windows: int = 4
    start: Collocation | None = field(default_factory=Collocation)

    def __post_init__(self):
        if not isinstance(self.windows, int) or self.windows < 2:
            raise ModelError(
                f"`GrowingWindow(windows={self.windows!r})` needs at least 2; `SingleShooting()` takes the whole."
            )

    def minimize(self, problem, optimizers, monitor, vector):
        outcome = Outcome(self.begin(problem, monitor, vector), False, "no optimizer was given")
        for window in range(1, self.windows + 1):
            share = window / self.windows
            parts = [
                experiment.first(max(2, round(share * len(experiment.times)))) for experiment in problem.experiments
            ]
            function = target(problem) if window == self.windows else of_loss(Loss(problem, experiments=parts))
            function = monitor.watch(function)
            for optimizer in optimizers:
                name = type(optimizer).__name__ + ("" if window == self.windows else f", first {share:.0%}")
                outcome = run_stage(name, optimizer, function, outcome.vector, monitor)
        return outcome


def of_loss(loss: Loss) -> Target:
    """A loss as what optimizers minimize."""
    return Target(loss.value_and_gradient, lambda vector: information(loss, vector))


def target(problem: Problem) -> Target:
    """A problem, by single shooting, as what optimizers minimize."""
    return Target(problem.value_and_gradient, lambda vector: information(problem.loss, vector))
