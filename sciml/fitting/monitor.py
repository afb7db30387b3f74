"""What a fit shows, writes down and remembers while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sciml.errors import DataError
from sciml.fitting.checkpoint import Finished, Journal
from sciml.measurement.information import Information


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


@dataclass(frozen=True)
class Stage:
    """What one stage of a fit took.

    Attributes:
        name: As in the history.
        iterations: Of the optimizer.
        evaluations: Of the function that it minimized, with gradient.
        seconds: Wall time.
        evaluating: Of these, how many in that function; the others are the optimizer's and what is shown of it.
    """

    name: str
    iterations: int
    evaluations: int
    seconds: float
    evaluating: float = 0.0


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

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything that it has learned, as arrays."""
        numbers = np.array([self.best_score, self._stage_score, self._waited])
        vectors = {"best": self.best, "stage_best": self.stage_best}
        return {"numbers": numbers} | {name: vector for name, vector in vectors.items() if vector is not None}

    def restore(self, known: Mapping[str, np.ndarray]) -> None:
        """Put a snapshot back."""
        self.best_score, self._stage_score, waited = map(float, known["numbers"])
        self._waited, self.best, self.stage_best = int(waited), known.get("best"), known.get("stage_best")

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
class Log:
    """Lines added to a file while a fit runs: stages, notes, and now and then an iteration.

    Args:
        path: The file; lines are added at its end.
        label: In front of each line, behind the time.
        every: Seconds between two iterations that are written, at least.
    """

    path: Path
    label: str = ""
    every: float = 1.0
    _last: float = -np.inf

    def __post_init__(self):
        if not self.path.parent.is_dir():
            raise DataError(
                f"the folder `{self.path.parent}` does not exist: create it, or choose another place for the log."
            )

    def write(self, text: str) -> None:
        """One line; the iteration that follows is written, too."""
        self._last = -np.inf
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.label}{text}\n")

    def step(self, text: str) -> None:
        """A line on an iteration, unless the last one was written a moment ago."""
        if time.perf_counter() - self._last >= self.every:
            self.write(text)
            self._last = time.perf_counter()


@dataclass
class Monitor:
    """A progress bar (silent when standard error is no terminal), a log, and the history of a fit.

    Every function that is minimized goes through `watch`, so that the best vector is known even when a fit is
    interrupted, and so that the journal can give what it knows already.
    """

    show: bool = True
    history: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best: Float[np.ndarray, " theta"] | None = None
    evaluations: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    evaluating: dict[str, float] = field(default_factory=dict)
    validation: Validation | None = None
    journal: Journal = field(default_factory=Journal)
    log: Log | None = None
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
            shown = TextColumn("loss {task.fields[loss]}, gradient {task.fields[gradient]}")
            self._progress = Progress(*columns, shown, console=Console(stderr=True))
            self._progress.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._progress is not None:
            self._progress.stop()

    def watch(self, function, project=lambda vector: vector):
        """The target, with evaluations counted and the best vector kept (as `project` sees it)."""
        self._best_value, self._project = np.inf, project

        def watched(vector):
            known = self.journal.recall("value", vector)
            if known is None:
                began = time.perf_counter()
                value, gradient = function(vector)
                self._took(began)
                self.journal.record("value", vector, (value, gradient))
            else:
                value, gradient = float(known[0]), known[1].copy()
            self.evaluations += 1
            self.counts[self._stage] = self.counts.get(self._stage, 0) + 1
            if value < self._best_value:
                self._best_value, self.best = value, project(np.array(vector))
            return value, gradient

        def informed(vector):
            known = self.journal.recall("information", vector)
            if known is not None:
                return Information(*known) if known else None
            began = time.perf_counter()
            found = function.information(vector)
            self._took(began)
            self.journal.record("information", vector, () if found is None else (found.jacobian, found.priors))
            return found

        return replace(function, evaluate=watched, information=informed)

    def _took(self, began: float) -> None:
        """Count what an evaluation took."""
        elapsed = time.perf_counter() - began
        self.evaluating[self._stage] = self.evaluating.get(self._stage, 0.0) + elapsed

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
            self._task = self._progress.add_task(name, total=steps, loss="…", gradient="…")
        if self.log is not None:
            self.log.write(f"{name} begins, at most {steps} steps")

    def step(
        self,
        loss: float,
        gradient: Float[np.ndarray, " theta"],
        vector: Float[np.ndarray, " theta"] | None = None,
        state: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """One iteration of the running stage.

        Args:
            loss, gradient, vector: Where it is.
            state: What the optimizer needs to go on from here, as numbers and arrays, if it can do so.

        Raises:
            StageStopped: Held-out measurements have not been described better for too long.
        """
        self._step += 1
        norm = float(np.linalg.norm(gradient))
        self.history.append(Record(self._stage, self._step, float(loss), norm))
        self._clock()
        if self._progress is not None:
            self._progress.update(self._task, completed=self._step, loss=f"{loss:.6g}", gradient=f"{norm:.2g}")
        if self.log is not None:
            self.log.step(f"{self._stage}, step {self._step}: loss {loss:.10g}, gradient {norm:.3g}")
        if self.validation is not None and vector is not None and np.isfinite(loss):
            self.validation.look(vector, self._project(vector))
        self.journal.tick(state, self._snapshot)

    def skipped(self) -> Finished | None:
        """The result of the stage that would begin now, if an earlier run has finished it."""
        known = self.journal.next_finished()
        if known is not None and self.journal.has_skipped_all:
            self._restore()
        return known

    def resumed(self) -> dict[str, np.ndarray]:
        """The state that the optimizer of this stage had given when an earlier run ended; empty where there is none."""
        state, self.journal.state = self.journal.state, {}
        if state:
            self._restore()
        return state

    def _clock(self) -> None:
        """Count the time that has passed to the running stage."""
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._drawn
        self._drawn = now

    def finish(self, vector: Float[np.ndarray, " n"], converged: bool, message: str) -> None:
        """The running stage is over."""
        self._clock()
        if self.log is not None:
            self.log.write(f"{self._stage} ends: {message}")
        self.journal.finish(Finished(vector, converged, message), self._snapshot)

    def _snapshot(self) -> dict[str, np.ndarray]:
        names = list(dict.fromkeys(record.stage for record in self.history))
        rows = [(names.index(r.stage), r.step, r.loss, r.gradient_norm) for r in self.history]
        found = {
            "names": np.frombuffer("\n".join(names).encode(), dtype=np.uint8),
            "history": np.array(rows, dtype=float).reshape(-1, 4),
            "cost": np.array(
                [(self.counts.get(n, 0), self.seconds.get(n, 0.0), self.evaluating.get(n, 0.0)) for n in names]
            ).reshape(-1, 3),
            "numbers": np.array([self.evaluations, self._best_value, self._step]),
        }
        if self.best is not None:
            found["best"] = self.best
        if self.validation is not None:
            found |= {f"validation.{name}": value for name, value in self.validation.snapshot().items()}
        return found

    def _restore(self) -> None:
        known = self.journal.snapshot
        names = known["names"].tobytes().decode().split("\n")
        self.history = [Record(names[int(s)], int(k), float(v), float(g)) for s, k, v, g in known["history"]]
        self.counts = {name: int(count) for name, (count, _, _) in zip(names, known["cost"])}
        self.seconds = {name: float(seconds) for name, (_, seconds, _) in zip(names, known["cost"])}
        self.evaluating = {name: float(seconds) for name, (_, _, seconds) in zip(names, known["cost"])}
        evaluations, self._best_value, step = map(float, known["numbers"])
        self.evaluations, self._step, self.best = int(evaluations), int(step), known.get("best")
        if self.validation is not None:
            prefix = "validation."
            self.validation.restore({n.removeprefix(prefix): a for n, a in known.items() if n.startswith(prefix)})

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What each stage took; stages of the same name together."""
        names = list(dict.fromkeys(record.stage for record in self.history))
        iterations = [sum(record.stage == name for record in self.history) for name in names]
        return tuple(
            Stage(name, steps, self.counts.get(name, 0), self.seconds.get(name, 0.0), self.evaluating.get(name, 0.0))
            for name, steps in zip(names, iterations)
        )

    def note(self, text: str) -> None:
        """Something a user should know about how the fit went."""
        self.notes.append(text)
        if self.log is not None:
            self.log.write(f"note: {text}")
        if self._progress is not None:
            self._progress.console.print(text)
