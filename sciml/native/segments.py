"""A trajectory from one reset to the next, and its reverse: a chain of solves in compiled code, as in `solvers.segments`."""

import math

from sciml.native.adjoint import pull_back
from sciml.native.compilation import at, call, device, pointer
from sciml.native.explicit import FULL, HALTED, SUCCESS, Path, integrate, piece_at
from sciml.native.resets import GOES_ON
from sciml.native.watch import HEAD, RECORD, carve_watch


@device
def behind(model, method, path, steps):
    """The path behind some of its steps; its first tape row is the last of those steps."""
    n, rows = steps * method.stages * path.stride, steps * (method.stages - 1) * model.field_tape
    kept = at(path.reached, steps), at(path.t, steps), at(path.h, steps), at(path.states, n), at(path.rates, n)
    rest = path.weights, path.error, path.work
    return Path(path.capacity - steps, path.stride, *kept, at(path.tapes, rows), *rest)


@device
def integrate_segments(
    model, method, number, start, times, count, p, inputs, pieces, path, outputs, keep, memory
) -> tuple:
    """As `explicit.integrate`, on through resets; of a model without events it is that.

    Between the kept steps of two stretches there is one that is none, so that each has tape rows of its own. The table of
    events tells where they are.

    Args:
        model: Record of the model and the solver's settings.
        method: Coefficients.
        number: Of the trajectory, for the table of events.
        start: Initial time; the others as in `explicit.integrate`.
        times: Output times.
        count: Their number.
        p: Pointer to the parameters.
        inputs: Pointer to the inputs.
        pieces: Their number.
        path: Memory for the steps.
        outputs: Receives the states at the output times.
        keep: Whether to keep the steps.
        memory: Of the watch; not read without events.

    Returns:
        Status, number of accepted steps and of those between stretches, time that was reached, step that was tried there.
    """
    end, row, done, own = times[count - 1], 0, 0, path
    direction, watched = 1.0 if end >= start else -1.0, model.look != 0
    if watched:
        watch = carve_watch(model, method, memory)
        watch.trajectory[0], watch.resets[0] = number, 0.0
        for event in range(model.event_count):
            watch.fired[event], watch.instant[event] = math.nan, 0.0
    while True:
        if watched:
            u = at(inputs, model.width * piece_at(inputs, model.width, pieces, 0, start))
            call(model.open_stretch, (model.address, start, end, own.states, p, u, memory))
        status, steps, reached, tried = integrate(
            model,
            method,
            start,
            at(times, row),
            count - row,
            p,
            inputs,
            pieces,
            own,
            at(outputs, row * path.stride),
            keep,
            memory,
        )
        done += steps
        if status != HALTED:
            return status, done, reached, tried
        while row < count and direction * (times[row] - reached) <= 0.0:
            row += 1
        watch = carve_watch(model, method, memory)
        entry = at(watch.table, (int(watch.met[0]) - 1) * (HEAD + model.states))
        entry[3], entry[4] = done, row
        if keep:
            done += 1
            if done >= path.capacity:
                return FULL, done, reached, tried
            own = behind(model, method, path, done)
        u = at(inputs, model.width * piece_at(inputs, model.width, pieces, 0, reached))
        call(model.meet, (model.address, own.states, p, u, memory))
        status = int(watch.time[0])
        if status != GOES_ON or reached == end:
            return (SUCCESS if status == GOES_ON else status), done, reached, tried
        start = reached


@device
def stop_before(model, watch, row):
    """The last row of the table before some row whose event stopped the flow; -1 if there is none."""
    row -= 1
    kinds = at(pointer(model.events), model.event_count)
    while row >= 0 and kinds[int(watch.table[row * (HEAD + model.states)])] == RECORD:
        row -= 1
    return row


@device
def pull_back_segments(
    model, method, start, times, count, cotangents, p, inputs, pieces, path, steps, gp, scratch, memory
):
    """As `adjoint.pull_back`, back through resets; arguments as there and in `integrate_segments`.

    The state at an event is one output more of the stretch before it. Its cotangent takes the place of that of the first
    output behind the event, which has been used by then; so does its time for as long.
    """
    upper, rows, place, watched = steps, count, -1, model.look != 0
    watch = carve_watch(model, method, memory)
    if watched:
        place = stop_before(model, watch, int(watch.met[0]))
        # Nothing comes back from behind an event at the last output.
        while place >= 0 and watch.table[place * (HEAD + model.states) + 4] >= count:
            upper, place = int(watch.table[place * (HEAD + model.states) + 3]), stop_before(model, watch, place)
    ends, saved = 0, 0.0
    while True:
        entry = at(watch.table, max(place, 0) * (HEAD + model.states) if watched else 0)
        first, row, begin = 0, 0, start
        if place >= 0:
            first, row, begin = int(entry[3]) + 1, int(entry[4]), entry[2]
        own, slot = behind(model, method, path, first), at(cotangents, row * path.stride)
        if rows + ends > row:
            pull_back(
                model,
                method,
                begin,
                at(times, row),
                rows + ends - row,
                slot,
                p,
                inputs,
                pieces,
                own,
                upper - first,
                gp,
                scratch,
            )
        else:
            for m in range(path.stride):
                scratch[m] = 0.0
        if ends == 1:
            times[rows] = saved
        if place < 0:
            return
        u = at(inputs, model.width * piece_at(inputs, model.width, pieces, 0, begin))
        call(model.meet_back, (model.address, entry, own.states, scratch, own.tapes, slot, p, u, gp, memory))
        upper, rows, ends = first - 1, row, 1
        saved, times[row] = times[row], begin
        path.reached[upper - 1] += 1
        place = stop_before(model, watch, place)
