"""Which measurements to hold out of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.measurement.experiment import Experiment
from sciml.measurement.problem import Problem


@dataclass(frozen=True)
class Holdout:
    """Measurements that a fit does not see but is judged by: later ones, a window, or whole experiments.

    Of an experiment that is held out the first row is fitted all the same: its initial values are found there.

    Args:
        after: Hold out all later times.
        between: Hold out the times from the first to the second.
        experiments: Hold out experiments of these names.
        patience: How many iterations of a stage may pass without a better description before it ends.

    Example:
        >>> Holdout(after=1913)
        Holdout(after=1913)
    """

    after: float | None = None
    between: tuple[float, float] | None = None
    experiments: Sequence[str] | None = None
    patience: int = 200

    def __post_init__(self):
        given = [name for name in ("after", "between", "experiments") if getattr(self, name) is not None]
        if len(given) != 1:
            said = quoted(given) if given else "nothing"
            raise ModelError(f"`Holdout` was given {said}: give one of `after`, `between` and `experiments`.")
        if not isinstance(self.patience, int) or self.patience < 1:
            raise ModelError(f"`Holdout(patience={self.patience!r})` must be a positive whole number.")

    def split(self, problem: Problem) -> tuple[Problem, tuple[Experiment, ...]]:
        """The problem with gaps in place of what is held out, and the experiments with gaps in place of the rest.

        Raises:
            DataError: Nothing, or everything, would be held out.
        """
        names = [experiment.name for experiment in problem.experiments]
        for name in self.experiments or ():
            if name not in names:
                raise DataError(
                    f"`Holdout` names the experiment `{name}`. There are {quoted(names)}.{suggestion(name, names)}"
                )
        held = [self._held(experiment) for experiment in problem.experiments]
        rest = tuple(e.only(here) for e, here in zip(problem.experiments, held))
        kept = [e.only(~here) for e, here in zip(problem.experiments, held)]
        for parts, what in ((rest, "nothing"), (kept, "everything")):
            if not sum(part.observations for part in parts):
                first, last = problem.experiments[0].times[[0, -1]]
                raise DataError(f"`{self}` holds {what} out: times run from {first:g} to {last:g}.")
        return problem.with_experiments(kept), rest

    def _held(self, experiment: Experiment) -> np.ndarray:
        times = experiment.times
        if self.after is not None:
            rows = times > self.after
        elif self.between is not None:
            rows = (times >= self.between[0]) & (times <= self.between[1])
        else:
            rows = (np.arange(len(times)) > 0) & (experiment.name in (self.experiments or ()))
        return np.repeat(rows[:, None], len(experiment.columns), axis=1)

    def __repr__(self) -> str:
        names = ("after", "between", "experiments")
        return f"Holdout({', '.join(f'{n}={getattr(self, n)!r}' for n in names if getattr(self, n) is not None)})"
