"""How large an error is in units of the tolerance, for each trajectory on its own."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    r"""The root mean square of :math:`|e_i| / (\text{atol} + \text{rtol} \, |y_i|)` over the components.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance, in the unit of the state.
        paired: Components are pairs of a real and an imaginary part, and sizes are moduli.

    Example:
        >>> float(Tolerance(0.1, 0.0).norm(torch.tensor([3.0, 4.0]), torch.tensor([10.0, 10.0])))
        3.535533905029297
    """

    rtol: float
    atol: float
    paired: bool = False

    def modulus(self, x: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch component"]:
        """Sizes of the components."""
        return torch.view_as_complex(x.unflatten(-1, (-1, 2))).abs() if self.paired else x.abs()

    def norm(
        self, error: Float[Tensor, "*batch state"], *states: Float[Tensor, "*batch state"]
    ) -> Float[Tensor, "*batch"]:
        """Root mean square of the error; a component's size is its largest over the states."""
        sizes = [self.modulus(y) for y in states]
        size = sizes[0] if len(sizes) == 1 else torch.maximum(*sizes)
        scale = size.mul(self.rtol).add_(self.atol)
        found = self.modulus(error) if self.paired else error
        return torch.linalg.vector_norm(found / scale, dim=-1) / scale.shape[-1] ** 0.5


def host(x: Tensor) -> np.ndarray:
    """The numbers on the host; a list in between, because tensors inside `torch.func` transforms have no memory."""
    return np.array(x.detach().tolist())
