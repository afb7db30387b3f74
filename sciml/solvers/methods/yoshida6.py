"""Yoshida's composition of leapfrogs of order 6."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractSymplectic
from sciml.solvers.methods.splitting import Splitting, composed

# Solution A of the paper.
_W1, _W2, _W3 = -1.17767998417887100695, 0.23557321335935813368, 0.78451361047755726382
YOSHIDA6 = composed([_W3, _W2, _W1, 1 - 2 * (_W1 + _W2 + _W3), _W1, _W2, _W3], order=6)


@dataclass(frozen=True)
class Yoshida6(AbstractSymplectic):
    r"""Seven leapfrogs: symplectic, time-reversible, order 6, fixed step.

    The dense output is cubic: values between the ends of the steps are less accurate than the steps.

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.
        momenta: Which states are momenta, as indices along the last dimension of the state; the others are positions.
            None asks the field for `field.momenta`, which compiled Systems have.

    Example:
        >>> Yoshida6(step=0.1, momenta=(2, 3))
        Yoshida6(step=0.1, momenta=(2, 3))

    Reference:
        Yoshida (1990), Physics Letters A 150, 262-268, table 1, solution A.
    """

    tableau: ClassVar[Splitting] = YOSHIDA6
