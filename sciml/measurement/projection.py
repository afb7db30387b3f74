r"""The value and the gradient of `Orthogonal`, which is no sum over rows, by sums over rows.

With :math:`\|Pn\|^2 = \max_c \, (2 c^T b - c^T G c)` its gradient is that of the bracket with the best c held, and the
bracket is a sum over rows: each row of a trajectory has the integrands of b and G for outputs, which cost 2c and −cc^T.
So kernels need to know nothing of it: a first solve gives b and G, the second one has prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from sciml.measurement.measured import Measured

RIDGE = 1e-9
"""Relative; it settles what parameters that act alike, or not at all, are charged."""


@dataclass(frozen=True)
class Projection:
    """One `Orthogonal` of a problem.

    Attributes:
        weight: Its price.
        count: Number of parameters.
        place: Of its first output among what is measured; b comes first, then the upper triangle of G.
    """

    weight: float
    count: int
    place: int

    @property
    def outputs(self) -> slice:
        """Which of the outputs are its own."""
        return slice(self.place, self.place + self.count * (self.count + 3) // 2)

    @property
    def overlaps(self) -> slice:
        """Which of them are those of b."""
        return slice(self.place, self.place + self.count)

    def prices(self, averages: Float[np.ndarray, " output"]) -> Float[np.ndarray, " output"]:
        """What its averaged outputs cost: their sum with these prices is the penalty, its gradient that of the penalty."""
        unit, gram = self._units(averages)
        c = np.linalg.solve(gram, averages[: self.count] / unit) / unit
        rows, columns, factors, _ = _triangle(self.count)
        return self.weight * np.concatenate([2.0 * c, factors * c[rows] * c[columns]])

    def roots(self, averages: Float[np.ndarray, " output"]) -> Float[np.ndarray, "parameter parameter"]:
        """R with 2 w G^-1 = R^T R: of the Jacobian J of b, R J is that of residuals whose squares make the penalty."""
        unit, gram = self._units(averages)
        return np.sqrt(2.0 * self.weight) * np.linalg.solve(np.linalg.cholesky(gram), np.diag(1.0 / unit))

    def _units(self, averages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Norms of the s, and the matrix of G in their units with the ridge."""
        gram = averages[self.count :][_triangle(self.count)[3]]
        unit = np.sqrt(gram.diagonal())
        unit[unit == 0.0] = 1.0
        gram /= unit[:, None] * unit
        gram.flat[:: self.count + 1] += RIDGE
        return unit, gram


@cache
def _triangle(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the upper triangle of G: rows, columns, factors in -c^T (G + ridge) c; and where it has each entry of G."""
    rows, columns = np.triu_indices(count)
    where = np.zeros((count, count), dtype=int)
    where[rows, columns] = where[columns, rows] = np.arange(len(rows))
    return rows, columns, np.where(rows == columns, -1.0 - RIDGE, -2.0), where


def projections(problem: Measured) -> tuple[Projection, ...]:
    """Those of a problem; their outputs follow those of its inequalities."""
    found, place = [], 2 * len(problem.columns) + len(problem.inequalities)
    for one in problem.orthogonal:
        products, count = one.products(problem.system)
        found.append(Projection(one.weight, count, place))
        place += len(products)
    return tuple(found)
