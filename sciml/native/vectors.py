"""Matrix and vector operations written in vector instructions, for sizes that are known when code is generated.

LLVM's loop vectorizer keeps sums in memory between passes over a row; here they stay in registers: a 32 x 32
matrix-vector product takes 40 ns instead of 58, a rank-64 update of such a matrix half the time, and both compile in
a hundredth of a second. The functions are numba intrinsics: they emit the LLVM code of the operation. Vectors are as
long as the machine's registers, four numbers or eight; on one with shorter registers LLVM splits them. Left to itself, LLVM
takes four where there are eight, too.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sciml.native.compilation import POINTER, REGISTER

REAL, INDEX = ir.DoubleType(), ir.IntType(64)
REGISTERS = 8
WIDTH = 4
WIDE = 4


def _pieces(length: int) -> list[tuple[int, int]]:
    """Start and width of the vectors that cover a row: as many of a register's length as fit, then shorter ones."""
    pieces, start = [], 0
    for width in (w for w in (8, 4, 2, 1) if w <= REGISTER):
        while length - start >= width:
            pieces.append((start, width))
            start += width
    return pieces


class Emitter:
    """Emits loads, stores and fused multiply-adds of short vectors."""

    def __init__(self, builder):
        self.builder = builder

    def _cell(self, pointer, offset, width):
        place = self.builder.gep(pointer, [offset if isinstance(offset, ir.Value) else INDEX(offset)])
        return self.builder.bitcast(place, self.kind(width).as_pointer())

    def kind(self, width):
        """The type of a vector of this width."""
        return REAL if width == 1 else ir.VectorType(REAL, width)

    def load(self, pointer, offset, width):
        """The vector at an offset."""
        return self.builder.load(self._cell(pointer, offset, width), align=8)

    def store(self, value, pointer, offset, width):
        """Write a vector at an offset."""
        self.builder.store(value, self._cell(pointer, offset, width), align=8)

    def splat(self, scalar, width):
        """A vector of equal numbers."""
        if width == 1:
            return scalar
        kind = self.kind(width)
        single = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        return self.builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask)

    def zero(self, width):
        """A vector of zeros."""
        return ir.Constant(REAL, 0.0) if width == 1 else ir.Constant(self.kind(width), [0.0] * width)

    def add(self, a, b):
        """a + b."""
        return self.builder.fadd(a, b, flags=("contract",))

    def multiply_add(self, a, b, c):
        """a * b + c, in one instruction where there is one."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    def offset(self, index, factor, shift):
        """index * factor + shift."""
        return self.builder.add(self.builder.mul(index, _index(factor)), _index(shift))

    def register(self, width, value):
        """A local variable, which LLVM keeps in a register."""
        variable = cgutils.alloca_once(self.builder, self.kind(width))
        self.builder.store(value, variable)
        return variable

    def accumulate(self, variable, a, b):
        """variable += a * b."""
        self.builder.store(self.multiply_add(a, b, self.builder.load(variable)), variable)


def _index(value):
    return value if isinstance(value, ir.Value) else INDEX(value)


@intrinsic(prefer_literal=True)
def multiply(typingctx, matrix, x, initial, y, rows, columns):
    """y[m] = initial[m] + sum over k of matrix[k, m] * x[k], for literal `rows` and `columns`; initial None is zero."""
    if not isinstance(rows, types.IntegerLiteral) or not isinstance(columns, types.IntegerLiteral):
        return None
    n, width_total, zero = rows.literal_value, columns.literal_value, isinstance(initial, types.NoneType)

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        matrix, x, initial, y = args[:4]
        pieces = _pieces(width_total)
        for first in range(0, len(pieces), REGISTERS):
            block = pieces[first : first + REGISTERS]
            # Few sums would wait for each other: keep several partial ones, over every second, fourth, ... row.
            parts = max(1, min(REGISTERS // len(block), n))
            sums = [[emit.register(w, emit.zero(w)) for _, w in block] for _ in range(parts)]
            for (start, w), variable in zip(block, sums[0]):
                if not zero:
                    builder.store(emit.load(initial, start, w), variable)

            def row(k, part, block=block, sums=sums):
                scalar = emit.load(x, k, 1)
                for (start, w), variable in zip(block, sums[part]):
                    vector = emit.load(matrix, emit.offset(k, width_total, start), w)
                    emit.accumulate(variable, emit.splat(scalar, w), vector)

            whole = n - n % parts
            with cgutils.for_range(builder, INDEX(whole // parts)) as loop:
                for part in range(parts):
                    row(emit.offset(loop.index, parts, part), part)
            for k in range(whole, n):
                row(INDEX(k), k - whole)
            for number, (start, w) in enumerate(block):
                total = builder.load(sums[0][number])
                for part in range(1, parts):
                    total = emit.add(total, builder.load(sums[part][number]))
                emit.store(total, y, start, w)
        return context.get_dummy_value()

    return types.void(matrix, x, initial, y, rows, columns), generate


@intrinsic(prefer_literal=True)
def update(typingctx, matrix, left, right, stride, count, rows, columns):
    """matrix[o, i] += sum over r < count of left[r * stride + o] * right[r * stride + i], for literal sizes."""
    if not isinstance(rows, types.IntegerLiteral) or not isinstance(columns, types.IntegerLiteral):
        return None
    n, width_total = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        matrix, left, right, stride, count = args[:5]
        pieces = _pieces(width_total)
        across = min(len(pieces), 4)
        down = min(max(1, REGISTERS // across), n)

        def tile(o, height):
            for first in range(0, len(pieces), across):
                block = pieces[first : first + across]
                places = [(emit.offset(o, width_total, k * width_total + start), start, w, k)
                          for k in range(height) for start, w in block]  # fmt: skip
                sums = [emit.register(w, emit.load(matrix, place, w)) for place, _, w, _ in places]
                with cgutils.for_range(builder, count) as loop:
                    base = builder.mul(loop.index, stride)
                    vectors = {start: emit.load(right, builder.add(base, INDEX(start)), w) for start, w in block}
                    place = builder.add(base, _index(o))
                    scalars = [emit.load(left, builder.add(place, INDEX(k)), 1) for k in range(height)]
                    for variable, (_, start, w, k) in zip(sums, places):
                        emit.accumulate(variable, emit.splat(scalars[k], w), vectors[start])
                for variable, (place, _, w, _) in zip(sums, places):
                    emit.store(builder.load(variable), matrix, place, w)

        with cgutils.for_range(builder, INDEX(n // down)) as loop:
            tile(builder.mul(loop.index, INDEX(down)), down)
        if n % down:
            tile(INDEX(n - n % down), n % down)
        return context.get_dummy_value()

    return types.void(matrix, left, right, types.int64, types.int64, rows, columns), generate


@intrinsic(prefer_literal=True)
def add_rows(typingctx, total, rows, stride, count, columns):
    """total[i] += sum over r < count of rows[r * stride + i], for literal `columns`."""
    if not isinstance(columns, types.IntegerLiteral):
        return None
    pieces = _pieces(columns.literal_value)

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        total, rows, stride, count = args[:4]
        for first in range(0, len(pieces), REGISTERS):
            block = pieces[first : first + REGISTERS]
            sums = [emit.register(w, emit.load(total, start, w)) for start, w in block]
            with cgutils.for_range(builder, count) as loop:
                for variable, (start, w) in zip(sums, block):
                    vector = emit.load(rows, emit.offset(loop.index, stride, start), w)
                    builder.store(emit.add(builder.load(variable), vector), variable)
            for variable, (start, w) in zip(sums, block):
                emit.store(builder.load(variable), total, start, w)
        return context.get_dummy_value()

    return types.void(total, rows, types.int64, types.int64, columns), generate


def _blocks(emit, builder, stride, body):
    """Run `body(start, width)` over a row of `stride` numbers, four vectors at a time, then one at a time.

    One vector's sum is a chain of additions that wait for each other; four chains run side by side.
    """
    four = INDEX(WIDE * WIDTH)
    whole = builder.sdiv(stride, four)
    with cgutils.for_range(builder, whole) as loop:
        body(builder.mul(loop.index, four), WIDE)
    first = builder.mul(whole, four)
    rest = builder.sdiv(builder.sub(stride, first), INDEX(WIDTH))
    with cgutils.for_range(builder, rest) as loop:
        body(builder.add(first, builder.mul(loop.index, INDEX(WIDTH))), 1)


@intrinsic
def combine(typingctx, y, h, weights, rates, count, stride, out):
    """out = y + h * sum over j < count of weights[j] * rates[j], for rows of `stride` numbers, a multiple of four.

    Without a y, None, it is that sum alone.
    """
    alone = isinstance(y, types.NoneType)

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        y, h, weights, rates, count, stride, out = args
        length = emit.splat(h, WIDTH)

        def body(start, vectors):
            places = [builder.add(start, INDEX(k * WIDTH)) for k in range(vectors)]
            sums = [emit.register(WIDTH, emit.zero(WIDTH)) for _ in places]
            with cgutils.for_range(builder, count) as loop:
                weight = emit.splat(emit.load(weights, loop.index, 1), WIDTH)
                row = builder.mul(loop.index, stride)
                for place, total in zip(places, sums):
                    emit.accumulate(total, weight, emit.load(rates, builder.add(row, place), WIDTH))
            for place, total in zip(places, sums):
                first = emit.zero(WIDTH) if alone else emit.load(y, place, WIDTH)
                result = emit.multiply_add(length, builder.load(total), first)
                emit.store(result, out, place, WIDTH)

        _blocks(emit, builder, stride, body)
        return context.get_dummy_value()

    i = types.int64
    return types.void(y, types.float64, POINTER, POINTER, i, i, POINTER), generate


@intrinsic
def spread(typingctx, g, h, weights, rates, count, stride):
    """rates[j] += h * weights[j] * g for j < count: what `combine` does, backwards."""

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        g, h, weights, rates, count, stride = args
        length = emit.splat(h, WIDTH)

        def body(start, vectors):
            places = [builder.add(start, INDEX(k * WIDTH)) for k in range(vectors)]
            scaled = [builder.fmul(length, emit.load(g, place, WIDTH)) for place in places]
            with cgutils.for_range(builder, count) as loop:
                weight = emit.splat(emit.load(weights, loop.index, 1), WIDTH)
                row = builder.mul(loop.index, stride)
                for place, vector in zip(places, scaled):
                    cell = builder.add(row, place)
                    emit.store(emit.multiply_add(weight, vector, emit.load(rates, cell, WIDTH)), rates, cell, WIDTH)

        _blocks(emit, builder, stride, body)
        return context.get_dummy_value()

    i = types.int64
    return types.void(POINTER, types.float64, POINTER, POINTER, i, i), generate
