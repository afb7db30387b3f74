"""Checkpoints of long fits: what was computed so far, so that the same call goes on after a crash in the same digits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from sciml.errors import DataError, ModelError
from sciml.lowering.networks import weights_of
from sciml.measurement.problem import Problem
from sciml.storage import write_atomically
from sciml.symbolic.declarations import MLP
from sciml.symbolic.serialize import UNREADABLE, encode_system

FORMAT, VERSION = "sciml-checkpoint", 1
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit writes down how far it is, and how often.

    After a crash, `kill -9` or Ctrl-C the same call reads the file and goes on: what was computed is not computed again,
    and the result has the same digits as that of a fit that was never interrupted. The file is removed when the fit is
    done. It is data, no pickle, and belongs to one call: of the same model, data, stages, seed and options. Many
    starts have a file each, `NAME.SEED`.

    Args:
        path: The file.
        every: Seconds between two writings, at least; what a crash loses.

    Example:
        >>> Checkpoint("night.checkpoint", every=300)
        Checkpoint(path='night.checkpoint', every=300)
    """

    path: str | Path
    every: float = 60.0

    def __post_init__(self):
        if not (np.isfinite(self.every) and self.every >= 0):
            raise ModelError(f"`Checkpoint(every={self.every!r})` must be a number of seconds, such as 60.")
        if not Path(self.path).parent.is_dir():
            folder = Path(self.path).parent
            raise DataError(
                f"the folder `{folder}` does not exist: create it, or choose another place for the checkpoint."
            )

    def of_start(self, seed: int) -> Checkpoint:
        """The checkpoint of one of many starts."""
        return Checkpoint(f"{self.path}.{seed}", self.every)


@dataclass(frozen=True)
class Finished:
    """How a stage ended."""

    vector: Float[np.ndarray, " n"]
    converged: bool
    message: str


@dataclass
class Journal:
    """What a fit has computed: results of finished stages, and of the running one each evaluation.

    The optimizers are deterministic: given the recorded values they walk the same way again, at no cost, to where the record
    ends. So nothing of their inner state has to be known. One whose state is small may *anchor* it, so that the record
    of a long stage does not grow: evaluations before an anchor are forgotten.

    Attributes:
        checkpoint: Where, and how often; None writes nothing.
        identity: Hash of the call that it belongs to.
        finished: Stages that are done.
        snapshot: What the fit's monitor knew at the last anchor.
        state: The optimizer's state at the last anchor; empty at the beginning of a stage.
        entries: Digest of the argument, kind, and results of each evaluation since the anchor.
        spent: Seconds of earlier runs.
        diverged: Whether an argument differed from the recorded one, so that the rest was computed anew.
    """

    checkpoint: Checkpoint | None = None
    identity: str = ""
    finished: list[Finished] = field(default_factory=list)
    snapshot: dict[str, np.ndarray] = field(default_factory=dict)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    entries: list[tuple[bytes, str, Arrays]] = field(default_factory=list)
    spent: float = 0.0
    diverged: bool = False
    _skipped: int = 0
    _replayed: int = 0
    _begun: float = field(default_factory=time.perf_counter)
    _written: float = field(default_factory=time.perf_counter)

    @classmethod
    def at(cls, checkpoint: Checkpoint, identity: str) -> Journal:
        """The journal of a call, as far as it has come.

        Raises:
            DataError: The file is of another call, or cannot be read.
        """
        path, empty = Path(checkpoint.path), cls(checkpoint, identity)
        return _read(path, empty) if path.is_file() else empty

    def next_finished(self) -> Finished | None:
        """The result of the stage that begins now, if it is done already."""
        if self._skipped == len(self.finished):
            return None
        self._skipped += 1
        return self.finished[self._skipped - 1]

    @property
    def has_skipped_all(self) -> bool:
        """Whether the stage that was skipped last is the last that is done."""
        return self._skipped == len(self.finished)

    def recall(self, kind: str, vector: Float[np.ndarray, " n"]) -> Arrays | None:
        """What was computed for this argument, if the record goes as far."""
        if self._replayed == len(self.entries):
            return None
        digest, recorded, results = self.entries[self._replayed]
        if digest != _digest(vector) or kind != recorded:
            del self.entries[self._replayed :]
            self.diverged = True
            return None
        self._replayed += 1
        return results

    def record(self, kind: str, vector: Float[np.ndarray, " n"], results: Arrays) -> None:
        """Remember a result."""
        if self.checkpoint is not None:
            self.entries.append((_digest(vector), kind, tuple(np.array(x, dtype=float) for x in results)))
            self._replayed = len(self.entries)

    def tick(
        self, state: Callable[[], Mapping[str, Any]] | None, snapshot: Callable[[], dict[str, np.ndarray]]
    ) -> None:
        """An iteration is over: write if it is time, anchored to the optimizer's state where it gives one."""
        due = self.checkpoint is not None and time.perf_counter() - self._written >= self.checkpoint.every
        if not due or self._replayed < len(self.entries):
            return
        if state is not None:
            self._anchor(snapshot(), {name: np.asarray(value, dtype=float) for name, value in state().items()})
        self.write()

    def finish(self, stage: Finished, snapshot: Callable[[], dict[str, np.ndarray]]) -> None:
        """A stage is over."""
        if self.checkpoint is not None:
            self.finished.append(stage)
            self._skipped = len(self.finished)
            self._anchor(snapshot(), {})
            self.write()

    def _anchor(self, snapshot: dict[str, np.ndarray], state: dict[str, np.ndarray]) -> None:
        self.snapshot, self.state = snapshot, state
        self.entries, self._replayed = [], 0

    @property
    def seconds(self) -> float:
        """Time spent, earlier runs included."""
        return self.spent + time.perf_counter() - self._begun

    def write(self) -> None:
        """Write all of it."""
        assert self.checkpoint is not None, "only a fit with a checkpoint writes"
        arrays = {f"finished.{k}": stage.vector for k, stage in enumerate(self.finished)}
        arrays |= {f"snapshot.{name}": value for name, value in self.snapshot.items()}
        arrays |= {f"state.{name}": value for name, value in self.state.items()}
        results = [x for _, _, found in self.entries for x in found]
        arrays["numbers"] = np.concatenate([x.ravel() for x in results]) if results else np.zeros(0)
        arrays["digests"] = np.frombuffer(b"".join(digest for digest, _, _ in self.entries), dtype=np.uint8)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "identity": self.identity,
            "finished": [[stage.converged, stage.message] for stage in self.finished],
            "entries": [[kind, [list(x.shape) for x in found]] for _, kind, found in self.entries],
            "seconds": self.seconds,
        }
        data = to_bytes(
            {k: np.ascontiguousarray(a) for k, a in arrays.items()}, metadata={"sciml": json.dumps(content)}
        )
        write_atomically(Path(self.checkpoint.path), data)
        self._written = time.perf_counter()

    def remove(self) -> None:
        """The fit is done: its file goes."""
        if self.checkpoint is not None:
            Path(self.checkpoint.path).unlink(missing_ok=True)


def _digest(vector: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(vector, dtype=float).tobytes(), digest_size=8).digest()


def _read(path: Path, empty: Journal) -> Journal:
    try:
        with safe_open(path, framework="numpy") as file:
            content = json.loads((file.metadata() or {})["sciml"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise DataError(f"`{path}` is no checkpoint of this version of sciml: remove it, or choose another path.")
        if content["identity"] != empty.identity:
            raise DataError(
                f"the checkpoint `{path}` is of another fit: model, data, stages, seed or options differ. Remove it to begin "
                "anew, or choose another path."
            )
        return _decode(content, arrays, empty)
    except DataError:
        raise
    except (SafetensorError, *UNREADABLE) as error:
        raise DataError(
            f"`{path}` cannot be read as a checkpoint ({error}): remove it, or choose another path."
        ) from error


def _decode(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], journal: Journal) -> Journal:
    for k, (converged, message) in enumerate(content["finished"]):
        journal.finished.append(Finished(arrays[f"finished.{k}"], bool(converged), str(message)))
    for prefix, target in (("snapshot.", journal.snapshot), ("state.", journal.state)):
        target.update({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
    digests, numbers, position = arrays["digests"].tobytes(), arrays["numbers"], 0
    for k, (kind, shapes) in enumerate(content["entries"]):
        found = []
        for shape in shapes:
            size = int(np.prod(shape, dtype=int))
            found.append(numbers[position : position + size].reshape(shape))
            position += size
        journal.entries.append((digests[8 * k : 8 * k + 8], str(kind), tuple(found)))
    journal.spent = float(content["seconds"])
    return journal


def identity_of(problem: Problem, choices: Sequence[Any]) -> str:
    """Hash of a problem and of what was chosen to fit it by."""
    tree, arrays = encode_system(problem.system)
    for k, network in enumerate(problem.system.learned.values()):
        if not isinstance(network, MLP):
            arrays[f"module.{k}"] = weights_of(network)
    for k, experiment in enumerate(problem.experiments):
        arrays[f"times.{k}"], arrays[f"values.{k}"] = experiment.times, experiment.values
        arrays[f"levels.{k}"] = experiment.levels
        arrays[f"initial.{k}"] = np.array([experiment.initial[name] for name in sorted(experiment.initial)])
        if experiment.signals is not None:
            arrays[f"inputs.{k}"] = experiment.signals.table()
    options = [problem.likelihoods, problem.cost, problem.penalties, problem.solver, problem.gradients]
    options += [problem.rtol, problem.atol, problem.max_steps, problem.engine]
    modules = [network for network in problem.system.learned.values() if not isinstance(network, MLP)]
    text = json.dumps([tree, _plain([*options, *choices]), list(map(repr, modules))])
    digest = blake2b(text.encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name], dtype=float).tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A choice as text that is the same in every process: functions by their names, objects by their fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.init}]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return repr(value)
