"""Dormand and Prince's method of order 5(4)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from sciml.solvers.methods.protocol import AbstractExplicit
from sciml.solvers.methods.tableau import Tableau, stacked


def _dense(b: np.ndarray) -> Float[np.ndarray, "7 4"]:
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


_A = stacked(
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
)
DOPRI5 = Tableau(
    order=5,
    a=_A,
    error=np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]),
    dense=_dense(_A[-1]),
    dense_order=4,
    error_order=5,
)


@dataclass(frozen=True)
class Dopri5(AbstractExplicit):
    r"""Dormand and Prince, order 5 with an error estimate of order 4; six evaluations per step.

    The dense output has order 4 and costs nothing.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Dopri5().adaptive, Dopri5(step=0.1).adaptive
        (True, False)

    Reference:
        Dormand, Prince (1980); Hairer, Nørsett, Wanner I, table II.5.2 and section II.6.
    """

    tableau: ClassVar[Tableau] = DOPRI5
