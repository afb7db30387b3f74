"""Deterministic chaos in three equations."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def lorenz(
    prandtl: float = 10.0,
    rayleigh: float = 28.0,
    aspect: float = 8.0 / 3.0,
    initial: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> System:
    r"""Convection between a warm floor and a cold ceiling, cut down to three modes; chaotic at the default values.

    .. math:: \dot x = \sigma (y - x), \quad \dot y = x (\rho - z) - y, \quad \dot z = x y - \beta z

    For ρ > 1 the points :math:`(\pm\sqrt{\beta(\rho-1)}, \pm\sqrt{\beta(\rho-1)}, \rho - 1)` are at rest.

    Args:
        prandtl: Prandtl number σ, positive.
        rayleigh: Rayleigh number ρ in units of its critical value, positive; chaos begins near 24.74.
        aspect: Geometric factor β of the convection rolls, positive.
        initial: Initial values of x (circulation), y (horizontal) and z (vertical temperature difference).

    Returns:
        States `x`, `y`, `z`; parameters `sigma`, `rho`, `beta`. All quantities have no dimension.

    Example:
        >>> lorenz()
        System(x' = sigma*(-x + y), y' = x*(rho - z) - y, z' = -beta*z + x*y)

    Reference:
        Lorenz (1963), Journal of the Atmospheric Sciences 20, 130-141, eqs. 25-27.
    """
    x, y, z, sigma, rho, beta = sp.symbols("x y z sigma rho beta", real=True)
    return System(
        equations={x: sigma * (y - x), y: x * (rho - z) - y, z: x * y - beta * z},
        parameters={
            sigma: Parameter(prandtl, bounds=(0, None)),
            rho: Parameter(rayleigh, bounds=(0, None)),
            beta: Parameter(aspect, bounds=(0, None)),
        },
        initial=dict(zip((x, y, z), initial, strict=True)),
    )
