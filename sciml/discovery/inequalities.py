"""Least squares under linear inequalities that hold at zero: what is left where signs of coefficients are known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

RANK = 1e-6
"""Directions of the coefficients that matter less than this beside the strongest are left out."""


def least_squares_above(
    matrix: Float[np.ndarray, "row column"],
    target: Float[np.ndarray, " row"],
    above: Float[np.ndarray, "constraint column"],
) -> Float[np.ndarray, " column"]:
    r"""The best coefficients among those that linear forms keep from being negative.

    .. math:: \min_c \|A c - b\| \quad \text{with} \quad G c \ge 0

    In the coordinates :math:`z = S V^T c - U^T b` of :math:`A = U S V^T` it is the shortest vector of a polyhedron, and that
    is a problem of nonnegative least squares. Zero is always allowed, so there is a solution.

    Args:
        matrix: A, columns of about unit norm.
        target: b.
        above: G.

    Example:
        >>> least_squares_above(np.eye(2), np.array([-1.0, 2.0]), np.array([[1.0, 0.0]])).round(12) + 0.0
        array([0., 2.])

    Reference:
        Lawson and Hanson (1974), Solving Least Squares Problems, ch. 23.
    """
    free = np.linalg.lstsq(matrix, target, rcond=None)[0]
    if not len(free) or not_below(above, free):
        return free
    left, sizes, right = np.linalg.svd(matrix, full_matrices=False)
    kept = sizes > RANK * sizes[0]
    back = right[kept].T / sizes[kept]
    best = left[:, kept].T @ target
    length = float(np.linalg.norm(best))
    forms = above @ back
    forms = forms[forms.any(axis=1)]
    forms /= np.linalg.norm(forms, axis=1, keepdims=True)
    # The shortest z with forms z >= -forms best, in units of the length of best.
    stacked = np.vstack([forms.T, -(forms @ best) / length])
    unit = np.zeros(len(stacked))
    unit[-1] = 1.0
    rest = stacked @ nnls(stacked, unit)[0] - unit
    # -1 / (1 + |z|^2), and z is no longer than best, which leads to zero; beyond rounding only zero is allowed.
    if rest[-1] > -0.25:
        return np.zeros(len(free))
    return back @ (best - length * rest[:-1] / rest[-1])


def not_below(above: Float[np.ndarray, "constraint column"], coefficients: Float[np.ndarray, " column"]) -> bool:
    """Whether no form is negative by more than rounding."""
    return bool(np.all(above @ coefficients >= -1e-12 * (np.abs(above) @ np.abs(coefficients))))
