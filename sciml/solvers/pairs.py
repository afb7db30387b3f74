"""Complex states as pairs of real numbers: every method and every gradient then works on real numbers."""

from dataclasses import replace

import torch
from torch import Tensor

from sciml.errors import ModelError
from sciml.solvers.checks import CheckedField
from sciml.solvers.methods.protocol import AbstractSolver, AbstractSymplectic
from sciml.solvers.record import March


def to_pairs(z: Tensor) -> Tensor:
    """Real and imaginary parts side by side in the last dimension.

    Example:
        >>> to_pairs(torch.tensor([1 + 2j, 3j])).tolist()
        [1.0, 2.0, 0.0, 3.0]
    """
    return torch.view_as_real(z).flatten(-2)


def from_pairs(x: Tensor) -> Tensor:
    """The complex numbers again.

    Example:
        >>> from_pairs(torch.tensor([1.0, 2.0, 0.0, 3.0])).tolist()
        [(1+2j), 3j]
    """
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class PairField:
    """A field of complex states as one of real pairs; the Jacobian is by the pairs, so it need not be analytic.

    Args:
        field: The field of complex states.
        y0: The complex initial state.
        solver: The method.

    Raises:
        ModelError: The method is symplectic.
    """

    def __init__(self, field: CheckedField, y0: Tensor, solver: AbstractSolver) -> None:
        if isinstance(solver, AbstractSymplectic):
            name = type(solver).__name__
            raise ModelError(f"`{name}` has no complex states. Make real and imaginary parts states of their own.")
        self.field, self.jumps = field, field.jumps
        state = y0.numel() if y0.ndim == 1 else y0[0].numel()
        self.names = tuple(str(i // 2) for i in range(2 * state))

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return to_pairs(self.field(t, from_pairs(y)))


def complex_march(result: March) -> March:
    """The march with its failures told in complex numbers."""
    failures = tuple(replace(failure, state=from_pairs(failure.state)) for failure in result.failures)
    return replace(result, failures=failures)
