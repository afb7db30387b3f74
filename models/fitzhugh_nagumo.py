"""A nerve cell that fires."""

import sympy as sp

from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


def fitzhugh_nagumo(
    threshold: float = 0.7,
    damping: float = 0.8,
    slowness: float = 12.5,
    current: float = 0.5,
    voltage: float = -1.0,
    recovery: float = 1.0,
) -> System:
    r"""A nerve cell: a fast voltage that excites itself, and a slow recovery that calls it back.

    .. math:: \dot v = v - v^3/3 - w + I, \quad \dot w = (v + a - b w) / \tau

    Between two currents, about 0.33 and 1.42 with the default values, the cell fires again and again; outside of them
    it comes to rest. Where the voltage alone is measured, :math:`a` and :math:`I` are seen only as :math:`a - b I`:
    the current is therefore a known number here.

    Args:
        threshold: Offset a of the recovery, no dimension.
        damping: Decay b of the recovery, positive, no dimension.
        slowness: Ratio τ of the two time scales, positive.
        current: Stimulus I, known.
        voltage: Initial v.
        recovery: Initial w.

    Returns:
        States `v`, `w`; parameters `a`, `b`, `tau`, and `I`, which is fixed.

    Example:
        >>> fitzhugh_nagumo()
        System(v' = I - v**3/3 + v - w, w' = (a - b*w + v)/tau)

    Reference:
        FitzHugh (1961), Biophysical Journal 1, 445-466, eqs. 1-2; Nagumo, Arimoto, Yoshizawa (1962), Proc. IRE 50.
    """
    v, w, a, b, tau, stimulus = sp.symbols("v w a b tau I", real=True)
    return System(
        equations={v: v - v**3 / 3 - w + stimulus, w: (v + a - b * w) / tau},
        parameters={
            a: Parameter(threshold),
            b: Parameter(damping, bounds=(0, None)),
            tau: Parameter(slowness, bounds=(0, None)),
            stimulus: current,
        },
        initial={v: voltage, w: recovery},
    )
