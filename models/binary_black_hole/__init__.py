r"""Two black holes that spiral together, and the gravitational wave by which they are seen.

Units G = c = 1 and total mass M = 1. The orbit has semilatus rectum p, eccentricity e, and the angles chi (from the
pericenter, along the orbit) and phi (in space): :math:`r = p / (1 + e \cos\chi)`, :math:`x = r \cos\varphi`,
:math:`y = r \sin\varphi`.

- `newtonian`, `schwarzschild`: a light body around a heavy one, the orbit known.
- `hybrid_orbit`: Newton's orbit with two unknown functions of the angle.
- `circular_inspiral`, `eccentric_inspiral`: comparable masses, Newton's orbit and the radiation reaction of Peters,
  each with an unknown factor.
- `taylor_t4`: the post-Newtonian inspiral, for comparison.

Each observes `h22_real` and `h22_imag`, the (2, 2) mode of the wave, whose second time derivative is taken exactly
along the equations; see `quadrupole`.

Example:
    >>> import sympy as sp
    >>> from sciml.models import binary_black_hole
    >>> binary_black_hole.newtonian(p=20.0).equations[sp.Symbol("phi", real=True)]
    (e*cos(chi) + 1)**2/p**(3/2)

Reference:
    Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101.
"""

from .inspirals import circular_inspiral, eccentric_inspiral, peters_rates
from .orbits import hybrid_orbit, newtonian, schwarzschild
from .post_newtonian import taylor_t4
from .waveform import amplitude_correction, quadrupole, symmetric_mass_ratio, two_bodies

__all__ = [
    "amplitude_correction",
    "circular_inspiral",
    "eccentric_inspiral",
    "hybrid_orbit",
    "newtonian",
    "peters_rates",
    "quadrupole",
    "schwarzschild",
    "symmetric_mass_ratio",
    "taylor_t4",
    "two_bodies",
]
