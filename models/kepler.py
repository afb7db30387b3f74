"""Two bodies under gravity."""

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def kepler(eccentricity: float = 0.5, strength: float = 1.0, axis: float = 1.0) -> System:
    r"""The relative motion of two bodies in its plane, started at the pericenter of an ellipse.

    .. math:: H(x, y, p_x, p_y) = \tfrac12 (p_x^2 + p_y^2) - \frac{\mu}{\sqrt{x^2 + y^2}}

    .. math:: x = a (1 - e), \quad y = 0, \quad p_x = 0, \quad p_y = \sqrt{\frac{\mu}{a} \frac{1 + e}{1 - e}}
              \quad \text{at the start}

    The period is :math:`2\pi \sqrt{a^3/\mu}`; energy, angular momentum and the direction of the pericenter stay.

    Args:
        eccentricity: Eccentricity e of the ellipse, from 0 (circle) to below 1.
        strength: Gravitational parameter μ = G (m₁ + m₂), in length³/time², positive; fitted. The initial momentum
            follows it, so that the ellipse keeps its shape.
        axis: Semi-major axis a, in the unit of length, positive.

    Returns:
        States `x`, `y`, `p_x`, `p_y` (momenta per reduced mass, that is, velocities); parameter `mu`; observables
        `energy` and `angular_momentum`, per reduced mass.

    Raises:
        ModelError: The eccentricity is not one of an ellipse, or the axis is not positive.

    Example:
        >>> kepler().equations[sp.Symbol("p_x", real=True)]
        -mu*x/(x**2 + y**2)**(3/2)

    Reference:
        Goldstein, Poole, Safko (2002), Classical Mechanics, eqs. 3.51, 3.64 and 3.71.
    """
    if not 0 <= eccentricity < 1:
        raise ModelError(f"`eccentricity={eccentricity}` is not one of an ellipse: it must be from 0 to below 1.")
    if not axis > 0:
        raise ModelError(f"`axis={axis}` must be a positive length.")
    x, y, p_x, p_y, mu = sp.symbols("x y p_x p_y mu", real=True)
    energy = (p_x**2 + p_y**2) / 2 - mu / sp.sqrt(x**2 + y**2)
    ratio = (1 + eccentricity) / (axis * (1 - eccentricity))
    return System.from_hamiltonian(
        energy,
        {x: p_x, y: p_y},
        parameters={mu: Parameter(strength, bounds=(0, None))},
        initial={x: axis * (1 - eccentricity), y: 0, p_x: 0, p_y: sp.sqrt(mu * ratio)},
        observed={"energy": energy, "angular_momentum": x * p_y - y * p_x},
    )
