"""An oscillator that feeds itself."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def van_der_pol(damping: float = 1.0, position: float = 2.0, velocity: float = 0.0) -> System:
    r"""An oscillator with negative friction at small amplitudes: every motion ends on one limit cycle.

    .. math:: \dot x = v, \quad \dot v = \mu (1 - x^2) v - x

    The cycle has amplitude near 2. Its period is :math:`2\pi (1 + \mu^2/16 + \dots)` for small and about
    :math:`(3 - 2 \log 2) \mu` for large μ, where the equations are stiff.

    Args:
        damping: Strength μ of the self-excitation, positive, no dimension.
        position: Initial x.
        velocity: Initial v.

    Returns:
        States `x`, `v`; parameter `mu`.

    Example:
        >>> van_der_pol()
        System(x' = v, v' = mu*v*(1 - x**2) - x)

    Reference:
        Van der Pol (1926), Philosophical Magazine 2, 978-992, eq. 4.
    """
    x, v, mu = sp.symbols("x v mu", real=True)
    return System(
        equations={x: v, v: mu * (1 - x**2) * v - x},
        parameters={mu: Parameter(damping, bounds=(0, None))},
        initial={x: position, v: velocity},
    )
