"""The leapfrog, or Störmer-Verlet method, for separable Hamiltonian systems."""

from dataclasses import dataclass
from typing import ClassVar

from sciml.solvers.methods.protocol import AbstractSymplectic
from sciml.solvers.methods.splitting import Splitting, composed

LEAPFROG = composed([1.0], order=2)


@dataclass(frozen=True)
class Leapfrog(AbstractSymplectic):
    r"""Kick, drift, kick: symplectic, time-reversible, order 2, fixed step.

    .. math:: p_{1/2} = p_0 + \tfrac{h}{2} F(q_0), \quad q_1 = q_0 + h V(p_{1/2}), \quad
              p_1 = p_{1/2} + \tfrac{h}{2} F(q_1)

    Args:
        step: Length of the longest step; equal steps lead from each output time to the next.
        momenta: Which states are momenta, as indices along the last dimension of the state; the others are positions.
            None asks the field for `field.momenta`, which compiled Systems have.

    Example:
        >>> import torch
        >>> from sciml.solvers import solve
        >>> y0, ts = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1000.0])
        >>> oscillator = lambda t, y: torch.stack([y[1], -y[0]])
        >>> ys = solve(oscillator, y0.double(), ts, solver=Leapfrog(step=0.1, momenta=(1,))).ys
        >>> round(float(ys[-1].square().sum() / 2), 3)  # the energy, after 160 periods
        0.499

    Reference:
        Hairer, Lubich, Wanner (2003), Acta Numerica 12, 399-450.
    """

    tableau: ClassVar[Splitting] = LEAPFROG
