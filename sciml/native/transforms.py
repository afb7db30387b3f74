r"""From the free coordinates theta of an optimizer to the numbers a model reads: :math:`x = a + b\, g(\theta)`.

=========  =================  ============================================
code       g                  use
=========  =================  ============================================
IDENTITY   theta              free, scaled by b
EXP        exp(theta)         above a (b > 0) or below it (b < 0)
LOGIT      sigmoid(theta)     between a and a + b
SOFTPLUS   log(1+exp(theta))  above or below a, linear far from it
=========  =================  ============================================
"""

import math

import numpy as np

from sciml.native.compilation import device

IDENTITY, EXP, LOGIT, SOFTPLUS = range(4)


def inverse(code: int, a: float, b: float, x: float) -> float:
    """The coordinate theta at which the transform gives x; infinite or NaN outside its range.

    Example:
        >>> inverse(EXP, 0.0, 2.0, 2.0)
        0.0
    """
    with np.errstate(all="ignore"):
        g = np.float64(x - a) / b
        if code == EXP:
            return float(np.log(g))
        if code == LOGIT:
            return float(np.log(g) - np.log1p(-g))
        if code == SOFTPLUS:
            return float(g + np.log(-np.expm1(-g)))
        return float(g)


def runs(codes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Coordinates grouped into runs of one code and consecutive places, which kernels treat as one loop.

    Args:
        codes: Transform of each coordinate.
        places: Where each coordinate's number goes.

    Returns:
        One row (code, first coordinate, first place, count) per run.
    """
    if len(codes) == 0:
        return np.zeros((0, 4), dtype=np.int64)
    breaks = (np.diff(codes) != 0) | (np.diff(places) != 1)
    first = np.concatenate([[0], np.flatnonzero(breaks) + 1])[: len(codes)]
    count = np.diff(np.append(first, len(codes)))
    return np.stack([codes[first], first, places[first], count], axis=1).astype(np.int64)


@device
def transform(code, theta):
    """The value of g at theta, and its derivative."""
    if code == EXP:
        value = math.exp(theta)
        return value, value
    if code == LOGIT:
        e = math.exp(-abs(theta))
        s = 1.0 / (1.0 + e)
        return (s if theta >= 0.0 else e * s), e * s * s
    if code == SOFTPLUS:
        e = math.exp(-abs(theta))
        return max(theta, 0.0) + math.log1p(e), (1.0 if theta >= 0.0 else e) / (1.0 + e)
    return theta, 1.0


@device
def forward(runs, count, a, b, theta, numbers):
    """Write a + b g(theta) of every coordinate to its place in `numbers`; `count` rows of `runs`, all pointers."""
    for run in range(count):
        code, first, place, length = runs[4 * run], runs[4 * run + 1], runs[4 * run + 2], runs[4 * run + 3]
        if code == IDENTITY:
            for i in range(length):
                numbers[place + i] = a[first + i] + b[first + i] * theta[first + i]
        else:
            for i in range(first, first + length):
                numbers[place + i - first] = a[i] + b[i] * transform(code, theta[i])[0]


@device
def backward(runs, count, b, theta, slopes, gradient):
    """The gradient by theta from that by the numbers."""
    for run in range(count):
        code, first, place, length = runs[4 * run], runs[4 * run + 1], runs[4 * run + 2], runs[4 * run + 3]
        if code == IDENTITY:
            for i in range(length):
                gradient[first + i] = b[first + i] * slopes[place + i]
        else:
            for i in range(first, first + length):
                gradient[i] = b[i] * transform(code, theta[i])[1] * slopes[place + i - first]
