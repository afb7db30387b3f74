"""The plane pendulum, by Newton and by Hamilton."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def pendulum(
    length: float = 1.0, gravity: float = 9.81, damping: float = 0.0, angle: float = 1.0, velocity: float = 0.0
) -> System:
    r"""A pendulum of any amplitude.

    .. math:: \dot\theta = \omega, \quad \dot\omega = -\frac{g}{l} \sin\theta - c \, \omega

    Without damping, the period is :math:`4 \sqrt{l/g} \, K(\sin^2(\theta_0/2))` with the complete elliptic integral K.

    Args:
        length: Length l, in m, positive; fitted.
        gravity: Acceleration g, in m/s², positive. Known, since only g/l shows in the motion.
        damping: Friction c, in 1/s. Zero is known to be zero; a positive value is fitted.
        angle: Initial angle θ, in rad from the lowest point.
        velocity: Initial angular velocity ω, in rad/s.

    Returns:
        States `theta`, `omega`; parameters `l`, `g`, `c`.

    Example:
        >>> pendulum()
        System(theta' = omega, omega' = -c*omega - g*sin(theta)/l)

    Reference:
        Landau and Lifshitz (1976), Mechanics, section 11, problem 1.
    """
    theta, omega, l, g, c = sp.symbols("theta omega l g c", real=True)
    return System(
        equations={theta: omega, omega: -g / l * sp.sin(theta) - c * omega},
        parameters={
            l: Parameter(length, bounds=(0, None)),
            g: gravity,
            c: Parameter(damping, bounds=(0, None), fixed=damping == 0),
        },
        initial={theta: angle, omega: velocity},
    )


def hamiltonian_pendulum(
    mass: float = 1.0, length: float = 1.0, gravity: float = 9.81, angle: float = 1.0, momentum: float = 0.0
) -> System:
    r"""A pendulum without friction in canonical coordinates.

    .. math:: H(q, p) = \frac{p^2}{2 m l^2} - m g l \cos q

    Args:
        mass: Mass m, in kg, positive; fitted.
        length: Length l, in m, positive; fitted.
        gravity: Acceleration g, in m/s², positive; known.
        angle: Initial angle q, in rad from the lowest point.
        momentum: Initial angular momentum p, in kg m²/s.

    Returns:
        States `q`, `p`; parameters `m`, `l`, `g`; observable `energy`.

    Example:
        >>> hamiltonian_pendulum()
        System(q' = p/(l**2*m), p' = -g*l*m*sin(q))

    Reference:
        Goldstein, Poole, Safko (2002), Classical Mechanics, section 8.1.
    """
    q, p, m, l, g = sp.symbols("q p m l g", real=True)
    energy = p**2 / (2 * m * l**2) - m * g * l * sp.cos(q)
    return System.from_hamiltonian(
        energy,
        {q: p},
        parameters={m: Parameter(mass, bounds=(0, None)), l: Parameter(length, bounds=(0, None)), g: gravity},
        initial={q: angle, p: momentum},
        observed={"energy": energy},
    )
