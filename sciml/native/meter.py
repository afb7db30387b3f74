"""What the parts of a native loss take: its routines counted in one evaluation and timed on the numbers they meet there.

A fit pays nothing for it: the record of a loss holds addresses, and for one evaluation those of counting functions are put
in their place.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sciml.native import loss_kernels
from sciml.native.adjoint import ROWS
from sciml.native.compilation import call, kernel, pointer
from sciml.native.lanes import carve_lane
from sciml.native.loss import Loss
from sciml.native.method import unpack
from sciml.native.model import Model
from sciml.native.records import shot_of, task_at
from sciml.native.routines import ROLES
from sciml.native.task import aligned_copy
from sciml.native.trajectory import compare, own_part

PARTS = ("value", "vjp", "weights")


@kernel
def repeat_value(function, count, t, y, p, u, tape, out):
    """Evaluate a routine so many times."""
    for _ in range(count):
        call(function, (t, pointer(y), pointer(p), pointer(u), pointer(tape), pointer(out)))


@kernel
def repeat_vjp(function, count, t, y, p, u, tape, g, gy, gp):
    """Pull a cotangent back so many times."""
    for _ in range(count):
        first = (t, pointer(y), pointer(p), pointer(u), pointer(tape))
        call(function, (first[0], first[1], first[2], first[3], first[4], pointer(g), pointer(gy), pointer(gp)))


@kernel
def repeat_weights(function, count, tapes, rows, gp):
    """Collect a gradient by weights so many times."""
    for _ in range(count):
        call(function, (pointer(tapes), rows, pointer(gp)))


@kernel
def repeat_pack_value(function, count, times, y, q, p, u, tape, out):
    """The same for eight trajectories at once."""
    for _ in range(count):
        call(function, (pointer(times), pointer(y), pointer(q), pointer(p), pointer(u), pointer(tape), pointer(out)))


@kernel
def repeat_pack_vjp(function, count, times, y, q, p, u, tape, cotangents, g, gy, gq):
    """The same for eight trajectories at once."""
    for _ in range(count):
        a, b, c, d, e = pointer(times), pointer(y), pointer(q), pointer(p), pointer(u)
        call(function, (a, b, c, d, e, pointer(tape), pointer(cotangents), pointer(g), pointer(gy), pointer(gq)))


@kernel
def repeat_pack_weights(function, count, tapes, cotangents, rows, gp):
    """The same for eight trajectories at once."""
    for _ in range(count):
        call(function, (pointer(tapes), pointer(cotangents), rows, pointer(gp)))


@kernel
def repeat_compare(address, count):
    """Compare states with the data of all shots so many times, cotangents included."""
    task = task_at(address)
    lane, slopes, total = carve_lane(task, unpack(pointer(task.method)), 0), pointer(task.slopes), 0.0
    for _ in range(count):
        for number in range(task.shot_count):
            shot = shot_of(task, number)
            p, u = pointer(shot.numbers), pointer(shot.inputs)
            total += compare(task, shot, p, u, lane, own_part(task, shot, slopes), True)
    return total


REPEAT = {
    "value": (repeat_value, "dppppp"),
    "vjp": (repeat_vjp, "dppppppp"),
    "weights": (repeat_weights, "pip"),
    "pack_value": (repeat_pack_value, "ppppppp"),
    "pack_vjp": (repeat_pack_vjp, "pppppppppp"),
    "pack_weights": (repeat_pack_weights, "ppip"),
}
_KINDS = {"d": ctypes.c_double, "p": ctypes.c_void_p, "i": ctypes.c_int64}


def seconds_of(run: Callable[[int], object], shortest: float = 2e-4, rounds: int = 12) -> float:
    """Of one of the repetitions that `run(count)` makes: the best of some rounds, each long enough to be timed."""
    count, elapsed, best = 1, 0.0, np.inf
    run(1)
    while elapsed < shortest:
        began = time.perf_counter()
        run(count)
        elapsed = time.perf_counter() - began
        best, count = elapsed / count, 2 * count
    for _ in range(rounds):
        began = time.perf_counter()
        run(count)
        best = min(best, (time.perf_counter() - began) / count)
    return best


class Counted:
    """A C function that counts its calls, and is timed where it is called first.

    Args:
        address: What it stands in for.
        kind: Key of `REPEAT`.
    """

    def __init__(self, address: int, kind: str):
        self.calls, self.rows, self.each = 0, 0, 0.0
        repeat, signature = REPEAT[kind]
        form = ctypes.CFUNCTYPE(None, *(_KINDS[letter] for letter in signature))
        original, place = form(address), signature.find("i")

        def counting(*arguments):
            given = [0 if a is None else a for a in arguments]
            self.calls += 1
            rows = given[place] if place >= 0 else 1
            self.rows += rows
            if self.calls == 1:
                self.each = seconds_of(lambda count: repeat(address, count, *given)) / max(rows, 1)
            original(*arguments)

        self._kept = form(counting)
        self.address = ctypes.cast(self._kept, ctypes.c_void_p).value

    @property
    def seconds(self) -> float:
        """Of all calls; those that take rows, by rows."""
        return self.rows * self.each


@dataclass(frozen=True)
class Meter:
    """Seconds of one evaluation of value and gradient on one thread.

    Attributes:
        total: All of it.
        routines: Of each role (`field`, `jacobian`, events' `conditions`, ...) and part (`value`, `vjp`, `weights`).
        compared: Likelihood of all measurements, with penalties and costs.
        priced: Of that, what columns cost that were named.
        coordinates: Transforms, priors, initial states, sums.
    """

    total: float
    routines: dict[str, dict[str, float]]
    compared: float
    priced: float
    coordinates: float

    @property
    def stepping(self) -> float:
        """What is left: stages, error control, dense output, and the same backwards."""
        rest = self.total - self.compared - self.coordinates
        return max(0.0, rest - sum(sum(parts.values()) for parts in self.routines.values()))


def meter(loss: Loss, theta: np.ndarray, priced: Sequence[int] = ()) -> Meter | None:
    """Count and time the parts of a loss; None where it cannot be computed at these coordinates.

    Args:
        loss: Which; it is as before when this returns.
        theta: The coordinates.
        priced: Numbers of columns whose cost is wanted by itself.
    """
    gradient = np.empty(loss.size)
    if not np.isfinite(loss.on_one_thread(theta, gradient)):
        return None
    task = loss.task
    address, record = task.address, task.record
    whole = [seconds_of(lambda count: [loss_kernels.evaluate(address, gradient) for _ in range(count)])]
    routines = _routines(loss, gradient)
    lanes = int(record["lanes"][0])
    task.set(lanes=0)
    coordinates = seconds_of(lambda count: [loss_kernels.evaluate(address, gradient) for _ in range(count)])
    task.set(lanes=lanes)
    compared, left = seconds_of(lambda count: repeat_compare(address, count)), 0.0
    data = task.arrays["data"]
    if len(priced):
        kept = data.copy()
        data[:, list(priced)] = np.nan
        left = seconds_of(lambda count: repeat_compare(address, count))
        data[...] = kept
    whole.append(seconds_of(lambda count: [loss_kernels.evaluate(address, gradient) for _ in range(count)]))
    loss.on_one_thread(theta, gradient)
    return Meter(min(whole), routines, compared, max(0.0, compared - left) if len(priced) else 0.0, coordinates)


def _routines(loss: Loss, gradient: np.ndarray) -> dict[str, dict[str, float]]:
    """Seconds of what solving the equations calls, by counting functions in one evaluation."""
    task, record = loss.task, loss.task.record
    packed = bool(record["pack_value"][0])
    wanted = {(role, part): (f"{role}_{part}", part) for role in ROLES for part in PARTS}
    if packed:
        wanted |= {("field", part): (f"pack_{part}", f"pack_{part}") for part in PARTS}
    counted = {
        key: (field, Counted(int(record[field][0]), kind))
        for key, (field, kind) in wanted.items()
        if key[0] not in ("observables", "initial") and record[field][0]
    }
    known = {field: int(record[field][0]) for field, _ in counted.values()}
    try:
        task.set(**{field: one.address for field, one in counted.values()})
        loss_kernels.evaluate(task.address, gradient)
    finally:
        task.set(**known)
    found: dict[str, dict[str, float]] = {}
    for (role, part), (_, one) in counted.items():
        found.setdefault(role, {})[part] = one.seconds
    return found


def scalar_seconds(model: Model, role: str, loss: Loss) -> dict[str, float]:
    """Seconds of one call of a routine's parts (of its weights, for one row), at the start of a loss's first trajectory.

    Args:
        model: Whose routine; its parameters lie where those of the loss's model do.
        role: Of the routine.
        loss: Evaluated before, so that parameters and initial states are there.
    """
    shot, states = loss.shots[0], model.states
    y, out = loss.task.arrays["initial"][0], aligned_copy(np.zeros(max(states, model.outputs[role])))
    tapes = aligned_copy(np.zeros((ROWS, max(model.tapes[role], 1))))
    gp, g = aligned_copy(np.zeros(model.parameters)), aligned_copy(np.ones(len(out)))
    gy = aligned_copy(np.zeros(max(states, model.free)))
    p, u = int(shot["numbers"]), int(shot["inputs"])
    here = float(shot["start"]), y.ctypes.data, p, u, tapes.ctypes.data
    arguments = {
        "value": (*here, out.ctypes.data),
        "vjp": (*here, g.ctypes.data, gy.ctypes.data, gp.ctypes.data),
        "weights": (tapes.ctypes.data, ROWS, gp.ctypes.data),
    }
    found = dict.fromkeys(PARTS, 0.0)
    for part in PARTS:
        address = model.address(f"{role}_{part}")
        if address:
            repeat, _ = REPEAT[part]
            each = seconds_of(lambda count, repeat=repeat, a=address, x=arguments[part]: repeat(a, count, *x))
            found[part] = each / ROWS if part == "weights" else each
    return found
