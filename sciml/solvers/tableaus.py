"""Butcher tableaus of the explicit methods, as NumPy arrays that the torch and the native engine share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Tableau:
    r"""Coefficients of an explicit Runge-Kutta method whose last stage is the field at the new point.

    .. math:: k_i = f\bigl(t + c_i h,\; y + h \sum_{j<i} a_{ij} k_j\bigr), \qquad
              y(t + \theta h) = y + h \sum_i w_i(\theta) k_i, \qquad w_i(\theta) = \sum_m d_{im} \theta^m

    The last row of `a` holds the weights of the step ("first same as last"): the last stage is the first
    one of the next step, so that a step costs one evaluation less than it has stages. The dense output
    uses the last stage, too; it is linear in the stages, and so is its adjoint.

    Args:
        order: Order of the method.
        a: Strictly lower triangular; the last row are the weights of the step.
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

    @cached_property
    def stages(self) -> int:
        """Number of stages, the shared last one included."""
        return len(self.a)

    @cached_property
    def rows(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """For each stage, the pairs (earlier stage, coefficient) that are not zero."""
        return tuple(tuple((j, float(x)) for j, x in enumerate(row) if x != 0.0) for row in self.a)

    @cached_property
    def error_row(self) -> tuple[tuple[int, float], ...]:
        """The pairs (stage, weight) of the error estimate that are not zero."""
        return () if self.error is None else tuple((j, float(x)) for j, x in enumerate(self.error) if x != 0.0)

    def dense_weights(self, theta: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any stages"]:
        """Weights of the stages at the fractions `theta` of the step."""
        powers = theta[..., None] ** np.arange(1, self.dense.shape[1] + 1)
        return powers @ self.dense.T


def _lower(*rows: list[float]) -> Float[np.ndarray, "stages stages"]:
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


def _dopri5_dense(b: np.ndarray) -> Float[np.ndarray, "7 4"]:
    # Hairer-Norsett-Wanner I, II.6 (the coefficients `d` of the code DOPRI5), sorted by powers of theta.
    d = np.array(
        [
            -12715105075 / 11282082432,
            0.0,
            87487479700 / 32700410799,
            -10690763975 / 1880347072,
            701980252875 / 199316789632,
            -1453857185 / 822651844,
            69997945 / 29380423,
        ]
    )
    first, last = np.eye(7)[0], np.eye(7)[-1]
    r3, r4 = first - b, 2 * b - last - first
    return np.stack([first, -r3 + r4 + d, -r4 - 2 * d, d], axis=1)


_euler = _lower([1.0])
_heun = _lower([1.0], [0.5, 0.5])
_rk4 = _lower([0.5], [0.0, 0.5], [0.0, 0.0, 1.0], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
_dopri5 = _lower(
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
)
_tsit5 = _lower(
    [0.161],
    [-0.008480655492356989, 0.335480655492357],
    [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
    [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
    [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383],
    [
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
    ],
)

EULER = Tableau(order=1, a=_euler, error=None, dense=hermite_dense(_euler), dense_order=3)
HEUN = Tableau(order=2, a=_heun, error=None, dense=hermite_dense(_heun), dense_order=3)
RK4 = Tableau(order=4, a=_rk4, error=None, dense=hermite_dense(_rk4), dense_order=3)
DOPRI5 = Tableau(
    order=5,
    a=_dopri5,
    error=np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]),
    dense=_dopri5_dense(_dopri5[-1]),
    dense_order=4,
    error_order=5,
)
TSIT5 = Tableau(
    order=5,
    a=_tsit5,
    error=np.array(
        [
            0.00178001105222577714,
            0.0008164344596567469,
            -0.007880878010261995,
            0.1447110071732629,
            -0.5823571654525552,
            0.45808210592918697,
            -1 / 66,
        ]
    ),
    dense=np.array(
        [
            [1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216],
            [0.0, 0.13169999999999998, -0.2234, 0.1017],
            [0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253],
            [0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902],
            [0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928],
            [0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661],
            [0.0, 1.5, -4.0, 2.5],
        ]
    ),
    dense_order=4,
    error_order=5,
)
