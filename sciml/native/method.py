"""Runge-Kutta coefficients as one flat array, the way kernels take them, and back as pointers."""

from typing import Any, NamedTuple

import numpy as np

from sciml.native.compilation import at, device
from sciml.solvers.tableaus import Tableau


class Method(NamedTuple):
    """Coefficients as the steppers see them: pointers to those of `Tableau`, matrices row after row.

    `gamma` is the diagonal of all stages but the first; 0 for an explicit method.
    """

    stages: int
    degree: int
    order: float
    error_order: float
    gamma: float
    c: Any
    a: Any
    error: Any
    dense: Any


def pack(tableau: Tableau) -> np.ndarray:
    """All coefficients in one array."""
    error = np.zeros(tableau.stages) if tableau.error is None else tableau.error
    head = [tableau.stages, tableau.dense.shape[1], tableau.order, tableau.error_order, tableau.gamma]
    parts = (head, tableau.c, tableau.a.ravel(), error, tableau.dense.ravel())
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


@device
def unpack(packed):
    """The method whose coefficients `pack` wrote."""
    s, degree = int(packed[0]), int(packed[1])
    c, a = 5, 5 + s
    error = a + s * s
    dense = error + s
    parts = at(packed, c), at(packed, a), at(packed, error), at(packed, dense)
    return Method(s, degree, packed[2], packed[3], packed[4], *parts)


@device
def dense_weights(method, theta, weights):
    """Weights of the stages in the dense output at fraction `theta` of the step."""
    degree = method.degree
    for i in range(method.stages):
        row = at(method.dense, i * degree)
        total = row[degree - 1]
        for m in range(degree - 2, -1, -1):
            total = total * theta + row[m]
        weights[i] = total * theta
