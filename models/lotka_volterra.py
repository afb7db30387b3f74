"""Predators and prey."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def lotka_volterra(
    birth: float = 1.5,
    predation: float = 1.0,
    death: float = 3.0,
    growth: float = 1.0,
    prey: float = 1.0,
    predator: float = 1.0,
) -> System:
    r"""Predators and their prey, in closed cycles around the equilibrium.

    .. math:: \dot x = \alpha x - \beta x y, \quad \dot y = \delta x y - \gamma y

    The quantity :math:`\delta x - \gamma \log x + \beta y - \alpha \log y` is conserved.

    Args:
        birth: Growth rate α of prey without predators, 1/time, positive.
        predation: Rate β at which one predator removes prey, 1/(time · predators), positive.
        death: Death rate γ of predators without prey, 1/time, positive.
        growth: Rate δ at which one unit of prey breeds predators, 1/(time · prey), positive.
        prey: Initial amount of prey x, positive.
        predator: Initial amount of predators y, positive.

    Returns:
        States `x`, `y`; parameters `alpha`, `beta`, `gamma`, `delta`.

    Example:
        >>> lotka_volterra()
        System(x' = alpha*x - beta*x*y, y' = delta*x*y - gamma*y)

    Reference:
        Lotka (1925), Elements of Physical Biology, chapter 8; Volterra (1926), Nature 118, 558-560.
    """
    x, y, alpha, beta, gamma, delta = sp.symbols("x y alpha beta gamma delta", real=True)
    return System(
        equations={x: alpha * x - beta * x * y, y: delta * x * y - gamma * y},
        parameters={
            alpha: Parameter(birth, bounds=(0, None)),
            beta: Parameter(predation, bounds=(0, None)),
            gamma: Parameter(death, bounds=(0, None)),
            delta: Parameter(growth, bounds=(0, None)),
        },
        initial={x: prey, y: predator},
    )
