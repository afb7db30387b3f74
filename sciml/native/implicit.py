r"""Diagonally implicit stages by simplified Newton iteration, and their exact reverse pass.

With :math:`b = y + h \sum_{j<i} a_{ij} k_j`, a stage solves :math:`Y_i = b + h \gamma f(Y_i)`. The matrix
:math:`I - h \gamma J` is factorized once per step, as the diagonal of the method is constant. The rate is taken as
:math:`k_i = (Y_i - b) / (h \gamma)`: evaluating the field would multiply the rest of the iteration by the stiffness.

Reference:
    Hairer, Wanner II, section IV.8.
"""

import math

import numpy as np

from sciml.native.compilation import at, call, device, pointer
from sciml.native.linear import factorize, solve_factored, solve_transposed
from sciml.native.method import error_norm, stride_of
from sciml.native.networks import aligned
from sciml.native.vectors import combine

ITERATIONS = 10
# Rest of the iteration in units of the tolerance: the gradient is that of the exactly solved stages.
REST = 1e-3
ROUNDING = 10 * np.finfo(np.float64).eps
# What a step reports when the iteration fails: large enough to be shortened to a quarter, and finite.
UNSOLVED = 1e3


def work_size(states: int, tape: int) -> int:
    """How many floats the matrices and vectors of an implicit step need."""
    stride = -(-states // 4) * 4
    slopes = states * states + states
    return sum(map(aligned, (slopes, slopes, states * stride, states, stride, stride, tape)))


@device
def work_parts(work, n, stride) -> tuple:
    """The scratch of a step: Jacobian (and slope in time), factors, pivots, two rows of states, tape row, cotangents."""
    square, slopes, row = (n * stride + 7) // 8 * 8, (n * n + n + 7) // 8 * 8, (stride + 7) // 8 * 8
    cotangents, factors = at(work, slopes), at(work, 2 * slopes)
    pivots = at(factors, square)
    base = at(pivots, (n + 7) // 8 * 8)
    change = at(base, row)
    return work, factors, pivots, base, change, at(change, row), cotangents


@device
def shifted(jacobian, factors, n, scale):
    """Write I - scale * J to `factors`."""
    for i in range(n * n):
        factors[i] = -scale * jacobian[i]
    for i in range(n):
        factors[i * n + i] += 1.0


@device
def attempt_implicit(model, method, t, h, p, u, y, rates, tapes, estimate, work):
    """All stages of one step but the first, and its error norm; arguments as in `steps.attempt`.

    Returns:
        The root mean square of the error estimate in units of the tolerance; `UNSOLVED`, or infinite, if a
        stage was not found.
    """
    n, s, stride, atol = model.states, method.stages, stride_of(model), pointer(model.atol)
    jacobian, factors, pivots, base, change, tape, _ = work_parts(work, n, stride)
    scale = h * method.gamma
    call(model.jacobian_value, (t, y, p, u, tape, jacobian))
    shifted(jacobian, factors, n, scale)
    if not factorize(factors, n, pivots):
        return UNSOLVED
    rest = max(REST, ROUNDING / model.rtol)
    for i in range(1, s):
        state, rate, before = at(y, i * stride), at(rates, i * stride), at(rates, (i - 1) * stride)
        combine(y, h, at(method.a, i * s), rates, i, stride, base)
        for m in range(n):
            state[m] = base[m] + scale * before[m]
        stage_tape = at(tapes, i * model.field_tape)
        solved, previous = False, 0.0
        for iteration in range(ITERATIONS):
            call(model.field_value, (t + method.c[i] * h, state, p, u, stage_tape, rate))
            for m in range(n):
                change[m] = base[m] + scale * rate[m] - state[m]
            solve_factored(factors, n, pivots, change)
            norm = 0.0
            for m in range(n):
                norm += (change[m] / (atol[m] + model.rtol * max(abs(y[m]), abs(state[m])))) ** 2
                state[m] += change[m]
            norm = math.sqrt(norm / n)
            if norm <= 0.01 * rest:
                solved = True
                break
            if not math.isfinite(norm):
                return math.inf
            if iteration > 0:
                ratio = norm / previous
                if ratio < 1.0 and ratio / (1.0 - ratio) * norm <= rest:
                    solved = True
                    break
                # It diverges, or the iterations that are left would not do (Hairer-Wanner II, eq. IV.8.11).
                if ratio >= 1.0 or ratio ** (ITERATIONS - 1 - iteration) / (1.0 - ratio) * norm > rest:
                    return UNSOLVED
            previous = norm
        if not solved:
            return UNSOLVED
        for m in range(n):
            rate[m] = (state[m] - base[m]) / scale
    combine(None, h, method.error, rates, s, stride, estimate)
    return error_norm(model, y, at(y, (s - 1) * stride), estimate)


@device
def implicit_stage_back(model, scale, t, p, u, y, tape, work, rate, argument, gp):
    r"""Pull the cotangents of one implicit stage and of its rate back through the solved equation.

    By the implicit function theorem, with J at the solved stage,

    .. math:: (I - h \gamma J)^T \lambda = \bar Y + J^T \bar k, \qquad
              \bar p \mathrel{+}= (\partial f/\partial p)^T (\bar k + h \gamma \lambda).

    Args:
        model: Record of the model.
        scale: h times the diagonal coefficient.
        t: Time of the stage.
        p: Pointer to the parameters.
        u: Pointer to the inputs.
        y: Pointer to the stage.
        tape: Pointer to its tape row.
        work: Scratch.
        rate: Cotangent of the rate; what the field receives is left there.
        argument: Direct cotangent of the stage's state; replaced by lambda, the cotangent of its known part.
        gp: Pointer to the gradient by the parameters, which is added to.
    """
    n = model.states
    jacobian, factors, pivots, base, _, jacobian_tape, _ = work_parts(work, n, stride_of(model))
    call(model.jacobian_value, (t, y, p, u, jacobian_tape, jacobian))
    shifted(jacobian, factors, n, scale)
    for i in range(n):
        for j in range(n):
            argument[j] += jacobian[i * n + j] * rate[i]
    # A matrix that cannot be factorized leaves numbers that are not finite, which the loss turns into infinity.
    if not factorize(factors, n, pivots):
        argument[0] = math.nan
    else:
        solve_transposed(factors, n, pivots, argument)
    for m in range(n):
        rate[m] += scale * argument[m]
    # The iteration left the tape row one change behind the solved stage.
    if model.field_tape > 0:
        call(model.field_value, (t, y, p, u, tape, base))
    call(model.field_vjp, (t, y, p, u, tape, rate, base, gp))
