"""One step of each family of methods, forwards and backwards, as C functions whose addresses a task carries.

`explicit.integrate` and `adjoint.pull_back` call them by address: a family is compiled when the first model that takes it
is met, and once for all kernels.
"""

from numba import types

from sciml.native.compilation import POINTER, at, call, compiled_address, device, pointer
from sciml.native.implicit import attempt_implicit, implicit_stage_back
from sciml.native.method import error_norm, stride_of, unpack
from sciml.native.records import task_at
from sciml.native.rosenbrock import attempt_rosenbrock, rosenbrock_step_back
from sciml.native.vectors import combine, spread
from sciml.solvers.methods.tableau import Rosenbrock, Tableau


@device
def attempt(model, method, t, h, p, u, y, rates, tapes, estimate):
    """All stages of one step but the first, and its error norm; not finite if a stage is not.

    Args:
        model: Record of the model.
        method: Coefficients.
        t: Time at the start.
        h: Signed length.
        p: Pointer to the parameters.
        u: Pointer to the inputs.
        y: Pointer to the states of the stages, of which the first is known.
        rates: Pointer to their rates, likewise.
        tapes: Pointer to the tape row of the first stage.
        estimate: Receives the error estimate.

    Returns:
        The root mean square of the error estimate in units of the tolerance.
    """
    s, stride = method.stages, stride_of(model)
    for i in range(1, s):
        state, tape = at(y, i * stride), at(tapes, i * model.field_tape)
        combine(y, h, at(method.a, i * s), rates, i, stride, state)
        call(model.field_value, (t + method.c[i] * h, state, p, u, tape, at(rates, i * stride)))
    combine(None, h, method.error, rates, s, stride, estimate)
    return error_norm(model, y, at(y, (s - 1) * stride), estimate)


def explicit_step(address, t, h, fresh, p, u, y, rates, tapes, estimate, work):
    """A step; its error norm goes behind the estimate. Arguments as of `attempt` and `attempt_rosenbrock`."""
    model = task_at(address)
    method = unpack(pointer(model.method))
    estimate[stride_of(model)] = attempt(model, method, t, h, p, u, y, rates, tapes, estimate)


def implicit_step(address, t, h, fresh, p, u, y, rates, tapes, estimate, work):
    """As `explicit_step`, of a diagonally implicit method."""
    model = task_at(address)
    method = unpack(pointer(model.method))
    estimate[stride_of(model)] = attempt_implicit(model, method, t, h, p, u, y, rates, tapes, estimate, work)


def rosenbrock_step(address, t, h, fresh, p, u, y, rates, tapes, estimate, work):
    """As `explicit_step`, of a linearly implicit method."""
    model = task_at(address)
    method = unpack(pointer(model.method))
    norm = attempt_rosenbrock(model, method, t, h, fresh, p, u, y, rates, tapes, estimate, work)
    estimate[stride_of(model)] = norm


def explicit_step_back(address, t, h, p, u, y, k, tapes, work, new, old, rates, argument, gp):
    """Pull the cotangents of the new state and of the stages back to the first state and the first stage.

    Arguments as of `rosenbrock.rosenbrock_step_back`; the cotangent of the first stage is left in `rates`.
    """
    model = task_at(address)
    method, n = unpack(pointer(model.method)), stride_of(model)
    for i in range(method.stages - 1, 0, -1):
        rate, tape = at(rates, i * n), at(tapes, i * model.field_tape)
        call(model.field_vjp, (t + method.c[i] * h, at(y, i * n), p, u, tape, rate, argument, gp))
        if i == method.stages - 1:
            # The last stage is the field at the new state.
            for m in range(n):
                argument[m] += new[m]
        stage_to_step(method, h, i, n, argument, old, rates)


def implicit_step_back(address, t, h, p, u, y, k, tapes, work, new, old, rates, argument, gp):
    """As `explicit_step_back`, of a diagonally implicit method."""
    model = task_at(address)
    method, n = unpack(pointer(model.method)), stride_of(model)
    scale = h * method.gamma
    for i in range(method.stages - 1, 0, -1):
        for m in range(n):
            argument[m] = new[m] if i == method.stages - 1 else 0.0
        time, tape = t + method.c[i] * h, at(tapes, i * model.field_tape)
        implicit_stage_back(model, scale, time, p, u, at(y, i * n), tape, work, at(rates, i * n), argument, gp)
        stage_to_step(method, h, i, n, argument, old, rates)


def linear_step_back(address, t, h, p, u, y, k, tapes, work, new, old, rates, argument, gp):
    """As `explicit_step_back`, of a linearly implicit method."""
    model = task_at(address)
    method = unpack(pointer(model.method))
    rosenbrock_step_back(model, method, t, h, p, u, y, k, tapes, work, new, old, rates, argument, gp)


@device
def stage_to_step(method, h, i, n, argument, old, rates):
    """Add the cotangent of a stage's state to those of the first state and of the rates before it."""
    for m in range(n):
        old[m] += argument[m]
    spread(argument, h, at(method.a, i * method.stages), rates, i, n)


_I, _F = types.int64, types.float64
_FORWARD, _BACK = (_I, _F, _F, _I, *[POINTER] * 7), (_I, _F, _F, *[POINTER] * 11)


def step_addresses(tableau: Tableau, reverse: bool) -> dict[str, int]:
    """Addresses of a method's step, by field of the task; of its reverse only where a gradient will be wanted."""
    step, back = explicit_step, explicit_step_back
    if isinstance(tableau, Rosenbrock):
        step, back = rosenbrock_step, linear_step_back
    elif tableau.gamma > 0.0:
        step, back = implicit_step, implicit_step_back
    found = {"step": compiled_address(step, *_FORWARD)}
    return found | {"step_back": compiled_address(back, *_BACK)} if reverse else found
