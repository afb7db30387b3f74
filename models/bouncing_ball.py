"""A ball that falls and bounces."""

import sympy as sp

from sciml.event import Event
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def bouncing_ball(
    gravity: float = 9.81, restitution: float = 0.8, height: float = 1.0, velocity: float = 0.0
) -> System:
    r"""A ball in free fall that the floor throws back with a fraction of its speed.

    .. math:: \dot x = v, \quad \dot v = -g; \qquad v \mapsto -e v \text{ where } x = 0

    Dropped at rest it hits the floor for the n-th time at :math:`\sqrt{2h/g} \, (1 + 2e + \dots + 2e^{n-1})`. The bounces
    accumulate at :math:`\sqrt{2h/g} \, (1 + e)/(1 - e)`, behind which it lies still and this model ends.

    Args:
        gravity: Acceleration g, positive, in length per time².
        restitution: Ratio e of the speeds after and before a bounce, between 0 and 1.
        height: Initial x, positive.
        velocity: Initial v.

    Returns:
        States `x`, `v`; parameters `g`, `e`; one event.

    Example:
        >>> bouncing_ball()
        System(x' = v, v' = -g)

    Reference:
        Goebel, Sanfelice, Teel (2009), IEEE Control Systems Magazine 29, 28-93, example 1.
    """
    x, v, g, e = sp.symbols("x v g e", real=True)
    return System(
        equations={x: v, v: -g},
        parameters={g: Parameter(gravity, bounds=(0, None)), e: Parameter(restitution, bounds=(0, 1))},
        initial={x: height, v: velocity},
        events=[Event(x, direction="falling", reset={v: -e * v})],
    )
