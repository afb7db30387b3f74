"""An epidemic."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def sir(
    transmission: float = 0.4,
    recovery: float = 0.1,
    susceptible: float = 0.99,
    infected: float = 0.01,
    recovered: float = 0.0,
) -> System:
    r"""An epidemic in a closed population, whose sum S + I + R stays as it is.

    .. math:: \dot S = -\beta S I / N, \quad \dot I = \beta S I / N - \gamma I, \quad \dot R = \gamma I, \quad N = S + I + R

    The number of infections grows while :math:`\beta S / (\gamma N) > 1`.

    Args:
        transmission: Contacts per person and time that infect, β, in 1/time, positive.
        recovery: Rate γ of recovery, in 1/time, positive; the mean duration of an infection is 1/γ.
        susceptible: Initial susceptible, in persons or as a fraction.
        infected: Initial infected, in the same unit.
        recovered: Initial recovered, in the same unit.

    Returns:
        States `S`, `I`, `R`; parameters `beta`, `gamma`.

    Example:
        >>> sir()
        System(S' = -I*S*beta/(I + R + S), I' = I*S*beta/(I + R + S) - I*gamma, R' = I*gamma)

    Reference:
        Kermack and McKendrick (1927), Proceedings of the Royal Society A 115, 700-721, eq. 29.
    """
    S, I, R, beta, gamma = sp.symbols("S I R beta gamma", real=True)
    infections = beta * S * I / (S + I + R)
    return System(
        equations={S: -infections, I: infections - gamma * I, R: gamma * I},
        parameters={
            beta: Parameter(transmission, bounds=(0, None)),
            gamma: Parameter(recovery, bounds=(0, None)),
        },
        initial={S: susceptible, I: infected, R: recovered},
    )
