"""Coefficients of those of torchdiffeq's methods that `sciml.solvers` has under no name."""

import numpy as np

from sciml.solvers.tableaus import Tableau, hermite_dense


def _tableau(order: int, rows: list[list[float]], error: list[float] | None = None) -> Tableau:
    """A tableau whose last row holds the weights of the step, with cubic dense output."""
    a = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows):
        a[i + 1, : len(row)] = row
    weights = None if error is None else np.array(error)
    return Tableau(order, a, weights, hermite_dense(a), dense_order=3, error_order=0 if error is None else order)


MIDPOINT = _tableau(2, [[1 / 2], [0, 1]])
# Heun (1900): order 3.
HEUN3 = _tableau(3, [[1 / 3], [0, 2 / 3], [1 / 4, 0, 3 / 4]])
# Kutta's 3/8 rule (Hairer, Nørsett, Wanner I, table II.1.2): what torchdiffeq calls `rk4`.
RK38 = _tableau(4, [[1 / 3], [-1 / 3, 1], [1, -1, 1], [1 / 8, 3 / 8, 3 / 8, 1 / 8]])
# Heun's method of order 2 beside Euler's.
ADAPTIVE_HEUN = _tableau(2, [[1], [1 / 2, 1 / 2]], [-1 / 2, 1 / 2, 0])
# Fehlberg (1969), order 2(1).
FEHLBERG2 = _tableau(2, [[1 / 2], [1 / 256, 255 / 256], [1 / 512, 255 / 256, 1 / 512]], [-1 / 512, 0, 1 / 512, 0])
# Bogacki and Shampine (1989), order 3(2).
BOSH3 = _tableau(
    3, [[1 / 2], [0, 3 / 4], [2 / 9, 1 / 3, 4 / 9]], [2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8]
)
