"""Eight numbers as one value of compiled code: the same quantity of eight trajectories that are computed side by side.

A pack stands in memory as eight float64 in a row. Arithmetic and comparisons with packs and numbers, `abs` and the
functions of `math` work on each lane; a comparison gives 1 and 0, between which `select` chooses. What no vector
instruction computes (sine, logarithm) calls the scalar function for each lane, so that packs and scalars agree.
"""

import math
import operator
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.typing import signature
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

from sciml.native.compilation import POINTER

SIZE = 8
# Adding and subtracting this rounds to the nearest integer and leaves that integer in the lowest bits.
ROUND = 6755399441055744.0
ONE_BITS = 0x3FF0000000000000
REAL, VECTOR = ir.DoubleType(), ir.VectorType(ir.DoubleType(), SIZE)
LANE = ir.IntType(32)


class Pack(types.Type):
    """Numba's type of eight float64 that are worked on at once."""

    def __init__(self) -> None:
        super().__init__(name="pack")


PACK = Pack()


@register_model(Pack)
class _PackModel(PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, VECTOR)


def _splat(builder, scalar):
    single = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, LANE(0))
    mask = ir.Constant(ir.VectorType(LANE, SIZE), [0] * SIZE)
    return builder.shuffle_vector(single, ir.Constant(VECTOR, ir.Undefined), mask)


def _vector(context, builder, value, kind):
    """A pack as it is, a number in every lane."""
    return value if kind == PACK else _splat(builder, context.cast(builder, value, kind, types.float64))


def _is_number(kind) -> bool:
    return isinstance(kind, types.Float | types.Integer | types.Boolean)


def _accepted(*kinds) -> bool:
    return PACK in kinds and all(kind == PACK or _is_number(kind) for kind in kinds)


def _define(function: Callable, arity: int, emit: Callable) -> None:
    """Give a Python function a meaning for packs, beside numbers: `emit(context, builder, *vectors)`."""

    @type_callable(function)
    def kind_of(context):
        if arity == 1:
            return lambda x: PACK if _accepted(x) else None
        return lambda x, y: PACK if _accepted(x, y) else None

    def lower(context, builder, sig, args):
        vectors = [_vector(context, builder, value, kind) for value, kind in zip(args, sig.args)]
        return emit(context, builder, *vectors)

    other = (types.Float, types.Integer, types.Boolean)
    cases = [(PACK,)] if arity == 1 else [(PACK, PACK), *((PACK, k) for k in other), *((k, PACK) for k in other)]
    for case in cases:
        lower_builtin(function, *case)(lower)


def _arithmetic(name: str) -> Callable:
    return lambda context, builder, x, y: getattr(builder, name)(x, y, flags=("contract",))


def _comparison(symbol: str) -> Callable:
    def emit(context, builder, x, y):
        compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        return builder.uitofp(compare(symbol, x, y), VECTOR)

    return emit


def _by_instruction(name: str) -> Callable:
    def emit(context, builder, x):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR]), name)
        return builder.call(function, [x])

    return emit


def _by_lane(function: Callable, arity: int) -> Callable:
    """The scalar function for each lane."""

    def emit(context, builder, *vectors):
        scalar = context.get_function(function, signature(types.float64, *[types.float64] * arity))
        result = ir.Constant(VECTOR, ir.Undefined)
        for lane in range(SIZE):
            arguments = [builder.extract_element(vector, LANE(lane)) for vector in vectors]
            result = builder.insert_element(result, scalar(builder, arguments), LANE(lane))
        return result

    return emit


for _function, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_function, 2, _arithmetic(_name))
for _function, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _define(_function, 2, _comparison(_symbol))
_define(operator.neg, 1, lambda context, builder, x: builder.fneg(x))
_define(abs, 1, _by_instruction("llvm.fabs.v8f64"))
_define(math.sqrt, 1, _by_instruction("llvm.sqrt.v8f64"))
for _name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "exp", "lgamma", "log"):
    _define(getattr(math, _name), 1, _by_lane(getattr(math, _name), 1))
for _name in ("sin", "sinh", "tan", "tanh"):
    _define(getattr(math, _name), 1, _by_lane(getattr(math, _name), 1))
_define(math.floor, 1, _by_instruction("llvm.floor.v8f64"))
_define(math.ceil, 1, _by_instruction("llvm.ceil.v8f64"))
_define(float, 1, lambda context, builder, x: x)
for _function in (operator.pow, math.atan2):
    _define(_function, 2, _by_lane(_function, 2))


@intrinsic(prefer_literal=True)
def power(typingctx, x, exponent):
    """x ** exponent for a literal integer, by multiplications."""
    if not isinstance(exponent, types.IntegerLiteral):
        return None
    n = abs(exponent.literal_value)

    def generate(context, builder, sig, args):
        base, result = _vector(context, builder, args[0], sig.args[0]), None
        for digit in bin(n)[:1:-1]:
            if digit == "1":
                result = base if result is None else builder.fmul(result, base)
            base = builder.fmul(base, base)
        one = _splat(builder, REAL(1.0))
        result = one if result is None else result
        return builder.fdiv(one, result) if exponent.literal_value < 0 else result

    return PACK(x, exponent), generate


@intrinsic
def select(typingctx, condition, yes, no):
    """`yes` in the lanes where the condition is not zero, else `no`."""

    def generate(context, builder, sig, args):
        chosen, a, b = (_vector(context, builder, value, kind) for value, kind in zip(args, sig.args))
        return builder.select(builder.fcmp_ordered("!=", chosen, ir.Constant(VECTOR, [0.0] * SIZE)), a, b)

    return PACK(condition, yes, no), generate


def _extremum(symbol: str):
    @intrinsic
    def extremum(typingctx, x, y):
        """The larger, or the smaller, of two in each lane."""

        def generate(context, builder, sig, args):
            a, b = (_vector(context, builder, value, kind) for value, kind in zip(args, sig.args))
            return builder.select(builder.fcmp_ordered(symbol, a, b), a, b)

        return PACK(x, y), generate

    return extremum


maximum, minimum = _extremum(">"), _extremum("<")


def _bounded(beyond: str):
    @intrinsic
    def bounded(typingctx, x, limit):
        """A number, or a pack, up to a limit; NaN stays NaN."""
        kind = PACK if x == PACK else types.float64

        def generate(context, builder, sig, args):
            value, edge = args[0], args[1] if kind != PACK else _splat(builder, args[1])
            return builder.select(builder.fcmp_ordered(beyond, value, edge), edge, value)

        return kind(x, types.float64), generate

    return bounded


at_most, at_least = _bounded(">"), _bounded("<")


@intrinsic
def power_of_two(typingctx, shifted):
    """2**k of a number, or of a pack, where `shifted` is k + `ROUND` and k a normal exponent."""

    def generate(context, builder, sig, args):
        real = args[0].type
        whole = ir.IntType(64) if shifted != PACK else ir.VectorType(ir.IntType(64), SIZE)

        def constant(value):
            return ir.Constant(whole, value if shifted != PACK else [value] * SIZE)

        bits = builder.add(builder.shl(builder.bitcast(args[0], whole), constant(52)), constant(ONE_BITS))
        return builder.bitcast(bits, real)

    return shifted(shifted), generate


def _cell(builder, pointer, index):
    place = builder.gep(pointer, [builder.mul(index, ir.IntType(64)(SIZE))])
    return builder.bitcast(place, VECTOR.as_pointer())


@intrinsic
def load(typingctx, pointer, index):
    """The pack at an index that counts packs."""

    def generate(context, builder, sig, args):
        return builder.load(_cell(builder, *args), align=8)

    return PACK(POINTER, types.int64), generate


@intrinsic
def store(typingctx, pointer, index, value):
    """Write a pack, or one number to all lanes, at an index that counts packs."""

    def generate(context, builder, sig, args):
        value = _vector(context, builder, args[2], sig.args[2])
        builder.store(value, _cell(builder, args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.void(POINTER, types.int64, value), generate


@intrinsic
def splat(typingctx, x):
    """A number in every lane."""

    def generate(context, builder, sig, args):
        return _splat(builder, args[0])

    return PACK(types.float64), generate
