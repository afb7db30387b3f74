"""The product of a network's matrix with packs, written in vector instructions, for literal sizes.

With eight trajectories side by side a weight is loaded once for two vectors of four, the sums need no exchange between
lanes, and eight times as many of them do not wait for each other.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sciml.native.packs import SIZE
from sciml.native.vectors import INDEX, WIDTH, Emitter

HALVES = SIZE // WIDTH
DOWN = 4
"""Numbers of a product that are summed up side by side: with both halves of a pack, eight sums keep two multipliers busy."""


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
