"""Well-known systems, ready to simulate and to fit: one function each."""

from . import binary_black_hole
from .bouncing_ball import bouncing_ball
from .damped_oscillator import damped_oscillator
from .dirac_gan import dirac_gan
from .fitzhugh_nagumo import fitzhugh_nagumo
from .henon import henon
from .kepler import kepler
from .logistic_map import logistic_map
from .lorenz import lorenz
from .lotka_volterra import lotka_volterra
from .pendulum import hamiltonian_pendulum, pendulum
from .rossler import rossler
from .sir import sir
from .van_der_pol import van_der_pol

__all__ = [
    "binary_black_hole",
    "bouncing_ball",
    "damped_oscillator",
    "dirac_gan",
    "fitzhugh_nagumo",
    "hamiltonian_pendulum",
    "henon",
    "kepler",
    "logistic_map",
    "lorenz",
    "lotka_volterra",
    "pendulum",
    "rossler",
    "sir",
    "van_der_pol",
]
