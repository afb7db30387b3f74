"""How large an error is in units of the tolerance, for each trajectory on its own."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.captured import transformed


@dataclass(frozen=True)
class Tolerance:
    r"""The root mean square of :math:`|e_i| / (\text{atol} + \text{rtol} \, |y_i|)` over the components.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance, in the unit of the state.
        paired: Components are pairs of a real and an imaginary part, and sizes are moduli.

    Example:
        >>> round(float(Tolerance(0.1, 0.0).norm(torch.tensor([3.0, 4.0]), torch.tensor([10.0, 10.0]))), 5)
        3.53553
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
        # The mean over the components goes into the scale: one operation less.
        root = size.shape[-1] ** 0.5
        scale = size.mul(root * self.rtol).add_(root * self.atol)
        found = self.modulus(error) if self.paired else error
        return torch.linalg.vector_norm(found / scale, dim=-1)

    def on_host(
        self, error: Float[np.ndarray, "*batch state"], y: Float[np.ndarray, "*batch state"], new: np.ndarray
    ) -> Float[np.ndarray, "*batch"]:
        """The same norm of numbers on the host."""
        if self.paired:
            error, y, new = (np.abs(x.reshape(*x.shape[:-1], -1, 2) @ np.array([1, 1j])) for x in (error, y, new))
        scale = np.maximum(np.abs(y), np.abs(new))
        scale *= self.rtol
        scale += self.atol
        found = error / scale
        squares = found.dot(found) if found.ndim == 1 else np.einsum("...i,...i->...", found, found)
        return np.sqrt(squares / found.shape[-1])


def host(x: Tensor) -> np.ndarray:
    """The numbers on the host; a list in between where tensors have no memory, inside transforms of `torch.func`."""
    if transformed():
        return np.array(x.detach().tolist())
    found = x.numpy(force=True)
    return found.astype(np.float64 if found.dtype.kind == "f" else found.dtype)
