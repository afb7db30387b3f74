"""The reverse pass of `adjoint` for eight trajectories side by side, of which each took its own steps.

A lane that did not take a step, because it rejected its own or had ended, is a hole: what it carries backwards stays as
it is, and the numbers that stand in the hole (`pack_trajectory.fill`) are multiplied by zero.
"""

from sciml.native.compilation import at, call, device, pointer
from sciml.native.pack_path import GROUP
from sciml.native.packs import SIZE, load, select, splat, store
from sciml.native.records import shot_of


@device
def cotangents_of(task, path, lane):
    """The cotangents of the outputs of a lane."""
    return at(path.cotangents, lane * task.rows * ((task.states + 3) // 4 * 4))


@device
def times_of(task, path, lane):
    """The output times of a lane's shot."""
    return pointer(task.times + 8 * shot_of(task, path.shot[lane]).first)


@device
def outputs_back_in_lane(task, method, path, place, lane, stride):
    """Add the cotangents of the outputs of one lane's step to those of its first state and of `path.powers`."""
    first, last = path.before[place * SIZE + lane], path.before[(place + 1) * SIZE + lane]
    t, h, n = path.t[place * SIZE + lane], path.h[place * SIZE + lane], task.states
    times, cotangents = times_of(task, path, lane), cotangents_of(task, path, lane)
    for output in range(first, last):
        theta = (times[output] - t) / h
        for m in range(n):
            g = cotangents[output * stride + m]
            path.old[m * SIZE + lane] += g
            g *= h
            for power in range(method.degree):
                g *= theta
                path.powers[(power * n + m) * SIZE + lane] += g


@device
def outputs_back_in_packs(task, method, path, place):
    """Add the cotangents of the outputs of a step to those of its first states and of its stages."""
    n, d, stride = task.states, method.degree, (task.states + 3) // 4 * 4
    for k in range(d * n):
        store(path.powers, k, 0.0)
    for lane in range(SIZE):
        outputs_back_in_lane(task, method, path, place, lane, stride)
    for i in range(method.stages):
        for m in range(n):
            total = load(path.rate_slopes, i * n + m)
            for power in range(d):
                total = total + method.dense[i * d + power] * load(path.powers, power * n + m)
            store(path.rate_slopes, i * n + m, total)


@device
def stage_back_in_packs(task, path, stage, row, rate, layers, p):
    """Pull the cotangents of one stage's rates, from place `rate` on, back to those of its states in `path.argument`."""
    y, tape = at(path.states, stage * task.states * SIZE), at(path.tapes, row * task.pack_tape * SIZE)
    g, cotangents = at(path.rate_slopes, rate * SIZE), at(path.layers, layers * task.pack_cotangents * SIZE)
    call(task.pack_vjp, (path.moment, y, path.q, p, path.u, tape, cotangents, g, path.argument, path.gq))


@device
def weights_back_in_packs(task, path, row, count, gp):
    """Add the gradient by the weights of `count` evaluations, from a tape row on, over all lanes."""
    if task.pack_weights != 0:
        call(task.pack_weights, (at(path.tapes, row * task.pack_tape * SIZE), path.layers, count, gp))


@device
def step_back_in_packs(task, method, path, place, p):
    """Carry what is behind a step back to before it."""
    n, s = task.states, method.stages
    t, h, taken = load(path.t, place), load(path.h, place), load(path.taken, place)
    length, layers = taken * h, place % GROUP * (s - 1)
    for i in range(s - 1, 0, -1):
        store(path.moment, 0, t + method.c[i] * h)
        stage_back_in_packs(task, path, place * s + i, place * (s - 1) + i, i * n, layers + i - 1, p)
        a = at(method.a, i * s)
        for m in range(n):
            argument = load(path.argument, m)
            if i == s - 1:
                # The last stage is the field at the new state.
                argument = argument + taken * load(path.new, m)
            store(path.old, m, load(path.old, m) + argument)
            argument = length * argument
            for j in range(i):
                store(path.rate_slopes, j * n + m, load(path.rate_slopes, j * n + m) + a[j] * argument)
    for m in range(n):
        store(path.new, m, select(taken, load(path.old, m), load(path.new, m)))
        store(path.carried, m, select(taken, load(path.rate_slopes, m), load(path.carried, m)))


@device
def pull_back_packs(task, method, path, places, p, gp):
    """Carry the cotangents of all outputs of eight trajectories back to their initial states, in `path.new`.

    Args:
        task: Record of the fit.
        method: Coefficients.
        path: The steps that were kept, with the cotangents of the outputs.
        places: Number of steps.
        p: Pointer to the weights.
        gp: Pointer to the gradient by the weights, which is added to; that by the scalars goes to `path.gq`.
    """
    n, s, stride = task.states, method.stages, (task.states + 3) // 4 * 4
    zero = splat(0.0)
    for m in range(n):
        store(path.new, m, zero)
        store(path.carried, m, zero)
    for i in range(task.scalars):
        store(path.gq, i, zero)
    for place in range(places - 1, -1, -1):
        taken = load(path.taken, place)
        for m in range(n):
            store(path.old, m, zero)
            for i in range(s - 1):
                store(path.rate_slopes, i * n + m, zero)
            store(path.rate_slopes, (s - 1) * n + m, taken * load(path.carried, m))
        outputs_back_in_packs(task, method, path, place)
        step_back_in_packs(task, method, path, place, p)
        if place % GROUP == 0:
            count = min(GROUP, places - place) * (s - 1)
            weights_back_in_packs(task, path, place * (s - 1) + 1, count, gp)
    for m in range(n):
        store(path.rate_slopes, m, load(path.carried, m))
    for lane in range(SIZE):
        path.moment[lane] = shot_of(task, path.shot[lane]).start
    stage_back_in_packs(task, path, 0, 0, 0, 0, p)
    weights_back_in_packs(task, path, 0, 1, gp)
    for m in range(n):
        store(path.new, m, load(path.new, m) + load(path.argument, m))
    for lane in range(SIZE):
        cotangents = cotangents_of(task, path, lane)
        for output in range(path.before[lane]):
            for m in range(n):
                path.new[m * SIZE + lane] += cotangents[output * stride + m]
