r"""Linearly implicit stages: one inverse per step and no iteration, and their exact reverse pass.

With :math:`M = I - h \gamma J` and the stages of `Rosenbrock` in `solvers.methods`, the reverse pass is, from the last stage
down,

.. math:: \lambda_i = M^{-T} \bar k_i, \quad \bar g_i = \gamma \lambda_i, \quad
          \bar J \mathrel{+}= h \gamma \lambda_i k_i^T, \quad
          \bar Y_i = (\partial f/\partial y)^T \bar g_i, \quad \bar k_j \mathrel{+}= h a_{ij} \bar Y_i + g_{ij} \bar g_i

and then once per step the derivatives of J itself, which SymPy has written out: exact, with second derivatives of the
right-hand side.

Reference:
    Hairer, Wanner II, section IV.7; Steinebach (2023), BIT Numerical Mathematics 63, 27.
"""

import math

from sciml.native.compilation import at, call, device
from sciml.native.implicit import UNSOLVED, work_parts
from sciml.native.linear import invert
from sciml.native.method import error_norm, stride_of
from sciml.native.vectors import combine, spread


@device
def inverted(jacobian, matrix, n, stride, scale, transposed, pivots, column):
    """Write the inverse of I - scale * J, or of its transpose, to `matrix`; whether it is regular.

    The product of a matrix and a vector sums up rows of the transposed matrix.
    """
    for i in range(n):
        for j in range(stride):
            matrix[i * stride + j] = 0.0
        for j in range(n):
            matrix[i * stride + j] = -scale * jacobian[j * n + i if transposed else i * n + j]
        matrix[i * stride + i] += 1.0
    return invert(matrix, n, stride, pivots, column)


@device
def attempt_rosenbrock(model, method, t, h, fresh, p, u, y, rates, tapes, estimate, work):
    """All stages of one step, the new state, and the error norm; arguments as in `steps.attempt`.

    Args:
        fresh: Whether the step starts from a new state; after a rejection its Jacobian is known.
        tapes: Pointer to the tape row of the first stage.

    Returns:
        The root mean square of the error estimate in units of the tolerance; `UNSOLVED` for a singular matrix.
    """
    n, s, stride, gamma = model.states, method.stages, stride_of(model), method.gamma
    jacobian, inverse, pivots, right, column, tape, _ = work_parts(work, n, stride)
    if fresh:
        call(model.jacobian_value, (t, y, p, u, tape, jacobian))
    if not inverted(jacobian, inverse, n, stride, h * gamma, True, pivots, column):
        return UNSOLVED
    for i in range(s - 1):
        state, rate = at(y, i * stride), at(rates, i * stride)
        if i > 0:
            combine(y, h, at(method.a, i * s), rates, i, stride, state)
        stage_tape = at(tapes, i * model.field_tape)
        call(model.field_value, (t + method.c[i] * h, state, p, u, stage_tape, right))
        combine(right, 1.0, at(method.coupling, i * s), rates, i, stride, right)
        if model.jacobian_outputs > n * n:
            for m in range(n):
                right[m] += h * method.drift[i] * jacobian[n * n + m]
        combine(None, gamma, right, inverse, n, stride, rate)
    new = at(y, (s - 1) * stride)
    combine(y, h, at(method.a, (s - 1) * s), rates, s - 1, stride, new)
    combine(None, h, method.error, rates, s - 1, stride, estimate)
    return error_norm(model, y, new, estimate)


@device
def rosenbrock_step_back(model, method, t, h, p, u, y, k, tapes, work, new, old, rates, argument, gp):
    """Pull the cotangents of the new state and of the stages of one step back to its first state.

    Args:
        model: Record of the model.
        method: Coefficients.
        t: Time at the start of the step.
        h: Its signed length.
        p: Pointer to the parameters.
        u: Pointer to the inputs.
        y: Pointer to the stages' states.
        k: Pointer to their rates.
        tapes: Pointer to the tape row of the first stage.
        work: Scratch.
        new: Cotangent of the new state.
        old: Cotangent of the first state, which is added to.
        rates: Cotangents of the stages; what the field receives is left there.
        argument: A row of scratch.
        gp: Pointer to the gradient by the parameters, which is added to.
    """
    n, s, stride, scale = model.states, method.stages, stride_of(model), h * method.gamma
    jacobian, inverse, pivots, received, column, jacobian_tape, cotangents = work_parts(work, n, stride)
    call(model.jacobian_value, (t, y, p, u, jacobian_tape, jacobian))
    # A singular matrix leaves numbers that are not finite, which the loss turns into infinity.
    if not inverted(jacobian, inverse, n, stride, scale, False, pivots, column):
        old[0] = math.nan
        return
    for m in range(n):
        old[m] += new[m]
    for m in range(n * n + n):
        cotangents[m] = 0.0
    spread(new, h, at(method.a, (s - 1) * s), rates, s - 1, stride)
    for i in range(s - 2, -1, -1):
        rate, own = at(rates, i * stride), at(k, i * stride)
        for m in range(n):
            received[m] = rate[m]
        combine(None, 1.0, received, inverse, n, stride, rate)
        for a in range(n):
            for b in range(n):
                cotangents[a * n + b] += scale * rate[a] * own[b]
        for m in range(n):
            rate[m] *= method.gamma
            cotangents[n * n + m] += h * method.drift[i] * rate[m]
        stage, tape = at(y, i * stride), at(tapes, i * model.field_tape)
        call(model.field_vjp, (t + method.c[i] * h, stage, p, u, tape, rate, argument, gp))
        for m in range(n):
            old[m] += argument[m]
        spread(rate, 1.0, at(method.coupling, i * s), rates, i, stride)
        spread(argument, h, at(method.a, i * s), rates, i, stride)
    call(model.jacobian_vjp, (t, y, p, u, jacobian_tape, cotangents, argument, gp))
    for m in range(n):
        old[m] += argument[m]
    if model.jacobian_weights != 0:
        call(model.jacobian_weights, (jacobian_tape, 1, gp))
