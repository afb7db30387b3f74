"""Butcher tableaus of explicit and diagonally implicit methods, as NumPy arrays shared by both engines."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Tableau:
    r"""Coefficients of a Runge-Kutta method whose last stage is the field at the new point.

    .. math:: k_i = f\bigl(t + c_i h,\; y + h \sum_{j \le i} a_{ij} k_j\bigr), \qquad
              y(t + \theta h) = y + h \sum_i w_i(\theta) k_i, \qquad w_i(\theta) = \sum_m d_{im} \theta^m

    The last row of `a` holds the weights of the step ("first same as last"): the last stage is the first
    one of the next step, so that a step costs one evaluation less than it has stages. The dense output
    uses the last stage, too; it is linear in the stages, and so is its adjoint.

    Args:
        order: Order of the method.
        a: Lower triangular; the last row are the weights of the step. The diagonal is zero for an explicit method;
            for an implicit one it is constant but for the first stage, which is explicit.
        error: Weights of the embedded error estimate, or None for a method without one.
        dense: Coefficients of the dense output for :math:`\theta^1, \theta^2, \dots`
        dense_order: Order of the dense output.
        error_order: The error estimate behaves as :math:`h` to this power.
    """

    order: int
    a: Float[np.ndarray, "stages stages"]
    error: Float[np.ndarray, " stages"] | None
    dense: Float[np.ndarray, "stages degree"]
    dense_order: int
    error_order: int = 0

    @cached_property
    def c(self) -> Float[np.ndarray, " stages"]:
        """Nodes of the stages, as fractions of the step."""
        return self.a.sum(axis=1)

    @property
    def gamma(self) -> float:
        """Diagonal of the implicit stages; 0 for an explicit method."""
        return float(self.a[-1, -1])

    @cached_property
    def stages(self) -> int:
        """Number of stages, the shared last one included."""
        return len(self.a)

    @cached_property
    def rows(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """For each stage, the pairs (earlier stage, coefficient) that are not zero."""
        return tuple(tuple((j, float(x)) for j, x in enumerate(row) if x != 0.0) for row in self.a)

    @cached_property
    def sums(self) -> Float[np.ndarray, "stages terms"]:
        """For each stage, the coefficients of the state, which is 1 and comes first, and of the other stages."""
        return np.concatenate([np.ones((self.stages, 1)), self.a], axis=1)

    @cached_property
    def error_row(self) -> tuple[tuple[int, float], ...]:
        """The pairs (stage, weight) of the error estimate that are not zero."""
        return () if self.error is None else tuple((j, float(x)) for j, x in enumerate(self.error) if x != 0.0)

    def dense_weights(self, theta: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any stages"]:
        """Weights of the stages at the fractions `theta` of the step."""
        powers = np.empty((self.dense.shape[1], theta.size))
        powers[0] = theta.ravel()
        for m in range(1, len(powers)):
            np.multiply(powers[m - 1], powers[0], out=powers[m])
        return (powers.T @ self.dense.T).reshape(*theta.shape, self.stages)


@dataclass(frozen=True, eq=False)
class Rosenbrock(Tableau):
    r"""Coefficients of a linearly implicit method: one matrix per step, no iteration.

    .. math:: (I - h \gamma J) k_i = \gamma \Bigl( f\bigl(t + c_i h,\; y + h \sum_{j<i} a_{ij} k_j\bigr)
              + \sum_{j<i} g_{ij} k_j + h d_i\, \partial_t f(t, y) \Bigr), \qquad J = \partial_y f(t, y)

    The last row of `a` holds the weights of the step, as in `Tableau`; the last "stage" is the new state alone. Here k is
    the transformed variable of Hairer and Wanner, divided by h.

    Args:
        nodes: :math:`c_i`; with the transformed coefficients they are not the row sums of `a`.
        coupling: :math:`g_{ij}`.
        drift: :math:`d_i`.
        diagonal: :math:`\gamma`.

    Reference:
        Hairer, Wanner II, eq. IV.7.25.
    """

    nodes: Float[np.ndarray, " stages"] = field(kw_only=True)
    coupling: Float[np.ndarray, "stages stages"] = field(kw_only=True)
    drift: Float[np.ndarray, " stages"] = field(kw_only=True)
    diagonal: float = field(kw_only=True)

    @cached_property
    def c(self) -> Float[np.ndarray, " stages"]:
        return self.nodes

    @property
    def gamma(self) -> float:
        return self.diagonal


def stacked(*rows: list[float]) -> Float[np.ndarray, "stages stages"]:
    """A lower triangular matrix from its rows but the first; the last row holds the weights of the step.

    Example:
        >>> stacked([0.5], [0.0, 1.0]).tolist()
        [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    a = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows):
        a[i + 1, : len(row)] = row
    return a


def hermite_dense(a: Float[np.ndarray, "stages stages"]) -> Float[np.ndarray, "stages 3"]:
    """Cubic Hermite dense output from the values and slopes at both ends, as weights of the stages.

    Reference:
        Hairer, Nørsett, Wanner I, eq. II.6.7.
    """
    first, last = np.eye(len(a))[0], np.eye(len(a))[-1]
    b = a[-1]
    return np.stack([first, 3 * b - 2 * first - last, -2 * b + first + last], axis=1)
