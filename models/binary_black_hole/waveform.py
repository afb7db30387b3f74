"""The gravitational wave of an orbit: the (2, 2) mode as expressions of the orbit's states."""

from __future__ import annotations

from typing import Any

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.system import System

ORDERS = (0, 1, 1.5, 2)


def symmetric_mass_ratio(mass_ratio: float) -> float:
    r"""The symmetric mass ratio :math:`\nu = q / (1 + q)^2`, the same for q and 1/q; 1/4 for equal masses.

    Args:
        mass_ratio: q = m₁/m₂, positive; which of the two is heavier makes no difference.

    Example:
        >>> symmetric_mass_ratio(1.0)
        0.25
    """
    if not mass_ratio > 0:
        raise ModelError(f"`mass_ratio={mass_ratio}` must be a positive number: q = m₁/m₂.")
    return mass_ratio / (1 + mass_ratio) ** 2


def quadrupole(system: System, r: sp.Expr, phi: sp.Expr, nu: Any, correction: Any = 1) -> System:
    r"""The system with the (2, 2) mode of the quadrupole formula as observables.

    .. math:: h_{22} = 2 \sqrt{\pi/5} \; \nu \, \frac{d^2}{dt^2} \big( r^2 e^{-2 i \varphi} \big)

    from :math:`h_{ij} = 2 \ddot I_{ij}`, :math:`I_{ij} = \sum_A m_A (x_i x_j - \delta_{ij} r^2/3)`; the derivatives
    are taken along the equations (`System.time_derivative`), learned functions included.

    Args:
        system: Equations of the orbit.
        r: Separation of the two bodies in units of M, an expression of states.
        phi: Angle of their separation in space.
        nu: Symmetric mass ratio, number or expression.
        correction: Factor of the amplitude, such as that of `amplitude_correction`.

    Returns:
        The system with `h22_real` and `h22_imag`, r h₂₂/M at the observer.

    Example:
        >>> from sciml.models import binary_black_hole
        >>> sorted(map(str, binary_black_hole.newtonian().observed))
        ['h22_imag', 'h22_real', 'r']

    Reference:
        Misner, Thorne, Wheeler (1973), Gravitation, eq. 36.45a; Kidder (2008), Phys. Rev. D 77, 044016, eq. 76.
    """
    size = 2 * sp.sqrt(sp.pi / 5) * nu * correction
    return system.with_observed(
        {
            "h22_real": size * system.time_derivative(r**2 * sp.cos(2 * phi), order=2),
            "h22_imag": -size * system.time_derivative(r**2 * sp.sin(2 * phi), order=2),
        }
    )


def amplitude_correction(frequency: sp.Expr, nu: Any, order: float = 2) -> sp.Expr:
    r"""What post-Newtonian theory makes of the quadrupole formula's amplitude on a circular orbit.

    .. math:: \frac{|h_{22}|}{8 \sqrt{\pi/5} \, \nu \, r^2 \Omega^2}
              = \frac{1 + (-\frac{107}{42} + \frac{55 \nu}{42}) x + 2\pi x^{3/2}
                      + (-\frac{2173}{1512} - \frac{1069 \nu}{216} + \frac{2047 \nu^2}{1512}) x^2}{
                      \big(1 + \frac{\nu}{3} x + \frac{\nu (4\nu - 45)}{36} x^2\big)^2},
              \quad x = \Omega^{2/3}

    The numerator is the amplitude in terms of the frequency, the denominator turns the separation into that of
    effective-one-body coordinates (Schwarzschild's for a light body). With it, the r of a fitted orbit is that
    coordinate; without, it is an effective radius, 3 to 4 % smaller.

    Args:
        frequency: Orbital frequency Ω in 1/M, an expression.
        nu: Symmetric mass ratio.
        order: Highest post-Newtonian order kept: 0 (no correction), 1, 1.5 (with tails) or 2.

    Raises:
        ModelError: There is no such order.

    Example:
        >>> round(float(amplitude_correction(sp.Float(0.02), 0.25, order=2)), 3)
        0.94

    Reference:
        Kidder (2008), Phys. Rev. D 77, 044016, eq. 79; Buonanno and Damour (1999), Phys. Rev. D 59, 084006.
    """
    x = frequency ** sp.Rational(2, 3)
    separation = {1: nu * x / 3, 2: nu * (4 * nu - 45) * x**2 / 36}
    return circular_amplitude(x, nu, order) / (1 + sum(term for at, term in separation.items() if at <= order)) ** 2


def circular_amplitude(x: sp.Expr, nu: Any, order: float = 2) -> sp.Expr:
    r"""The series :math:`|h_{22}| / (8 \sqrt{\pi/5} \, \nu x)` in :math:`x = \Omega^{2/3}`; arguments as above."""
    if order not in ORDERS:
        raise ModelError(f"`order={order}` of the amplitude is not known: give one of {', '.join(map(str, ORDERS))}.")
    number = sp.Rational
    terms = {
        1: (-number(107, 42) + number(55, 42) * nu) * x,
        1.5: 2 * sp.pi * x ** number(3, 2),
        2: (-number(2173, 1512) - number(1069, 216) * nu + number(2047, 1512) * nu**2) * x**2,
    }
    return 1 + sum(term for at, term in terms.items() if at <= order)


def two_bodies(x: Any, y: Any, mass_ratio: float) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    r"""Where the two bodies are in the frame of their center of mass.

    .. math:: \mathbf r_1 = m_2 \mathbf r, \quad \mathbf r_2 = -m_1 \mathbf r, \quad m_1 = \frac{q}{1 + q}

    Args:
        x, y: The separation, two numbers, arrays or expressions.
        mass_ratio: q = m₁/m₂.

    Returns:
        ((x₁, y₁), (x₂, y₂)), of the type of `x`.

    Example:
        >>> two_bodies(1.0, 0.0, mass_ratio=3.0)[0]
        (0.25, 0.0)
    """
    symmetric_mass_ratio(mass_ratio)
    first, second = mass_ratio / (1 + mass_ratio), 1 / (1 + mass_ratio)
    return (second * x, second * y), (-first * x, -first * y)
