"""Orbits of a light body around a heavy one: Newton's, Schwarzschild's, and Newton's with unknown corrections."""

from __future__ import annotations

import math

import sympy as sp

from sciml.errors import ModelError
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

from .waveform import quadrupole

CHI, PHI, P, E = sp.symbols("chi phi p e", real=True)


def newtonian(p: float = 100.0, e: float = 0.5, chi: float = math.pi, phi: float = 0.0) -> System:
    r"""Kepler's ellipse in its angles.

    .. math:: \dot\chi = \dot\varphi = \frac{(1 + e \cos\chi)^2}{p^{3/2}}

    Args:
        p: Semilatus rectum, in units of M, positive; known.
        e: Eccentricity, from 0 to below 1; known.
        chi: Initial angle from the pericenter; π is the apocenter.
        phi: Initial angle in space.

    Returns:
        States `chi`, `phi`; parameters `p`, `e`; observables `r`, `h22_real`, `h22_imag` per ν.

    Example:
        >>> newtonian().equations[CHI]
        (e*cos(chi) + 1)**2/p**(3/2)

    Reference:
        Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101, eq. 3.
    """
    rate = _kepler_rate()
    return _orbit({CHI: rate, PHI: rate}, p, e, chi, phi)


def schwarzschild(p: float = 100.0, e: float = 0.5, chi: float = math.pi, phi: float = 0.0) -> System:
    r"""The geodesic of a light body around a black hole, in Schwarzschild time.

    .. math:: \dot\varphi = \frac{N}{p^{3/2}}, \quad \dot\chi = \frac{N}{p^2} \sqrt{p - 6 - 2 e \cos\chi}, \quad
              N = \frac{(p - 2 - 2 e \cos\chi) (1 + e \cos\chi)^2}{\sqrt{(p - 2)^2 - 4 e^2}}

    From pericenter to pericenter, phi advances by
    :math:`4 \sqrt{p/(p - 6 + 2e)} \, K\big(4e/(p - 6 + 2e)\big)`, 2π and the precession.

    Args:
        p: Semilatus rectum, in units of M, above 6 + 2e; known.
        e: Eccentricity, from 0 to below 1; known.
        chi: Initial angle from the pericenter; π is the apocenter.
        phi: Initial angle in space.

    Returns:
        As `newtonian`.

    Raises:
        ModelError: The orbit is not bound, or falls into the hole (p ≤ 6 + 2e).

    Example:
        >>> schwarzschild(p=100.0, e=0.5).parameters[P].value
        100.0

    Reference:
        Cutler, Kennefick, Poisson (1994), Phys. Rev. D 50, 3816, eqs. 2.3 to 2.8.
    """
    if not p > 6 + 2 * e:
        raise ModelError(f"`p={p}` with `e={e}` falls into the hole: a bound orbit needs p > 6 + 2e = {6 + 2 * e:g}.")
    c = sp.cos(CHI)
    n = (P - 2 - 2 * E * c) * (1 + E * c) ** 2 / sp.sqrt((P - 2) ** 2 - 4 * E**2)
    equations = {CHI: n * sp.sqrt(P - 6 - 2 * E * c) / P**2, PHI: n / P ** sp.Rational(3, 2)}
    return _orbit(equations, p, e, chi, phi)


def hybrid_orbit(
    p: float = 100.0, e: float = 0.5, chi: float = math.pi, phi: float = 0.0, network: MLP | None = None
) -> System:
    r"""Newton's orbit with unknown factors, to be learned from the wave.

    .. math:: \dot\chi = \frac{(1 + e \cos\chi)^2}{p^{3/2}} \big(1 + F_1(\cos\chi)\big), \quad
              \dot\varphi = \frac{(1 + e \cos\chi)^2}{p^{3/2}} \big(1 + F_2(\cos\chi)\big)

    In Schwarzschild's geometry, :math:`1 + F_2 = (p - 2 - 2 e c)/\sqrt{(p - 2)^2 - 4 e^2}` and
    :math:`1 + F_1 = (1 + F_2) \sqrt{1 - (6 + 2 e c)/p}` with :math:`c = \cos\chi`; see `schwarzschild`.

    Args:
        p: Semilatus rectum, in units of M; known.
        e: Eccentricity; known.
        chi: Initial angle from the pericenter.
        phi: Initial angle in space.
        network: For F₁ and F₂ together; by default 32-32 cosines.

    Returns:
        As `newtonian`, with the learned functions `F1` and `F2`.

    Example:
        >>> hybrid_orbit().functions
        (F1, F2)

    Reference:
        Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101, eqs. 4 and 5.
    """
    f1, f2 = sp.symbols("F1 F2", cls=sp.Function)
    rate, c = _kepler_rate(), sp.cos(CHI)
    if network is None:
        # Corrections are of the order of M/r: a start much larger than that is turns away from the data.
        network = MLP((32, 32), "cos", decay=0.0, input_scale=(1.0,), output_scale=(3 / p, 3 / p))
    return _orbit({CHI: rate * (1 + f1(c)), PHI: rate * (1 + f2(c))}, p, e, chi, phi, {(f1, f2): network})


def _kepler_rate() -> sp.Expr:
    return (1 + E * sp.cos(CHI)) ** 2 / P ** sp.Rational(3, 2)


def _orbit(equations, p, e, chi, phi, learned=None) -> System:
    if not (p > 0 and 0 <= e < 1):
        raise ModelError(f"`p={p}`, `e={e}` is no ellipse: p must be positive, and e from 0 to below 1.")
    system = System(equations, parameters={P: p, E: e}, learned=learned or {}, initial={CHI: chi, PHI: phi})
    r = P / (1 + E * sp.cos(CHI))
    return quadrupole(system, r, PHI, nu=1).with_observed({"r": r})
