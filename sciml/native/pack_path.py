"""Where eight trajectories side by side keep the step that they try now and, for the reverse pass, those before it."""

from typing import Any, NamedTuple

from sciml.native.compilation import at, device, integer_pointer, pointer
from sciml.native.packs import SIZE

GROUP = 2
"""Steps of which the gradient by the weights is collected at once: more numbers for each sum, still in the fastest cache."""


class PackPath(NamedTuple):
    """Steps of eight trajectories and the state of their lanes, as pointers to packs.

    A step that at least one lane accepts takes the next of `capacity` places; in lanes that did not take it, it is a
    hole, marked in `taken`. Without a reverse pass there is one place.

    Attributes:
        capacity: Number of places.
        shot: Which shot is in each lane.
        written: Number of outputs that each lane has written.
        steps: Accepted steps of each lane.
        attempts: Attempted steps of each lane.
        rejected: Whether each lane has just rejected a step.
        going: Whether each lane has a trajectory that goes on.
        final: Whether the step that is tried would be the last.
        before: Number of outputs that each lane had written before each step, and in the end.
        t: Start of each step.
        h: Its signed length; 0 in lanes without a trajectory.
        taken: 1 in lanes that accepted the step, else 0.
        states: Arguments of the field, by step, stage and state.
        rates: Values of the field.
        tapes: Tape rows of the field: one for the initial state, then one for each stage of each step but the first.
        moment: Time of a stage.
        clock: Time that each lane has reached.
        length: Signed length of the step that is tried.
        norms: Error norms.
        end: Final times.
        smallest: Shortest steps.
        previous: Logarithms of the errors before.
        q: Scalar parameters.
        u: Inputs.
        powers: Coefficients of the dense output, by power of the fraction of the step and state; then their cotangents.
        outputs: States at the output times of each lane in turn, in rows of a `Path`'s stride; numbers.
        cotangents: Of these; numbers.
        new: Cotangents of the state behind a step.
        old: Of the state before it.
        carried: Of the rate behind it.
        argument: Of the state of a stage.
        rate_slopes: Of the rates of its stages.
        gq: Gradient by the scalar parameters.
        layers: Cotangents of the networks' layers, a row for each stage of `GROUP` steps.
    """

    capacity: int
    shot: Any
    written: Any
    steps: Any
    attempts: Any
    rejected: Any
    going: Any
    final: Any
    before: Any
    t: Any
    h: Any
    taken: Any
    states: Any
    rates: Any
    tapes: Any
    moment: Any
    clock: Any
    length: Any
    norms: Any
    end: Any
    smallest: Any
    previous: Any
    q: Any
    u: Any
    powers: Any
    outputs: Any
    cotangents: Any
    new: Any
    old: Any
    carried: Any
    argument: Any
    rate_slopes: Any
    gq: Any
    layers: Any


def pack_integers(capacity: int) -> int:
    """How many integers a pack path needs."""
    return SIZE * (8 + capacity)


def pack_floats(
    states: int,
    stages: int,
    degree: int,
    tape: int,
    scalars: int,
    inputs: int,
    capacity: int,
    rows: int = 0,
    layers: int = -1,
) -> int:
    """How many floats a pack path needs; with a reverse pass if `layers`, a row of cotangents, is not negative."""
    rowsize = -(-states // 4) * 4
    packs = 3 * capacity + 2 * (capacity + 1) * stages * states + (1 + capacity * (stages - 1)) * tape
    packs += 7 + scalars + inputs + degree * states + 2 * rows * rowsize
    if layers >= 0:
        packs += (4 + stages) * states + scalars + GROUP * (stages - 1) * layers
    return packs * SIZE


@device
def carve_packs(task, method, lane):
    """The pack path in the memory of a thread's lane."""
    n, s, capacity = task.states, method.stages, task.pack_capacity
    integers = task.pack_integers + 8 * lane * task.pack_integers_size
    shot, written = integer_pointer(integers), integer_pointer(integers + 8 * SIZE)
    steps, attempts = integer_pointer(integers + 16 * SIZE), integer_pointer(integers + 24 * SIZE)
    rejected, going = integer_pointer(integers + 32 * SIZE), integer_pointer(integers + 40 * SIZE)
    final, before = integer_pointer(integers + 48 * SIZE), integer_pointer(integers + 56 * SIZE)
    counts = shot, written, steps, attempts, rejected, going, final, before
    t = pointer(task.pack_floats + 8 * lane * task.pack_floats_size)
    h = at(t, capacity * SIZE)
    taken = at(h, capacity * SIZE)
    states = at(taken, capacity * SIZE)
    # One place more: the first stage of the step behind the last.
    rates = at(states, (capacity + 1) * s * n * SIZE)
    tapes = at(rates, (capacity + 1) * s * n * SIZE)
    moment = at(tapes, (1 + capacity * (s - 1)) * task.pack_tape * SIZE)
    clock, length, norms = at(moment, SIZE), at(moment, 2 * SIZE), at(moment, 3 * SIZE)
    end, smallest, previous = at(moment, 4 * SIZE), at(moment, 5 * SIZE), at(moment, 6 * SIZE)
    clocks = moment, clock, length, norms, end, smallest, previous
    q = at(moment, 7 * SIZE)
    u = at(q, task.scalars * SIZE)
    powers = at(u, task.inputs * SIZE)
    outputs = at(powers, method.degree * n * SIZE)
    block = SIZE * task.rows * ((n + 3) // 4 * 4)
    cotangents = at(outputs, block)
    new = at(cotangents, block)
    old, carried, argument = at(new, n * SIZE), at(new, 2 * n * SIZE), at(new, 3 * n * SIZE)
    rate_slopes = at(new, 4 * n * SIZE)
    gq = at(rate_slopes, s * n * SIZE)
    layers = at(gq, task.scalars * SIZE)
    kept, back = (t, h, taken, states, rates, tapes), (new, old, carried, argument, rate_slopes, gq, layers)
    return PackPath(capacity, *counts, *kept, *clocks, q, u, powers, outputs, cotangents, *back)
