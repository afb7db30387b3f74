"""Deterministic chaos in a map of the plane."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def henon(fold: float = 1.4, contraction: float = 0.3, initial: tuple[float, float] = (0.1, 0.1)) -> System:
    r"""Stretch, fold and contract the plane; chaotic at the default values.

    .. math:: x \mapsto 1 - a x^2 + y, \quad y \mapsto b x

    Every step shrinks areas by the factor b, so the Lyapunov exponents add up to log b.

    Args:
        fold: Strength a of the fold.
        contraction: Factor b by which areas shrink, between -1 and 1.
        initial: First x and y.

    Returns:
        A map with states `x`, `y`; parameters `a`, `b`.

    Example:
        >>> henon()
        System(x -> -a*x**2 + y + 1, y -> b*x)

    Reference:
        Hénon (1976), Communications in Mathematical Physics 50, 69-77, eq. 4.
    """
    x, y, a, b = sp.symbols("x y a b", real=True)
    return System(
        equations={x: 1 - a * x**2 + y, y: b * x},
        parameters={a: Parameter(fold, bounds=(0, None)), b: Parameter(contraction, bounds=(-1, 1))},
        initial=dict(zip((x, y), initial, strict=True)),
        discrete=True,
    )
