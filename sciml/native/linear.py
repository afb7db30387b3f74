"""Small dense linear systems on plain pointers: LU factors and inverses with partial pivoting, in place.

Newton's iteration solves by factors. A linearly implicit step, which solves eight times with one matrix, multiplies by the
inverse: products of rows run in vector instructions, substitutions wait for each number in turn.
"""

import math

from sciml.native.compilation import at, device
from sciml.native.vectors import spread


@device
def exchange(matrix, n, stride, k, pivots):
    """Bring the largest number of column k, from row k down, to row k; note its row, and return the number."""
    best = k
    for i in range(k + 1, n):
        if abs(matrix[i * stride + k]) > abs(matrix[best * stride + k]):
            best = i
    pivots[k] = float(best)
    if best != k:
        for j in range(n):
            a, b = k * stride + j, best * stride + j
            matrix[a], matrix[b] = matrix[b], matrix[a]
    return matrix[k * stride + k]


@device
def factorize(matrix, n, pivots):
    """Replace the n x n matrix by its factors L and U, the diagonal of U by its reciprocal; whether it is regular."""
    for k in range(n):
        pivot = exchange(matrix, n, n, k, pivots)
        if pivot == 0.0 or not math.isfinite(pivot):
            return False
        inverse = 1.0 / pivot
        matrix[k * n + k] = inverse
        for i in range(k + 1, n):
            factor = matrix[i * n + k] * inverse
            matrix[i * n + k] = factor
            if factor != 0.0:
                for j in range(k + 1, n):
                    matrix[i * n + j] -= factor * matrix[k * n + j]
    return True


@device
def solve_factored(matrix, n, pivots, x):
    """Replace x by the solution of A z = x, from the factors of A."""
    for k in range(n):
        other = int(pivots[k])
        x[k], x[other] = x[other], x[k]
    for i in range(n):
        for j in range(i):
            x[i] -= matrix[i * n + j] * x[j]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            x[i] -= matrix[i * n + j] * x[j]
        x[i] *= matrix[i * n + i]


@device
def solve_transposed(matrix, n, pivots, x):
    """Replace x by the solution of A^T z = x, from the factors of A."""
    for i in range(n):
        for j in range(i):
            x[i] -= matrix[j * n + i] * x[j]
        x[i] *= matrix[i * n + i]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            x[i] -= matrix[j * n + i] * x[j]
    for k in range(n - 1, -1, -1):
        other = int(pivots[k])
        x[k], x[other] = x[other], x[k]


@device
def invert(matrix, n, stride, pivots, column):
    """Replace the n x n matrix, in rows of `stride` numbers, by its inverse; whether it is regular.

    Gauss-Jordan elimination with partial pivoting: every step is one update of rank one.

    Args:
        matrix: The matrix; what lies beyond n in a row is zero.
        n: Its size.
        stride: Length of a row, a multiple of four.
        pivots: n numbers of scratch.
        column: n numbers of scratch.
    """
    for k in range(n):
        pivot = exchange(matrix, n, stride, k, pivots)
        if pivot == 0.0 or not math.isfinite(pivot):
            return False
        inverse = 1.0 / pivot
        for i in range(n):
            column[i] = matrix[i * stride + k]
            matrix[i * stride + k] = 0.0
        column[k] = 0.0
        matrix[k * stride + k] = 1.0
        for j in range(n):
            matrix[k * stride + j] *= inverse
        spread(at(matrix, k * stride), -1.0, column, matrix, n, stride)
    # Exchanged rows of the matrix are exchanged columns of the inverse.
    for k in range(n - 1, -1, -1):
        other = int(pivots[k])
        if other != k:
            for i in range(n):
                a, b = i * stride + k, i * stride + other
                matrix[a], matrix[b] = matrix[b], matrix[a]
    return True
