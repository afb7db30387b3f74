r"""The exact gradient of a solution: its steps replayed backwards, step sizes held constant.

With the cotangents :math:`\bar y_{+}` of the new state and :math:`\bar k_i` of the stages, from the last stage down,

.. math:: \bar Y_i = (\partial f/\partial y)^T \bar k_i, \qquad \bar y \mathrel{+}= \bar Y_i, \qquad
          \bar k_j \mathrel{+}= h a_{ij} \bar Y_i, \qquad \bar p \mathrel{+}= (\partial f/\partial p)^T \bar k_i

where :math:`\bar Y_s` also takes in :math:`\bar y_{+}`. An output between two steps is linear in the stages, so it
adds :math:`h w_i(\theta)` times its cotangent to each. The first stage belongs to the step before, as its last.
The step itself is one of `steps`; implicit stages solve a transposed system first.

Reference:
    Hager (2000), Numer. Math. 87, 247-282; Sanz-Serna (2016), SIAM Review 58, 3-33.
"""

from sciml.native.compilation import at, call, device
from sciml.native.explicit import piece_at
from sciml.native.method import dense_weights
from sciml.native.vectors import spread

# Weight gradients are collected once this many evaluations are done: their tape rows are still in the cache.
ROWS = 32


@device
def stage_back(model, t, p, u, path, stage, row, rate, argument, gp):
    """Pull the cotangent `rate` of one stage back to `argument`, the cotangent of its state."""
    y, tape = at(path.states, stage), at(path.tapes, row * model.field_tape)
    call(model.field_vjp, (t, y, p, u, tape, rate, argument, gp))


@device
def collect_weights(model, path, first, last, gp):
    """Add the weight gradient of the evaluations from `first` to before `last`."""
    if model.field_weights != 0:
        call(model.field_weights, (at(path.tapes, first * model.field_tape), last - first, gp))


@device
def outputs_back(method, stride, t, h, times, cotangents, first, last, old, rates, weights):
    """Add the cotangents of the outputs of one step to those of its first state and of its stages."""
    for output in range(first, last):
        dense_weights(method, (times[output] - t) / h, weights)
        for m in range(stride):
            old[m] += cotangents[output * stride + m]
        g = at(cotangents, output * stride)
        spread(g, h, weights, rates, method.stages, stride)


@device
def pull_back(model, method, start, times, count, cotangents, p, inputs, pieces, path, steps, gp, scratch):
    """Carry the cotangents of all outputs back to the initial state.

    Args:
        model: Record of the model.
        method: Coefficients.
        start: Initial time.
        times: Output times.
        count: Number of output times.
        cotangents: Of the states at the output times, in rows of `path.stride`, zero beyond the states.
        p: Pointer to the parameters.
        inputs: Pointer to the inputs.
        pieces: Their number.
        path: The steps that `integrate` kept.
        steps: Their number.
        gp: Pointer to the gradient by the parameters, which is added to.
        scratch: (stages + 3) * stride numbers; the first `states` receive the cotangent of the initial state.
    """
    n, s = path.stride, method.stages
    new, old, argument, rates = scratch, at(scratch, n), at(scratch, 2 * n), at(scratch, 3 * n)
    for m in range((s + 3) * n):
        scratch[m] = 0.0
    at_start = 0
    while at_start < count and times[at_start] == start:
        at_start += 1
    # Of a linearly implicit method every stage has its own tape row; else the last stage is the next step's first.
    shared = 0 if method.linear else 1
    done = steps * (s - 1) + shared
    piece = piece_at(inputs, model.width, pieces, 0, times[count - 1])
    u = at(inputs, piece * model.width)
    for step in range(steps - 1, -1, -1):
        t, h, block, row = path.t[step], path.h[step], step * s * n, step * (s - 1)
        before = path.reached[step - 1] if step > 0 else at_start
        while piece > 0 and inputs[piece * model.width + 1] > t:
            piece -= 1
            u = at(inputs, piece * model.width)
        if h == 0.0:
            # The field at the beginning of a piece of the inputs, a stage of its own.
            stage_back(model, t, p, u, path, block + (s - 1) * n, row + s - 1, at(rates, (s - 1) * n), argument, gp)
            collect_weights(model, path, row + s - 1, done, gp)
            done = row + 1
            for m in range(n):
                new[m] += argument[m]
                rates[(s - 1) * n + m] = 0.0
            continue
        outputs_back(method, n, t, h, times, cotangents, before, path.reached[step], old, rates, path.weights)
        y, k, tapes = at(path.states, block), at(path.rates, block), at(path.tapes, row * model.field_tape)
        there = model.address, t, h, p, u, y, k, tapes, path.work
        call(model.step_back, (*there, new, old, rates, argument, gp))
        for m in range(n):
            new[m], old[m] = old[m], 0.0
            rates[(s - 1) * n + m] = shared * rates[m]
        for m in range((s - 1) * n):
            rates[m] = 0.0
        if done - row - shared >= ROWS:
            collect_weights(model, path, row + shared, done, gp)
            done = row + shared
    for m in range(n):
        argument[m] = 0.0
    if steps > 0:
        if shared:
            stage_back(model, start, p, u, path, 0, 0, at(rates, (s - 1) * n), argument, gp)
        collect_weights(model, path, 0, done, gp)
    for m in range(n):
        new[m] += argument[m]
        for output in range(at_start):
            new[m] += cotangents[output * n + m]
