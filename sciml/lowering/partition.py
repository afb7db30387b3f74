"""Whether a System is separable: which states drive which."""

from __future__ import annotations

from sciml.symbolic.system import System


def momenta(system: System) -> tuple[int, ...] | None:
    """The states to treat as momenta by a splitting method, or None where the equations do not separate.

    The states fall into two groups such that the rate of each depends on the other group only: a coloring of the
    graph of dependences with two colors. The first state of each connected part is a position.

    Args:
        system: The equations.

    Returns:
        Indices of the momenta among the states.

    Example:
        >>> import sympy as sp
        >>> q, p = sp.symbols("q p", real=True)
        >>> momenta(System({q: p, p: -sp.sin(q)}))
        (1,)
        >>> momenta(System({q: p, p: -sp.sin(q) - p / 10})) is None  # friction
        True
    """
    states = list(system.states)
    linked = {x: set() for x in states}
    for x, rate in system.equations.items():
        for other in rate.free_symbols & set(states):
            linked[x].add(other)
            linked[other].add(x)
    side: dict = {}
    for first in states:
        waiting = [] if first in side else [(first, False)]
        while waiting:
            x, is_momentum = waiting.pop()
            if x in side:
                if side[x] != is_momentum:
                    return None
                continue
            side[x] = is_momentum
            waiting += [(other, not is_momentum) for other in linked[x]]
    found = tuple(i for i, x in enumerate(states) if side[x])
    return found or None
