"""What a fit shows and remembers while it runs."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
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
    _best_value: float = np.inf
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
        """The function, with evaluations counted and the best vector kept (as `project` sees it)."""
        self._best_value = np.inf

        def watched(vector):
            value, gradient = function(vector)
            self.evaluations += 1
            if value < self._best_value:
                self._best_value, self.best = value, project(np.array(vector))
            return value, gradient

        return watched

    def stage(self, name: str, steps: int) -> None:
        """Begin a stage of at most so many steps."""
        self._stage, self._step = name, 0
        self.seconds.setdefault(name, 0.0)
        self._drawn = time.perf_counter()
        if self._progress is not None:
            if self._task is not None:
                self._progress.update(self._task, visible=False)
            self._task = self._progress.add_task(name, total=steps, loss="…")

    def step(self, loss: float, gradient: Float[np.ndarray, " theta"]) -> None:
        """One iteration of the running stage."""
        self._step += 1
        self.history.append(Record(self._stage, self._step, float(loss), float(np.linalg.norm(gradient))))
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._drawn
        self._drawn = now
        if self._progress is not None:
            self._progress.update(self._task, completed=self._step, loss=f"{loss:.6g}")

    def note(self, text: str) -> None:
        """Something a user should know about how the fit went."""
        self.notes.append(text)
        if self._progress is not None:
            self._progress.console.print(text)
