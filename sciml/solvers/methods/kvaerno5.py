"""Kværnø's L-stable method of order 5(4), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from sciml.solvers.methods.protocol import AbstractImplicit
from sciml.solvers.methods.tableau import Tableau, stacked


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


_A = stacked(
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
KVAERNO5 = Tableau(
    order=5,
    a=_A,
    # The stage before the last is a solution of order 4.
    error=_A[-1] - _A[-2],
    dense=collocated_dense(_A),
    dense_order=4,
    error_order=5,
)


@dataclass(frozen=True)
class Kvaerno5(AbstractImplicit):
    r"""Kværnø, order 5 with an error estimate of order 4; six implicit stages per step. For stiff systems.

    The step and the solution that it is compared with are both stiffly accurate, the step is L-stable, and its
    gradient is exact. The dense output has order 4; where a stiff equation forces the state along a path, steps may grow
    longer than a polynomial can follow in between.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Kvaerno5().adaptive, Kvaerno5(step=0.1).adaptive
        (True, False)

    Reference:
        Kværnø (2004), BIT Numerical Mathematics 44, 489-502.
    """

    tableau: ClassVar[Tableau] = KVAERNO5
