r"""Linearly implicit stages: one factorization per step and no iteration, and their exact reverse pass.

With :math:`M = I - h \gamma J` and the stages of `sciml.solvers.tableaus.Rosenbrock`, the reverse pass is, from the last
stage down,

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
from sciml.native.implicit import UNSOLVED, shifted, work_parts
from sciml.native.linear import factorize, solve_factored, solve_transposed
from sciml.native.vectors import combine, spread


@device
def attempt_rosenbrock(model, method, atol, t, h, p, u, path, block, row, fresh):
    """All stages of one step, the new state, and the error norm; arguments as in `explicit.attempt`.

    Args:
        row: Offset of the tape row of the first stage.
        fresh: Whether the step starts from a new state; after a rejection its Jacobian is known.

    Returns:
        The root mean square of the error estimate in units of the tolerance; `UNSOLVED` for a singular matrix.
    """
    n, s, stride = model.states, method.stages, path.stride
    jacobian, factors, pivots, _, _, tape, _ = work_parts(path.work, n, stride)
    y, rates, gamma = at(path.states, block), at(path.rates, block), method.gamma
    if fresh:
        call(model.jacobian_value, (t, y, p, u, tape, jacobian))
    shifted(jacobian, factors, n, h * gamma)
    if not factorize(factors, n, pivots):
        return UNSOLVED
    for i in range(s - 1):
        state, rate = at(y, i * stride), at(rates, i * stride)
        if i > 0:
            combine(y, h, at(method.a, i * s), rates, i, stride, state)
        stage_tape = at(path.tapes, row + i * model.field_tape)
        call(model.field_value, (t + method.c[i] * h, state, p, u, stage_tape, rate))
        combine(rate, 1.0, at(method.coupling, i * s), rates, i, stride, rate)
        if model.jacobian_outputs > n * n:
            for m in range(n):
                rate[m] += h * method.drift[i] * jacobian[n * n + m]
        for m in range(n):
            rate[m] *= gamma
        solve_factored(factors, n, pivots, rate)
    new = at(y, (s - 1) * stride)
    combine(y, h, at(method.a, (s - 1) * s), rates, s - 1, stride, new)
    combine(path.zero, h, method.error, rates, s - 1, stride, path.error)
    norm = 0.0
    for m in range(n):
        norm += (path.error[m] / (atol[m] + model.rtol * max(abs(y[m]), abs(new[m])))) ** 2
    return math.sqrt(norm / n)


@device
def rosenbrock_step_back(model, method, t, h, p, u, path, block, row, new, old, rates, argument, gp):
    """Pull the cotangents of the new state and of the stages of one step back to its first state.

    Args:
        model: Record of the model.
        method: Coefficients.
        t: Time at the start of the step.
        h: Its signed length.
        p: Pointer to the parameters.
        u: Pointer to the inputs.
        path: The steps.
        block: Offset of the step in states and rates.
        row: Number of the tape row of its first stage.
        new: Cotangent of the new state.
        old: Cotangent of the first state, which is added to.
        rates: Cotangents of the stages; what the field receives is left there.
        argument: A row of scratch.
        gp: Pointer to the gradient by the parameters, which is added to.
    """
    n, s, stride = model.states, method.stages, path.stride
    jacobian, factors, pivots, _, _, jacobian_tape, cotangents = work_parts(path.work, n, stride)
    y, scale = at(path.states, block), h * method.gamma
    call(model.jacobian_value, (t, y, p, u, jacobian_tape, jacobian))
    shifted(jacobian, factors, n, scale)
    # A matrix that cannot be factorized leaves numbers that are not finite, which the loss turns into infinity.
    if not factorize(factors, n, pivots):
        old[0] = math.nan
        return
    for m in range(n):
        old[m] += new[m]
    for m in range(n * n + n):
        cotangents[m] = 0.0
    spread(new, h, at(method.a, (s - 1) * s), rates, s - 1, stride)
    for i in range(s - 2, -1, -1):
        rate, k = at(rates, i * stride), at(path.rates, block + i * stride)
        solve_transposed(factors, n, pivots, rate)
        for a in range(n):
            for b in range(n):
                cotangents[a * n + b] += scale * rate[a] * k[b]
        for m in range(n):
            rate[m] *= method.gamma
            cotangents[n * n + m] += h * method.drift[i] * rate[m]
        stage, tape = at(y, i * stride), at(path.tapes, (row + i) * model.field_tape)
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
