"""Inspirals of comparable masses: Newton's orbit, Peters's radiation reaction, and unknown factors of both."""

from __future__ import annotations

from typing import Any

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System

from .orbits import CHI, PHI, E, P
from .waveform import amplitude_correction, quadrupole, symmetric_mass_ratio

NU = sp.Symbol("nu", real=True)
NEAR = 10
"""Separation in M at which the arguments of the learned functions are 1."""


def peters_rates(p: Any, e: Any, nu: Any) -> tuple[sp.Expr, sp.Expr]:
    r"""How a Newtonian orbit shrinks and becomes round by the quadrupole radiation that it sends out.

    .. math:: \dot p = -\frac{64 \nu}{5 p^3} (1 - e^2)^{3/2} \Big(1 + \frac{7 e^2}{8}\Big), \quad
              \dot e = -\frac{304 \nu}{15} \frac{e}{p^4} (1 - e^2)^{3/2} \Big(1 + \frac{121 e^2}{304}\Big)

    Args:
        p: Semilatus rectum in M.
        e: Eccentricity.
        nu: Symmetric mass ratio.

    Example:
        >>> peters_rates(sp.Integer(1), 0, sp.Integer(1))
        (-64/5, 0)

    Reference:
        Peters (1964), Phys. Rev. 136, B1224, eqs. 5.6 and 5.7.
    """
    common = (1 - e**2) ** sp.Rational(3, 2)
    shrinking = -sp.Rational(64, 5) * nu / p**3 * common * (1 + sp.Rational(7, 8) * e**2)
    rounding = -sp.Rational(304, 15) * nu * e / p**4 * common * (1 + sp.Rational(121, 304) * e**2)
    return shrinking, rounding


def circular_inspiral(
    mass_ratio: float = 1.0,
    p: float | Parameter = 12.0,
    phi: float | Parameter = 0.0,
    network: MLP | None = None,
    amplitude_order: float = 0,
    bound: float = 1.5,
    family: bool = False,
) -> System:
    r"""A quasi-circular inspiral whose conservative and dissipative corrections are unknown.

    .. math:: \dot\varphi = p^{-3/2} \, e^{B(F_2)}, \quad \dot p = -\frac{64 \nu}{5 p^3} \, e^{B(F_3)}, \quad
              B(F) = A \tanh\Big(\frac{10}{p} \frac{F}{A}\Big)

    with :math:`F_2, F_3` functions of :math:`\sqrt{10/p}`, and of 4ν too in a family of mass ratios. The factors
    are positive, so that the orbit always shrinks, and go to 1 far out, as the post-Newtonian series demands.

    With the bare quadrupole as the wave, p is an effective radius, :math:`p^2 \Omega^2 = |h_{22}| / (8 \sqrt{\pi/5}
    \nu)`; with `amplitude_order` it is a coordinate, see `amplitude_correction`.

    Args:
        mass_ratio: q = m₁/m₂; q and 1/q are the same binary.
        p: Initial separation in M, a number or a `Parameter` to be fitted.
        phi: Initial orbital phase, likewise.
        network: For F₂ and F₃ together; by default one hidden layer of 16.
        amplitude_order: Post-Newtonian order of the wave's amplitude: 0, 1, 1.5 or 2.
        bound: Largest logarithm A of a factor.
        family: Whether the functions depend on the mass ratio; ν is then a state that rests, so that each waveform
            of a fit can start at its own.

    Returns:
        States `phi`, `p` (in a family `nu`, too); parameter `nu`; learned functions `F2`, `F3`; observables `h22_real`,
        `h22_imag`, `Omega`,
        `factor_2`, `factor_3`.

    Example:
        >>> circular_inspiral().functions
        (F2, F3)

    Reference:
        Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101, eqs. 6 to 9; Peters (1964), eq. 5.6.
    """
    _check_start(p, 0.0, bound)
    f2, f3 = sp.symbols("F2 F3", cls=sp.Function)
    arguments = (sp.sqrt(NEAR / P), *((4 * NU,) if family else ()))
    factor2, factor3 = _factor(f2(*arguments), bound), _factor(f3(*arguments), bound)
    omega = factor2 / P ** sp.Rational(3, 2)
    nu = symmetric_mass_ratio(mass_ratio)
    system = System(
        equations={PHI: omega, P: peters_rates(P, 0, NU)[0] * factor3, **({NU: sp.S.Zero} if family else {})},
        parameters={} if family else {NU: nu},
        learned={(f2, f3): _network(network, (16,), len(arguments), 2)},
        initial={PHI: phi, P: p, **({NU: nu} if family else {})},
        observed={"Omega": omega, "factor_2": factor2, "factor_3": factor3},
    )
    return quadrupole(system, P, PHI, NU, amplitude_correction(omega, NU, amplitude_order))


def eccentric_inspiral(
    mass_ratio: float = 1.0,
    p: float | Parameter = 15.0,
    e: float | Parameter = 0.1,
    chi: float | Parameter = 0.0,
    phi: float | Parameter = 0.0,
    network: MLP | None = None,
    dissipation: MLP | None = None,
    bound: float = 1.5,
) -> System:
    r"""An eccentric inspiral with an unknown factor in each of its four equations.

    .. math:: \dot\chi = \frac{(1 + e \cos\chi)^2}{p^{3/2}} \, e^{B(F_1)}, \quad
              \dot\varphi = \frac{(1 + e \cos\chi)^2}{p^{3/2}} \, e^{B(F_2)}, \quad
              \dot p = \dot p_{Peters} \, e^{B(F_3)}, \quad \dot e = \dot e_{Peters} \, e^{B(F_4)}

    with B as in `circular_inspiral`; :math:`F_1, F_2` are functions of :math:`\sqrt{10/p}, e, e \cos\chi`, and
    :math:`F_3, F_4` of :math:`\sqrt{10/p}, e`. Initial p, e and chi can imitate each other: judge e along the way.

    Args:
        mass_ratio: q = m₁/m₂; q and 1/q are the same binary.
        p: Initial semilatus rectum in M, a number or a `Parameter` to be fitted.
        e: Initial eccentricity, from 0 to below 1, likewise.
        chi: Initial angle from the pericenter, likewise.
        phi: Initial angle in space, likewise.
        network: For F₁ and F₂ together; by default one hidden layer of 16.
        dissipation: For F₃ and F₄ together; by default one hidden layer of 8.
        bound: Largest logarithm A of a factor.

    Returns:
        States `chi`, `phi`, `p`, `e`; parameter `nu`; learned functions `F1` to `F4`; observables `r`, `h22_real`,
        `h22_imag`.

    Example:
        >>> eccentric_inspiral().functions
        (F1, F2, F3, F4)

    Reference:
        Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101, eqs. 6 to 9; Peters (1964), eqs. 5.6 and 5.7.
    """
    _check_start(p, e, bound)
    f1, f2, f3, f4 = sp.symbols("F1 F2 F3 F4", cls=sp.Function)
    near, kepler = sp.sqrt(NEAR / P), (1 + E * sp.cos(CHI)) ** 2 / P ** sp.Rational(3, 2)
    motion, slow = (near, E, E * sp.cos(CHI)), (near, E)
    shrinking, rounding = peters_rates(P, E, NU)
    system = System(
        equations={
            CHI: kepler * _factor(f1(*motion), bound),
            PHI: kepler * _factor(f2(*motion), bound),
            P: shrinking * _factor(f3(*slow), bound),
            E: rounding * _factor(f4(*slow), bound),
        },
        parameters={NU: symmetric_mass_ratio(mass_ratio)},
        learned={(f1, f2): _network(network, (16,), 3, 2), (f3, f4): _network(dissipation, (8,), 2, 2)},
        initial={CHI: chi, PHI: phi, P: p, E: e},
    )
    r = P / (1 + E * sp.cos(CHI))
    return quadrupole(system, r, PHI, NU).with_observed({"r": r})


def _factor(value: sp.Expr, bound: float) -> sp.Expr:
    return sp.exp(bound * sp.tanh(NEAR / P * value / bound))


def _network(network: MLP | None, hidden: tuple[int, ...], inputs: int, outputs: int) -> MLP:
    if network is not None:
        return network
    return MLP(hidden=hidden, decay=0.0, input_scale=(1.0,) * inputs, output_scale=(1.0,) * outputs)


def _check_start(p: float | Parameter, e: float | Parameter, bound: float) -> None:
    separation = p.value if isinstance(p, Parameter) else p
    eccentricity = e.value if isinstance(e, Parameter) else e
    if not separation > 0:
        raise ModelError(f"`p={separation}` must be a positive separation, in units of M.")
    if not 0 <= eccentricity < 1:
        raise ModelError(f"`e={eccentricity}` is not the eccentricity of an ellipse: it must be from 0 to below 1.")
    if not bound > 0:
        raise ModelError(f"`bound={bound}`, the largest logarithm of a factor, must be positive.")
