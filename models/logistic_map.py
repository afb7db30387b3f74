"""The road to chaos by doubled periods, in one line."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def logistic_map(growth: float = 3.9, start: float = 0.4) -> System:
    r"""A population that breeds once a year and runs short of food.

    .. math:: x \mapsto r x (1 - x)

    The fixed point 1 - 1/r is stable for 1 < r < 3; at 3 and 1 + √6 the period doubles, and chaos begins near 3.5699.
    At r = 4 the Lyapunov exponent is log 2.

    Args:
        growth: Factor r of growth from year to year while food is plenty, between 0 and 4.
        start: First x, as a fraction of the largest population, between 0 and 1.

    Returns:
        A map with state `x` and parameter `r`.

    Example:
        >>> logistic_map()
        System(x -> r*x*(1 - x))

    Reference:
        May (1976), Nature 261, 459-467, eq. 3.
    """
    x, r = sp.symbols("x r", real=True)
    return System({x: r * x * (1 - x)}, parameters={r: Parameter(growth)}, initial={x: start}, discrete=True)
