"""Runge-Kutta coefficients as one flat array, the way kernels take them, and back as pointers."""

import math
from typing import Any, NamedTuple

import numpy as np

from sciml.native.compilation import at, device, pointer
from sciml.solvers.methods.tableau import Rosenbrock, Tableau


class Method(NamedTuple):
    """Coefficients as the steppers see them: pointers to those of `Tableau`, matrices row after row.

    `gamma` is the diagonal of all stages but the first; 0 for an explicit method. `linear` is 1 for a method of
    Rosenbrock's kind, which alone has `coupling` and `drift`.
    """

    stages: int
    degree: int
    order: float
    error_order: float
    gamma: float
    linear: int
    c: Any
    a: Any
    error: Any
    dense: Any
    coupling: Any
    drift: Any


def pack(tableau: Tableau) -> np.ndarray:
    """All coefficients in one array."""
    linear = isinstance(tableau, Rosenbrock)
    error = np.zeros(tableau.stages) if tableau.error is None else tableau.error
    head = [tableau.stages, tableau.dense.shape[1], tableau.order, tableau.error_order, tableau.gamma, linear]
    extra = (tableau.coupling.ravel(), tableau.drift) if isinstance(tableau, Rosenbrock) else ()
    parts = (head, tableau.c, tableau.a.ravel(), error, tableau.dense.ravel(), *extra)
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


@device
def unpack(packed):
    """The method whose coefficients `pack` wrote."""
    s, degree = int(packed[0]), int(packed[1])
    c, a = 6, 6 + s
    error = a + s * s
    dense = error + s
    coupling = dense + s * degree
    parts = at(packed, c), at(packed, a), at(packed, error), at(packed, dense)
    extra = at(packed, coupling), at(packed, coupling + s * s)
    return Method(s, degree, packed[2], packed[3], packed[4], int(packed[5]), *parts, *extra)


@device
def stride_of(model):
    """Length of a row of states: their number, rounded up to a multiple of four."""
    return (model.states + 3) // 4 * 4


@device
def error_norm(model, old, new, estimate):
    """Root mean square of the error estimate of a step in units of the tolerance."""
    atol, norm = pointer(model.atol), 0.0
    for m in range(model.states):
        norm += (estimate[m] / (atol[m] + model.rtol * max(abs(old[m]), abs(new[m])))) ** 2
    return math.sqrt(norm / model.states)


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
