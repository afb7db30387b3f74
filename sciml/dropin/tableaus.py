"""Coefficients of those of torchdiffeq's methods that `sciml.solvers` has under no name."""

import numpy as np
from jaxtyping import Float

from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked


def _tableau(order: int, a: Float[np.ndarray, "stages stages"], error: list[float] | None = None) -> Tableau:
    """A tableau with cubic dense output."""
    weights = None if error is None else np.array(error)
    return Tableau(order, a, weights, hermite_dense(a), dense_order=3, error_order=0 if error is None else order)


# Heun (1900): order 3.
HEUN3 = _tableau(3, stacked([1 / 3], [0.0, 2 / 3], [1 / 4, 0.0, 3 / 4]))
# Kutta's 3/8 rule (Hairer, Nørsett, Wanner I, table II.1.2): what torchdiffeq calls `rk4`.
RK38 = _tableau(4, stacked([1 / 3], [-1 / 3, 1.0], [1.0, -1.0, 1.0], [1 / 8, 3 / 8, 3 / 8, 1 / 8]))
# Fehlberg (1969), order 2(1).
FEHLBERG2 = _tableau(
    2, stacked([1 / 2], [1 / 256, 255 / 256], [1 / 512, 255 / 256, 1 / 512]), [-1 / 512, 0, 1 / 512, 0]
)
