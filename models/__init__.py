"""Well-known systems, ready to simulate and to fit: one function each."""

from . import binary_black_hole
from .bouncing_ball import bouncing_ball
from .damped_oscillator import damped_oscillator
from .kepler import kepler
from .lorenz import lorenz
from .lotka_volterra import lotka_volterra
from .pendulum import hamiltonian_pendulum, pendulum
from .sir import sir
from .van_der_pol import van_der_pol

__all__ = [
    "binary_black_hole",
    "bouncing_ball",
    "damped_oscillator",
    "hamiltonian_pendulum",
    "kepler",
    "lorenz",
    "lotka_volterra",
    "pendulum",
    "sir",
    "van_der_pol",
]
