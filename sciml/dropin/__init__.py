"""torchdiffeq's functions on this library's solvers: its users change one import."""

from sciml.dropin.adjoint import odeint_adjoint
from sciml.dropin.event import odeint_event
from sciml.dropin.odeint import odeint

__all__ = ["odeint", "odeint_adjoint", "odeint_event"]
