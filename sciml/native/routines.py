"""Decorators of generated functions: the C signature of each kind of routine that `model` lists."""

from numba import cfunc, types

from sciml.native.compilation import OPTIONS, POINTER

ROLES = ("field", "observables", "initial", "jacobian", "conditions", "rates", "resets")


def _c_function(*arguments):
    options = {key: value for key, value in OPTIONS.items() if key != "nogil"}
    return cfunc(types.void(*arguments), cache=True, **options)


value = _c_function(types.float64, *[POINTER] * 5)
vjp = _c_function(types.float64, *[POINTER] * 7)
weights = _c_function(POINTER, types.int64, POINTER)
prepare = _c_function(POINTER)
pack_value = _c_function(*[POINTER] * 7)
pack_vjp = _c_function(*[POINTER] * 10)
pack_weights = _c_function(POINTER, POINTER, types.int64, POINTER)
