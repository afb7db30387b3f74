"""What a fit shows and remembers while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(frozen=True)
class Record:
    """One line of a fit's history.

    Attributes:
        stage: What was running, such as `Adam` or `LBFGS, single shooting`.
        step: Iteration within the stage, from 1.
        loss: Negative log-posterior (with the price of gaps under multiple shooting).
        gradient_norm: Euclidean norm of its gradient in free coordinates.
    """

    stage: str
    step: int
    loss: float
    gradient_norm: float


class StageStopped(Exception):
    """A stage ends early; its best vector by validation is in the `Validation`."""


@dataclass
class Validation:
    """Watches how well a fit describes what it was not fitted to.

    Attributes:
        score: Negative log-likelihood of held-out measurements at a vector of single shooting.
        patience: How many iterations of a stage may pass without a better score.
        best: The best vector of single shooting.
        best_score: Its score.
    """

    score: Callable[[Float[np.ndarray, " theta"]], float]
    patience: int
    best: Float[np.ndarray, " theta"] | None = None
    best_score: float = np.inf
    stage_best: Float[np.ndarray, " n"] | None = None
    _stage_score: float = np.inf
    _waited: int = 0

    def begin(self) -> None:
        """A new stage."""
        self.stage_best, self._stage_score, self._waited = None, np.inf, 0

    def look(self, vector: Float[np.ndarray, " n"], single: Float[np.ndarray, " theta"]) -> None:
        """Score one iteration's vector, of which `single` is the part that single shooting knows."""
        score = self.score(single)
        self._waited += 1
        if score < self._stage_score:
            self._stage_score, self.stage_best, self._waited = score, np.array(vector), 0
        if score < self.best_score:
            self.best_score, self.best = score, np.array(single)
        if self._waited >= self.patience and self.stage_best is not None:
            raise StageStopped


@dataclass
class Monitor:
    """A progress bar (silent when standard error is no terminal) and the history of a fit.

    Every function that is minimized goes through `watch`, so that the best vector is known even when a fit is
    interrupted.
    """

    show: bool = True
    history: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best: Float[np.ndarray, " theta"] | None = None
    evaluations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    validation: Validation | None = None
    _best_value: float = np.inf
    _project: Callable[[np.ndarray], np.ndarray] = lambda vector: vector
    _stage: str = ""
    _step: int = 0
    _progress: Progress | None = None
    _task: Any = None
    _drawn: float = 0.0

    def __enter__(self) -> Monitor:
        if self.show and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, TextColumn("loss {task.fields[loss]}"), console=Console(stderr=True))
            self._progress.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._progress is not None:
            self._progress.stop()

    def watch(self, function, project=lambda vector: vector):
        """The target, with evaluations counted and the best vector kept (as `project` sees it)."""
        self._best_value, self._project = np.inf, project

        def watched(vector):
            value, gradient = function(vector)
            self.evaluations += 1
            if value < self._best_value:
                self._best_value, self.best = value, project(np.array(vector))
            return value, gradient

        return replace(function, evaluate=watched)

    def stage(self, name: str, steps: int) -> None:
        """Begin a stage of at most so many steps."""
        self._stage, self._step = name, 0
        if self.validation is not None:
            self.validation.begin()
        self.seconds.setdefault(name, 0.0)
        self._drawn = time.perf_counter()
        if self._progress is not None:
            if self._task is not None:
                self._progress.update(self._task, visible=False)
            self._task = self._progress.add_task(name, total=steps, loss="…")

    def step(
        self,
        loss: float,
        gradient: Float[np.ndarray, " theta"],
        vector: Float[np.ndarray, " theta"] | None = None,
    ) -> None:
        """One iteration of the running stage.

        Raises:
            StageStopped: Held-out measurements have not been described better for too long.
        """
        self._step += 1
        self.history.append(Record(self._stage, self._step, float(loss), float(np.linalg.norm(gradient))))
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._drawn
        self._drawn = now
        if self._progress is not None:
            self._progress.update(self._task, completed=self._step, loss=f"{loss:.6g}")
        if self.validation is not None and vector is not None and np.isfinite(loss):
            self.validation.look(vector, self._project(vector))

    def note(self, text: str) -> None:
        """Something a user should know about how the fit went."""
        self.notes.append(text)
        if self._progress is not None:
            self._progress.console.print(text)
