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
    def error_row(self) -> tuple[tuple[int, float], ...]:
        """The pairs (stage, weight) of the error estimate that are not zero."""
        return () if self.error is None else tuple((j, float(x)) for j, x in enumerate(self.error) if x != 0.0)

    def dense_weights(self, theta: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any stages"]:
        """Weights of the stages at the fractions `theta` of the step."""
        powers = theta[..., None] ** np.arange(1, self.dense.shape[1] + 1)
        return powers @ self.dense.T


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


def collocated_dense(a: Float[np.ndarray, "stages stages"]) -> Float[np.ndarray, "stages 5"]:
    r"""Dense output of order 4, smooth between steps, for stages of order 2 and a step of order 5.

    The weights satisfy the conditions of order 4,
    :math:`\sum w_i c_i^k = \theta^{k+1}/(k+1), \; \sum w_i a_{ij} c_j^2 = \theta^4/12`, and those of order 5 in the
    sense of least squares; both ends have the step's values and slopes, which satisfy all of them.

    Reference:
        Hairer, Nørsett, Wanner I, section II.6.
    """
    c = a.sum(axis=1)
    fourth = np.stack([c**0, c, c**2, c**3, a @ c**2])
    fifth = np.stack([c**4, c * (a @ c**2), a @ c**3, a @ a @ c**2])
    sides, rest = np.zeros((5, 5)), np.zeros((4, 5))
    sides[range(4), range(4)], sides[4, 3] = 1 / np.arange(1, 5), 1 / 12
    rest[:, 4] = 1 / 5, 1 / 15, 1 / 20, 1 / 60
    dense = np.linalg.pinv(fourth) @ sides
    free = np.linalg.svd(fourth)[2][5:].T
    dense += free @ np.linalg.pinv(fifth @ free, rcond=1e-8) @ (rest - fifth @ dense)
    # A cubic makes up what the ends still lack, which changes none of these conditions.
    first, last = np.eye(len(a))[0] - dense[:, 0], np.eye(len(a))[-1] - dense @ np.arange(1, 6)
    value = a[-1] - dense.sum(axis=1)
    dense[:, :3] += np.stack([first, 3 * value - 2 * first - last, -2 * value + first + last], axis=1)
    return dense


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


def _dopri8_dense(b: np.ndarray) -> Float[np.ndarray, "14 6"]:
    # Bogacki and Shampine (1990), powers 1 to 5; the sixth makes the end of the step exact.
    d = np.zeros((14, 6))
    d[0, :5] = [1.0, -6.6910181737837595697, 19.999006933368397061, -30.0610568289666450593, 22.1396504998094068976]
    d[5:, :5] = [
        [0.0, -7.6142658045872677172, 52.227353279294552405, -121.4999627731334642623, 116.4422149550342161651],
        [0.0, 10.7281392630428866124, -46.8919164181093621583, 83.1721004639847717481, -67.1451318825957197185],
        [0.0, 0.5526637063753648783, -0.1890893225010595467, 9.5724507555993664382, -16.5672243527496524646],
        [0.0, 4.2186562625665153803, -35.7075975946222072821, 87.8406057677205645007, -89.9916014847245016028],
        [0.0, -0.6627209125361597559, 6.273644808324035216, -17.4152107770762969005, 22.6237489648532849093],
        [0.0, -1.2636789001135462218, 10.3160881272450748458, -28.5903289514790976966, 32.2362340167355370113],
        [0.0, 5.410603789859042223, -34.7650769866611817349, 81.6630950584341412934, -82.1020315488359848644],
        [0.0, -7.0321379067945741781, 47.7457971078225540396, -114.9375291377009418170, 116.2662185791119533462],
        [0.0, 2.3537586759714983486, -19.0082099341608028453, 50.2558364226176017553, -53.9020777466385396792],
    ]
    d[:, 5] = b - d.sum(axis=1)
    return d


_euler = stacked([1.0])
_heun = stacked([1.0], [0.5, 0.5])
_rk4 = stacked([0.5], [0.0, 0.5], [0.0, 0.0, 1.0], [1 / 6, 1 / 3, 1 / 3, 1 / 6])
_dopri5 = stacked(
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
)
_tsit5 = stacked(
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
_kvaerno5 = stacked(
    [0.26],
    [0.13, 0.84033320996790809],
    [0.22371961478320505, 0.47675532319799699, -0.06470895363112615],
    [0.16648564323248321, 0.10450018841591720, 0.03631482272098715, -0.13090704451073998],
    [0.13855640231268224, 0.0, -0.04245337201752043, 0.02446657898003141, 0.61943039072480676],
    [
        0.13659751177640291,
        0.0,
        -0.05496908796538376,
        -0.04118626728321046,
        0.62993304899016403,
        0.06962479448202728,
    ],
) + np.diag([0.0, *[0.26] * 6])
_dopri8 = stacked(
    [1 / 18],
    [1 / 48, 1 / 16],
    [1 / 32, 0.0, 3 / 32],
    [5 / 16, 0.0, -75 / 64, 75 / 64],
    [3 / 80, 0.0, 0.0, 3 / 16, 3 / 20],
    [29443841 / 614563906, 0.0, 0.0, 77736538 / 692538347, -28693883 / 1125000000, 23124283 / 1800000000],
    [
        16016141 / 946692911,
        0.0,
        0.0,
        61564180 / 158732637,
        22789713 / 633445777,
        545815736 / 2771057229,
        -180193667 / 1043307555,
    ],
    [
        39632708 / 573591083,
        0.0,
        0.0,
        -433636366 / 683701615,
        -421739975 / 2616292301,
        100302831 / 723423059,
        790204164 / 839813087,
        800635310 / 3783071287,
    ],
    [
        246121993 / 1340847787,
        0.0,
        0.0,
        -37695042795 / 15268766246,
        -309121744 / 1061227803,
        -12992083 / 490766935,
        6005943493 / 2108947869,
        393006217 / 1396673457,
        123872331 / 1001029789,
    ],
    [
        -1028468189 / 846180014,
        0.0,
        0.0,
        8478235783 / 508512852,
        1311729495 / 1432422823,
        -10304129995 / 1701304382,
        -48777925059 / 3047939560,
        15336726248 / 1032824649,
        -45442868181 / 3398467696,
        3065993473 / 597172653,
    ],
    [
        185892177 / 718116043,
        0.0,
        0.0,
        -3185094517 / 667107341,
        -477755414 / 1098053517,
        -703635378 / 230739211,
        5731566787 / 1027545527,
        5232866602 / 850066563,
        -4093664535 / 808688257,
        3962137247 / 1805957418,
        65686358 / 487910083,
    ],
    [
        403863854 / 491063109,
        0.0,
        0.0,
        -5068492393 / 434740067,
        -411421997 / 543043805,
        652783627 / 914296604,
        11173962825 / 925320556,
        -13158990841 / 6184727034,
        3936647629 / 1978049680,
        -160528059 / 685178525,
        248638103 / 1413531060,
    ],
    [
        14005451 / 335480064,
        0.0,
        0.0,
        0.0,
        0.0,
        -59238493 / 1068277825,
        181606767 / 758867731,
        561292985 / 797845732,
        -1041891430 / 1371343529,
        760417239 / 1151165299,
        118820643 / 751138087,
        -528747749 / 2220607170,
        1 / 4,
    ],
)

EULER = Tableau(order=1, a=_euler, error=None, dense=hermite_dense(_euler), dense_order=3)
HEUN = Tableau(
    order=2,
    a=_heun,
    # The difference from an Euler step.
    error=np.array([-1 / 2, 1 / 2, 0.0]),
    dense=hermite_dense(_heun),
    dense_order=3,
    error_order=2,
)
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
KVAERNO5 = Tableau(
    order=5,
    a=_kvaerno5,
    # The stage before the last is a solution of order 4.
    error=_kvaerno5[-1] - _kvaerno5[-2],
    dense=collocated_dense(_kvaerno5),
    dense_order=4,
    error_order=5,
)
DOPRI8 = Tableau(
    order=8,
    a=_dopri8,
    # The weights of order 8 minus those of order 7.
    error=_dopri8[-1]
    - np.array(
        [
            13451932 / 455176623,
            0.0,
            0.0,
            0.0,
            0.0,
            -808719846 / 976000145,
            1757004468 / 5645159321,
            656045339 / 265891186,
            -3867574721 / 1518517206,
            465885868 / 322736535,
            53011238 / 667516719,
            2 / 45,
            0.0,
            0.0,
        ]
    ),
    dense=_dopri8_dense(_dopri8[-1]),
    dense_order=5,
    error_order=8,
)
