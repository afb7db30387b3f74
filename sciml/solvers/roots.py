"""Roots of many functions at once, each in its own bracket."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


def bracketed_roots(
    function: Callable[[Float[np.ndarray, " batch"]], Float[np.ndarray, " batch"]],
    left: Float[np.ndarray, " batch"],
    right: Float[np.ndarray, " batch"],
    at_left: Float[np.ndarray, " batch"],
    at_right: Float[np.ndarray, " batch"],
    tolerance: Float[np.ndarray, " batch"] | float,
) -> Float[np.ndarray, " batch"]:
    """Where each function changes its sign, by interpolation, truncation and projection (ITP).

    It takes at most one evaluation more than bisection and about as few as the secant method where the function is
    smooth.

    Args:
        function: Values at one argument for each function. A function that is done is asked at its left end again.
        left: Left ends; equal to the right ends where there is nothing to find.
        right: Right ends, larger than the left ones.
        at_left: Values there. Their sign says what the sign before the root is.
        at_right: Values at the right ends, of the opposite sign or zero.
        tolerance: Widths of the brackets to stop at.

    Returns:
        The left ends of the final brackets: there the functions still have the sign that they came with.

    Example:
        >>> ends = np.zeros(2), np.full(2, 2.0)
        >>> squares = np.array([1.0, 2.0])
        >>> roots = bracketed_roots(lambda x: x**2 - squares, *ends, -squares, 4 - squares, 1e-14)
        >>> roots.round(12).tolist()
        [1.0, 1.414213562373]

    Reference:
        Oliveira, Takahashi (2021), ACM Transactions on Mathematical Software 47, 5.
    """
    a, b, fa, fb = left.astype(float), right.astype(float), at_left.astype(float), at_right.astype(float)
    before = np.sign(fa)
    half = np.broadcast_to(tolerance, a.shape) / 2
    width = np.where(b > a, b - a, 1.0)
    most = np.ceil(np.log2(np.maximum(width / (2 * half), 1.0))) + 1
    for j in range(int(most.max(initial=0.0)) + 1):
        wide = b - a > 2 * half
        if not wide.any():
            break
        middle = (a + b) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            secant = np.where(fa == fb, middle, (fb * a - fa * b) / (fb - fa))
        side = np.sign(middle - secant)
        # Truncation: a little towards the middle, so that both ends move. Projection: never worse than bisection.
        shift = 0.2 * (b - a) ** 2 / width
        near = np.where(shift <= np.abs(middle - secant), secant + side * shift, middle)
        room = np.maximum(half * 2.0 ** (most - j) - (b - a) / 2, 0.0)
        x = np.where(np.abs(near - middle) <= room, near, middle - side * room)
        f = function(np.where(wide, x, a))
        still = np.sign(f) == before
        a, fa = np.where(wide & still, x, a), np.where(wide & still, f, fa)
        b, fb = np.where(wide & ~still, x, b), np.where(wide & ~still, f, fb)
    return a
