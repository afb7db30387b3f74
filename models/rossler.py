"""Deterministic chaos with a single fold."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def rossler(
    growth: float = 0.2,
    inflow: float = 0.2,
    threshold: float = 5.7,
    initial: tuple[float, float, float] = (1.0, 1.0, 0.0),
) -> System:
    r"""A spiral that grows in a plane until it is lifted out and folded back; chaotic at the default values.

    .. math:: \dot x = -y - z, \quad \dot y = x + a y, \quad \dot z = b + z (x - c)

    Args:
        growth: Rate a at which the spiral grows.
        inflow: Constant b.
        threshold: Value c of x beyond which z grows.
        initial: Initial x, y and z.

    Returns:
        States `x`, `y`, `z`; parameters `a`, `b`, `c`. All quantities have no dimension.

    Example:
        >>> rossler()
        System(x' = -y - z, y' = a*y + x, z' = b + z*(-c + x))

    Reference:
        Rössler (1976), Physics Letters A 57, 397-398, eq. 2.
    """
    x, y, z, a, b, c = sp.symbols("x y z a b c", real=True)
    return System(
        equations={x: -y - z, y: x + a * y, z: b + z * (x - c)},
        parameters={a: Parameter(growth), b: Parameter(inflow), c: Parameter(threshold)},
        initial=dict(zip((x, y, z), initial, strict=True)),
    )
