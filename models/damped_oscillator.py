"""A mass on a spring with friction."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def damped_oscillator(
    frequency: float = 2.0, damping: float = 0.1, position: float = 1.0, velocity: float = 0.0
) -> System:
    r"""A linear oscillator; its exact solution makes it a good first test.

    .. math:: \dot x = v, \quad \dot v = -\omega^2 x - 2 \zeta \omega v

    For ζ < 1 the motion is :math:`e^{-\zeta\omega t}` times a sine of frequency :math:`\omega \sqrt{1 - \zeta^2}`.

    Args:
        frequency: Angular frequency ω without damping, in rad/time, positive.
        damping: Damping ratio ζ, positive, no dimension; critical at 1.
        position: Initial x.
        velocity: Initial v.

    Returns:
        States `x`, `v`; parameters `omega`, `zeta`.

    Example:
        >>> damped_oscillator()
        System(x' = v, v' = -omega**2*x - 2*omega*v*zeta)

    Reference:
        Landau and Lifshitz (1976), Mechanics, section 25, eqs. 25.3-25.4.
    """
    x, v, omega, zeta = sp.symbols("x v omega zeta", real=True)
    return System(
        equations={x: v, v: -(omega**2) * x - 2 * zeta * omega * v},
        parameters={omega: Parameter(frequency, bounds=(0, None)), zeta: Parameter(damping, bounds=(0, None))},
        initial={x: position, v: velocity},
    )
