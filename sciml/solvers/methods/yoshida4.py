"""Yoshida's composition of leapfrogs of order 4."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractSymplectic
from sciml.solvers.methods.splitting import Splitting, composed

_W1 = 1 / (2 - 2 ** (1 / 3))
YOSHIDA4 = composed([_W1, 1 - 2 * _W1, _W1], order=4)


@dataclass(frozen=True)
class Yoshida4(AbstractSymplectic):
    r"""Three leapfrogs of lengths :math:`w_1, w_0, w_1`: symplectic, time-reversible, order 4, fixed step.

    .. math:: w_1 = \frac{1}{2 - 2^{1/3}}, \quad w_0 = 1 - 2 w_1

    The dense output is cubic: values between the ends of the steps are less accurate than the steps.

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.
        momenta: Which states are momenta, as indices along the last dimension of the state; the others are positions.
            None asks the field for `field.momenta`, which compiled Systems have.

    Example:
        >>> Yoshida4(step=0.1, momenta=(2, 3))
        Yoshida4(step=0.1, momenta=(2, 3))

    Reference:
        Yoshida (1990), Physics Letters A 150, 262-268, eq. 2.11.
    """

    tableau: ClassVar[Splitting] = YOSHIDA4
