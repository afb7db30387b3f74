"""Post-Newtonian inspirals, known in closed form: what a learned one is compared with."""

from __future__ import annotations

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.system import System

from .waveform import circular_amplitude, symmetric_mass_ratio


def taylor_t4(mass_ratio: float = 1.0, frequency: float = 0.02, phi: float = 0.0, order: float = 3.5) -> System:
    r"""The quasi-circular inspiral TaylorT4 of non-spinning bodies.

    .. math:: \dot\varphi = x^{3/2}, \quad \dot x = \frac{64 \nu}{5} x^5 \Big(1 + \sum_k a_k x^k\Big)

    with the coefficients up to order 3.5 in x = Ω^{2/3}, of which that of order 3 holds a logarithm.

    Args:
        mass_ratio: q = m₁/m₂; q and 1/q are the same binary.
        frequency: Orbital frequency Ω at the start, in 1/M.
        phi: Initial orbital phase.
        order: Highest order kept: 0, 1, 1.5, 2, 2.5, 3 or 3.5.

    Returns:
        States `phi`, `x`; parameter `nu`; observables `Omega` and, with the amplitude to second order,
        `h22_real` and `h22_imag`.

    Raises:
        ModelError: There is no such order.

    Example:
        >>> taylor_t4(order=0).equations[sp.Symbol("x", real=True)]
        64*nu*x**5/5

    Reference:
        Boyle et al. (2007), Phys. Rev. D 76, 124038, eqs. 43 and 45; Blanchet (2014), Living Rev. Relativity 17, eq. 314.
    """
    known = (0, 1, 1.5, 2, 2.5, 3, 3.5)
    if order not in known:
        raise ModelError(f"`order={order}` of TaylorT4 is not known: give one of {', '.join(map(str, known))}.")
    phi_, x, nu = sp.symbols("phi x nu", real=True)
    number, pi = sp.Rational, sp.pi
    terms = {
        1: -(number(743, 336) + number(11, 4) * nu) * x,
        1.5: 4 * pi * x ** number(3, 2),
        2: (number(34103, 18144) + number(13661, 2016) * nu + number(59, 18) * nu**2) * x**2,
        2.5: -pi * (number(4159, 672) + number(189, 8) * nu) * x ** number(5, 2),
        3: (
            number(16447322263, 139708800)
            - number(1712, 105) * sp.EulerGamma
            + number(16, 3) * pi**2
            - number(856, 105) * sp.log(16 * x)
            + (number(451, 48) * pi**2 - number(56198689, 217728)) * nu
            + number(541, 896) * nu**2
            - number(5605, 2592) * nu**3
        )
        * x**3,
        3.5: pi * (-number(4415, 4032) + number(358675, 6048) * nu + number(91495, 1512) * nu**2) * x ** number(7, 2),
    }
    rate = number(64, 5) * nu * x**5 * (1 + sum(term for at, term in terms.items() if at <= order))
    omega = x ** number(3, 2)
    size = -8 * sp.sqrt(pi / 5) * nu * x * circular_amplitude(x, nu)
    return System(
        equations={phi_: omega, x: rate},
        parameters={nu: symmetric_mass_ratio(mass_ratio)},
        initial={phi_: phi, x: frequency ** (2 / 3)},
        observed={"Omega": omega, "h22_real": size * sp.cos(2 * phi_), "h22_imag": -size * sp.sin(2 * phi_)},
    )
