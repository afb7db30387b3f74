"""A record of the kernels together with the arrays whose addresses it holds."""

import math

import numpy as np

from sciml.native.implicit import work_size
from sciml.native.lanes import lane_size
from sciml.native.method import pack
from sciml.native.model import Model
from sciml.native.networks import CACHE_LINE
from sciml.native.pack_path import pack_floats, pack_integers
from sciml.native.pack_trajectory import pack_addresses
from sciml.native.records import TASK
from sciml.native.resets import reset_addresses
from sciml.native.shots import shot_addresses
from sciml.native.steps import step_addresses
from sciml.native.watch import HEAD, MET, watch_addresses, watch_size
from sciml.solvers.methods.tableau import Rosenbrock, Tableau


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A contiguous copy that starts on a cache line."""
    memory = np.zeros(array.size + CACHE_LINE, array.dtype)
    start = -memory.ctypes.data // array.itemsize % CACHE_LINE
    copy = memory[start : start + array.size].reshape(array.shape)
    copy[...] = array
    return copy


class Task:
    """A record together with the arrays whose addresses it holds.

    Args:
        model: Compiled equations.
        tableau: The method.
        rtol: Relative tolerance.
        atol: Absolute tolerance, of all states or of each.
        max_steps: Most steps, accepted and rejected, of one trajectory.
        first_step: Length of the first step; chosen from the field if 0.
        largest_step: Longest step.
        max_resets: Most resets by events of one trajectory.
        reverse: Whether a gradient will be wanted.
    """

    def __init__(
        self,
        model: Model,
        tableau: Tableau,
        rtol: float = 1e-6,
        atol: float | np.ndarray = 1e-6,
        max_steps: int = 10_000,
        first_step: float = 0.0,
        largest_step: float = math.inf,
        max_resets: int = 1000,
        reverse: bool = False,
    ) -> None:
        self.model, self.stages, self.linear = model, tableau.stages, isinstance(tableau, Rosenbrock)
        self.degree = tableau.dense.shape[1]
        self.record = np.zeros(1, TASK)
        self.arrays: dict[str, np.ndarray] = {}
        self.set(**model.addresses(), **step_addresses(tableau, reverse), **shot_addresses(reverse))
        self.set(address=self.address, rtol=rtol, max_steps=max_steps, first_step=first_step, largest_step=largest_step)
        if tableau.gamma > 0.0:
            if not model.address("jacobian_value"):
                raise ValueError("an implicit method needs a model with `jacobian_value`.")
            self.set(work_size=work_size(model.states, model.tapes.get("jacobian", 0)))
        self.attach("method", pack(tableau))
        self.attach("atol", np.broadcast_to(np.asarray(atol, dtype=np.float64), (model.states,)))
        if model.events:
            self.set(**watch_addresses(), **reset_addresses(bool(model.address("conditions_vjp"))))
            self.set(event_count=len(model.events), max_resets=max_resets)
            self.attach("events", np.array(model.events).T)

    def set(self, **fields: float) -> None:
        """Write fields of the record."""
        for name, value in fields.items():
            self.record[name] = value

    @property
    def address(self) -> int:
        """What a kernel takes."""
        return self.record.ctypes.data

    def attach(self, name: str, array: np.ndarray, dtype: type = np.float64) -> None:
        """Keep an aligned copy of an array, and its address in the record."""
        self.refer(name, aligned_copy(np.asarray(array, dtype=dtype)))

    def refer(self, name: str, array: np.ndarray) -> None:
        """Keep an array itself, and its address in the record."""
        self.arrays[name] = array
        self.record[name] = array.ctypes.data

    def allocate_packs(self, inputs: int, capacity: int, reverse: bool) -> None:
        """Compile the code for packs, and give every slot memory for eight trajectories.

        Args:
            inputs: Number of inputs of a trajectory.
            capacity: Number of steps that are kept.
            reverse: Whether there will be a reverse pass.
        """
        packed, slots = self.model.packed, self.record["slots"][0]
        assert packed is not None, "asked for only where there is such code"
        sizes = self.model.states, self.stages, self.degree, packed.tape, packed.scalars, inputs, capacity
        more = (int(self.record["rows"][0]), packed.cotangents) if reverse else ()
        floats, integers = pack_floats(*sizes, *more) + CACHE_LINE, pack_integers(capacity) + CACHE_LINE
        self.attach("pack_floats", np.zeros((slots, floats)))
        self.attach("pack_integers", np.zeros((slots, integers)), np.int64)
        self.set(**packed.fields(reverse), **pack_addresses(reverse), inputs=inputs, pack_capacity=capacity)
        self.set(pack_floats_size=floats, pack_integers_size=integers)

    def allocate_watches(self, hits: int) -> None:
        """For every slot a watch that can hold that many events; of a model without events there is none."""
        if not self.model.events:
            return
        record, events = self.record[0], len(self.model.events)
        tape = max(int(record[f"{role}_tape"]) for role in ("conditions", "rates", "resets"))
        rates, resets = int(record["rates_outputs"]), int(record["resets_outputs"])
        size, self._table = watch_size(events, rates, resets, self.model.states, tape, self.stages, hits)
        self.attach("watches", np.zeros((record["slots"], size + CACHE_LINE)))
        self.set(watch_size=size + CACHE_LINE, hits=hits)

    def occurrences(self) -> np.ndarray:
        """The events that all slots have met, one after another, a row for each as in `watch.HEAD`."""
        width, found = HEAD + self.model.states, []
        for watch in self.arrays["watches"]:
            rows = watch[self._table :][: int(watch[MET]) * width]
            found.append(rows.reshape(-1, width).copy())
        return np.concatenate(found)

    def allocate(self, capacity: int) -> None:
        """Scratch for every slot, for trajectories of that many steps."""
        record, tapes = self.record[0], self.model.tapes
        size = lane_size(
            self.model.states,
            self.stages,
            tapes.get("field", 0),
            capacity,
            int(record["rows"]),
            int(record["observables_outputs"]),
            tapes.get("observables", 0),
            int(record["work_size"]),
        )
        # A cache line more, so that two threads never write to the same one.
        size = max(size, self.model.free) + CACHE_LINE
        self.attach("lane_steps", np.zeros((record["slots"], capacity)), np.int64)
        self.attach("lane_floats", np.zeros((record["slots"], size)))
        self.set(lane_floats_size=size, capacity=capacity)
