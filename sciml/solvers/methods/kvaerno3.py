"""Kværnø's L-stable method of order 3(2), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sciml.solvers.methods.protocol import AbstractImplicit
from sciml.solvers.methods.tableau import Tableau, hermite_dense, stacked

# The root of g^3 - 3 g^2 + 3/2 g - 1/6 between 0.4 and 0.5, which makes the step L-stable.
_G = 0.43586652150845899942
_A = stacked(
    [_G],
    [(-4 * _G**2 + 6 * _G - 1) / (4 * _G), (1 - 2 * _G) / (4 * _G)],
    [(6 * _G - 1) / (12 * _G), -1 / ((24 * _G - 12) * _G), (-6 * _G**2 + 6 * _G - 1) / (6 * _G - 3)],
) + np.diag([0.0, _G, _G, _G])
KVAERNO3 = Tableau(
    order=3,
    a=_A,
    # The stage before the last is a solution of order 2.
    error=_A[-1] - _A[-2],
    dense=hermite_dense(_A),
    dense_order=3,
    error_order=3,
)


@dataclass(frozen=True)
class Kvaerno3(AbstractImplicit):
    r"""Kværnø, order 3 with an error estimate of order 2; three implicit stages per step. For stiff systems.

    The step and the solution that it is compared with are both stiffly accurate, and the step is L-stable. For loose
    tolerances; below about 1e-5 `Kvaerno5` takes fewer evaluations. The dense output is cubic; where
    a stiff equation forces the state along a path, steps may grow longer than a polynomial can follow in between.

    Args:
        step: None for steps chosen by the error (the default), or the length of the longest of equal steps from each
            output time to the next.

    Example:
        >>> Kvaerno3().adaptive, Kvaerno3(step=0.1).adaptive
        (True, False)

    Reference:
        Kværnø (2004), BIT Numerical Mathematics 44, 489-502.
    """

    tableau: ClassVar[Tableau] = KVAERNO3
