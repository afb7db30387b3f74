"""The right-hand side as the stepping loop sees it: on flat states, counted, with its Jacobian."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass
class FlatField:
    """A field on flat states that counts its calls.

    Args:
        field: The user's field.
        shape: Shape of the states that it takes, the batch included.
        lifted: The loop works on a batch of one, though the field takes one trajectory without a batch.
        calls: Calls so far.
    """

    field: Field
    shape: torch.Size
    lifted: bool = False
    calls: int = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        if self.lifted:
            return self.field(t.view(()), y.view(self.shape)).view(y.shape)
        if len(self.shape) <= 2:
            return self.field(t, y)
        return self.field(t, y.view(self.shape)).reshape(y.shape)

    def jacobian(self, t: Tensor, y: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state state"]:
        """Derivatives of the field by the state: the field's own `jacobian(t, y)` if it has one, else autograd's."""
        own = getattr(self.field, "jacobian", None)
        if own is None or len(self.shape) > 2:
            return jacobian(self, t, y)
        if self.lifted:
            return own(t.view(()), y.view(self.shape))[None]
        return own(t, y)


def jacobian(field: Field, t: Tensor, y: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state state"]:
    """Derivatives of a field whose rows do not know each other, by one reverse pass for all units at once.

    Args:
        field: The field.
        t: Times.
        y: States.

    Returns:
        One matrix per trajectory: row of the rate, column of the state.

    Example:
        >>> y = torch.tensor([[1.0, 2.0]])
        >>> jacobian(lambda t, y: torch.stack([y[:, 1], y[:, 0] ** 2], dim=1), torch.zeros(1, 1), y)
        tensor([[[0., 1.],
                 [2., 0.]]])
    """
    _, pull, *_ = torch.func.vjp(lambda x: field(t, x), y)
    state = y.shape[1]
    units = torch.eye(state, dtype=y.dtype, device=y.device)[:, None].expand(state, *y.shape)
    (rows,) = torch.func.vmap(pull)(units)
    return rows.movedim(0, 1)
