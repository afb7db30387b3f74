"""Products of a network's matrices with packs, written in vector instructions, for literal sizes.

With eight trajectories side by side a weight is loaded once for all of them, the sums need no exchange between lanes,
and there are eight times as many independent ones: in registers of four a 32 x 32 product takes 40 ns for each trajectory,
which is the speed of the multipliers, and backwards, where one trajectory waits for results, a bit more than half the time.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sciml.native.compilation import REGISTER
from sciml.native.packs import SIZE
from sciml.native.vectors import INDEX, Emitter

WIDTH = REGISTER
HALVES = SIZE // WIDTH
DOWN = 8 // HALVES
"""Numbers of a product that are summed up side by side: with all of a pack, eight sums keep two multipliers busy."""


def _literal(*sizes) -> bool:
    return all(isinstance(size, types.IntegerLiteral) for size in sizes)


@intrinsic(prefer_literal=True)
def multiply_packs(typingctx, matrix, x, initial, y, rows, columns):
    """y[m] = initial[m] + sum over k of matrix[k, m] * x[k], where x and y are packs; initial None is zero."""
    if not _literal(rows, columns):
        return None
    n, width, zero = rows.literal_value, columns.literal_value, isinstance(initial, types.NoneType)

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        matrix, x, initial, y = args[:4]

        def tile(first, height):
            # Few sums would wait for each other: keep several partial ones.
            parts = min(max(1, DOWN // height), n)
            sums = [[[emit.register(WIDTH, emit.zero(WIDTH)) for _ in range(HALVES)] for _ in range(height)]
                    for _ in range(parts)]  # fmt: skip
            places = [builder.add(first, INDEX(j)) for j in range(height)]
            for place, registers in zip(places, sums[0]):
                if not zero:
                    for register in registers:
                        builder.store(emit.splat(emit.load(initial, place, 1), WIDTH), register)

            def row(k, part):
                halves = [emit.load(x, emit.offset(k, SIZE, half * WIDTH), WIDTH) for half in range(HALVES)]
                for j in range(height):
                    weight = emit.splat(emit.load(matrix, builder.add(emit.offset(k, width, 0), places[j]), 1), WIDTH)
                    for register, half in zip(sums[part][j], halves):
                        emit.accumulate(register, weight, half)

            with cgutils.for_range(builder, INDEX(n // parts)) as loop:
                for part in range(parts):
                    row(emit.offset(loop.index, parts, part), part)
            for k in range(n - n % parts, n):
                row(INDEX(k), k % parts)
            for j, place in enumerate(places):
                for half in range(HALVES):
                    total = builder.load(sums[0][j][half])
                    for part in range(1, parts):
                        total = emit.add(total, builder.load(sums[part][j][half]))
                    emit.store(total, y, emit.offset(place, SIZE, half * WIDTH), WIDTH)

        with cgutils.for_range(builder, INDEX(width // DOWN)) as loop:
            tile(builder.mul(loop.index, INDEX(DOWN)), DOWN)
        if width % DOWN:
            tile(INDEX(width - width % DOWN), width % DOWN)
        return context.get_dummy_value()

    return types.void(matrix, x, initial, y, rows, columns), generate


def _total(emit, vectors):
    """The sums of up to `WIDTH` vectors, as one vector."""
    vectors = [*vectors, *[emit.zero(WIDTH)] * (WIDTH - len(vectors))]
    block = WIDTH  # as many numbers stand side by side whose sum is wanted
    while block > 1:
        lanes = [lane for lane in range(2 * WIDTH) if lane % block < block // 2]
        first, second = ([lane + shift for lane in lanes] for shift in (0, block // 2))
        pairs = zip(vectors[::2], vectors[1::2])
        vectors = [emit.add(_chosen(emit, a, b, first), _chosen(emit, a, b, second)) for a, b in pairs]
        block //= 2
    return vectors[0]


def _chosen(emit, a, b, lanes):
    """Numbers of two vectors, counted through, as one."""
    return emit.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _add_at(emit, matrix, place, total, count):
    """Add the first `count` numbers of a vector to memory."""
    if count == WIDTH:
        emit.store(emit.add(total, emit.load(matrix, place, WIDTH)), matrix, place, WIDTH)
        return
    for lane in range(count):
        cell = emit.builder.add(place, INDEX(lane))
        number = emit.builder.extract_element(total, ir.IntType(32)(lane))
        emit.store(emit.add(number, emit.load(matrix, cell, 1)), matrix, cell, 1)


@intrinsic(prefer_literal=True)
def update_by_packs(typingctx, matrix, left, span, right, stride, count, rows, columns):
    """matrix[o, i] += sum over r < count and lanes of left[r * span + o] * right[r * stride + i], for literal sizes."""
    if not _literal(rows, columns):
        return None
    n, width = rows.literal_value, columns.literal_value
    down = 3

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        matrix, left, span, right, stride, count = args[:6]

        def tile(o, height, i, across):
            sums = [[emit.register(WIDTH, emit.zero(WIDTH)) for _ in range(across)] for _ in range(height)]
            with cgutils.for_range(builder, count) as loop:
                a = builder.add(builder.mul(loop.index, span), builder.mul(o, INDEX(SIZE)))
                b = builder.add(builder.mul(loop.index, stride), builder.mul(i, INDEX(SIZE)))
                for half in range(HALVES):
                    ls = [emit.load(left, builder.add(a, INDEX(SIZE * j + WIDTH * half)), WIDTH) for j in range(height)]
                    for q in range(across):
                        vector = emit.load(right, builder.add(b, INDEX(SIZE * q + WIDTH * half)), WIDTH)
                        for j in range(height):
                            emit.accumulate(sums[j][q], ls[j], vector)
            for j in range(height):
                place = builder.add(builder.mul(builder.add(o, INDEX(j)), INDEX(width)), i)
                _add_at(emit, matrix, place, _total(emit, [builder.load(s) for s in sums[j]]), across)

        def band(o, height):
            with cgutils.for_range(builder, INDEX(width // WIDTH)) as loop:
                tile(o, height, builder.mul(loop.index, INDEX(WIDTH)), WIDTH)
            if width % WIDTH:
                tile(o, height, INDEX(width - width % WIDTH), width % WIDTH)

        with cgutils.for_range(builder, INDEX(n // down)) as loop:
            band(builder.mul(loop.index, INDEX(down)), down)
        if n % down:
            band(INDEX(n - n % down), n % down)
        return context.get_dummy_value()

    i = types.int64
    return types.void(matrix, left, i, right, i, i, rows, columns), generate


@intrinsic(prefer_literal=True)
def add_packs(typingctx, total, rows, stride, count, columns):
    """total[i] += sum over r < count and lanes of rows[r * stride + i], for literal `columns`."""
    if not _literal(columns):
        return None
    width = columns.literal_value

    def generate(context, builder, signature, args):
        emit = Emitter(builder)
        total, rows, stride, count = args[:4]

        def tile(i, across):
            sums = [emit.register(WIDTH, emit.zero(WIDTH)) for _ in range(across)]
            with cgutils.for_range(builder, count) as loop:
                b = builder.add(builder.mul(loop.index, stride), builder.mul(i, INDEX(SIZE)))
                for q in range(across):
                    for half in range(HALVES):
                        vector = emit.load(rows, builder.add(b, INDEX(SIZE * q + WIDTH * half)), WIDTH)
                        builder.store(emit.add(builder.load(sums[q]), vector), sums[q])
            _add_at(emit, total, i, _total(emit, [builder.load(s) for s in sums]), across)

        with cgutils.for_range(builder, INDEX(width // WIDTH)) as loop:
            tile(builder.mul(loop.index, INDEX(WIDTH)), WIDTH)
        if width % WIDTH:
            tile(INDEX(width - width % WIDTH), width % WIDTH)
        return context.get_dummy_value()

    return types.void(total, rows, types.int64, types.int64, columns), generate
