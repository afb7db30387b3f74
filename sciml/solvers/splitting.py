"""Steps of splitting methods, and the check that a field can be split."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.errors import ModelError
from sciml.solvers.field import FlatField
from sciml.solvers.methods.splitting import Splitting
from sciml.solvers.steppers import BatchStepper
from sciml.solvers.tolerance import Tolerance, host


class SplittingStepper(BatchStepper):
    """Steps of a splitting; a single trajectory is a batch of one."""

    def __init__(
        self, field: FlatField, tableau: Splitting, like: Tensor, tolerance: Tolerance, momenta: Bool[Tensor, " state"]
    ) -> None:
        super().__init__(field, tableau, like, tolerance)
        masks = tableau.masks(momenta)
        self.masks = masks
        self.scales = masks[:, None].to(like.dtype)
        self.lengths = torch.as_tensor(tableau.a[-1], **self.kind)[:, None, None] * self.scales

    def stages(self, t: np.ndarray, h: np.ndarray, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new states and all stages of a step; `first` is the field at its beginning."""
        times = self.clocks(t, h)
        lengths = (self.lengths * torch.as_tensor(h, **self.kind)[:, None]).unbind()
        slopes, new = [first, first], torch.addcmul(y, lengths[1], first)
        for i in range(2, self.tableau.stages):
            slopes.append(self.field(times[i], new))
            new = torch.addcmul(new, lengths[i], slopes[i]) if i + 1 < self.tableau.stages else new
        return new, list((torch.stack(slopes) * self.scales).unbind())


@torch.no_grad()
def checked_momenta(
    field: FlatField, t: Tensor, y: Float[Tensor, "batch state"], momenta: tuple[int, ...] | None, name: str
) -> Bool[Tensor, " state"]:
    """Which components of the flat state are momenta.

    Args:
        field: The field.
        t: Initial times.
        y: Initial states.
        momenta: Indices along the last dimension of the state.
        name: The method.

    Raises:
        ModelError: They are not declared, not among the states, or the field is not separable.
    """
    if momenta is None:
        raise ModelError(
            f"`{name}` must know which states are momenta, and the field does not tell. Name them by their indices, "
            f"as in `{name}(step=0.01, momenta=(1,))`."
        )
    last = field.shape[-1]
    if not momenta or len({m % last for m in momenta if -last <= m < last}) != len(momenta) or len(momenta) == last:
        raise ModelError(
            f"`momenta` of `{name}` is {momenta}. Expected some but not all of the {last} states, each once."
        )
    mask = torch.zeros(last, dtype=torch.bool, device=y.device)
    mask[list(momenta)] = True
    mask = mask.repeat(y.shape[1] // last)
    # Numbers without a pattern, near the state: what ought to be ignored is changed.
    shift = 0.01 * (1 + y.abs()) * torch.cos(torch.arange(1, y.numel() + 1, device=y.device)).view_as(y)
    slope = field(t, y)
    for moved, kind, other in ((mask, "momentum", "momenta"), (~mask, "position", "positions")):
        change = (field(t, y + shift * moved) - slope).abs()
        found = host((change > 1e-6 * slope.abs().max() * moved) & moved)
        if found.any():
            component = int(np.argwhere(found)[0, 1])
            raise ModelError(
                f"the rate of state {component}, a {kind}, depends on {other}. `{name}` needs a separable system: "
                "rates of positions that depend on momenta only, and of momenta on positions only. Use `Tsit5()`."
            )
    return mask
