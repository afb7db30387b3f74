"""Splitting methods: compositions of leapfrogs as tableaus, and their steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.errors import ModelError
from sciml.solvers.field import FlatField
from sciml.solvers.steppers import BatchStepper
from sciml.solvers.tableaus import Tableau, hermite_dense
from sciml.solvers.tolerance import Tolerance, host

KICK, DRIFT, WHOLE = "kick", "drift", "whole"


@dataclass(frozen=True, eq=False, kw_only=True)
class Splitting(Tableau):
    r"""A splitting as a Runge-Kutta method whose stages count for the momenta or for the positions only.

    .. math:: k_i = P_i f(t + c_i h, \; y + h \sum_{j<i} a_{ij} k_j)

    with a projection :math:`P_i` on the momenta (a kick) or the positions (a drift). The first and the last stage are
    whole: they are the slopes at the ends, for the dense output. Kicks see the time that the drifts have reached and
    drifts that of the kicks, so that the order holds where the field depends on time.

    Args:
        parts: What each stage counts for.
        nodes: Time of each stage, as a fraction of the step.
    """

    parts: tuple[str, ...]
    nodes: Float[np.ndarray, " stages"]

    @cached_property
    def c(self) -> Float[np.ndarray, " stages"]:
        """Nodes of the stages, as fractions of the step."""
        return self.nodes

    def masks(self, momenta: Bool[Tensor, " state"]) -> Bool[Tensor, "stages state"]:
        """The diagonals of the projections."""
        kinds = {KICK: momenta, DRIFT: ~momenta, WHOLE: torch.ones_like(momenta)}
        return torch.stack([kinds[part] for part in self.parts])


def composed(weights: Sequence[float], order: int) -> Splitting:
    """A composition of leapfrogs (kick, drift, kick); neighboring kicks are one.

    Args:
        weights: Length of each leapfrog, as a fraction of the step.
        order: Order of the composition.

    Returns:
        The tableau.

    Example:
        >>> composed([1.0], 2).a[-1].tolist()  # the slope at the beginning, kick, drift, kick, the slope at the end
        [0.0, 0.5, 1.0, 0.5, 0.0]

    Reference:
        Hairer, Lubich, Wanner, Geometric Numerical Integration, section V.3.
    """
    w = np.asarray(weights)
    kicks = np.append(w, 0.0) / 2 + np.insert(w, 0, 0.0) / 2
    parts, lengths, nodes, clock = [WHOLE, KICK], [0.0, kicks[0]], [0.0, 0.0], {KICK: kicks[0], DRIFT: 0.0}
    for drift, kick in zip(w, kicks[1:]):
        for part, length, other in ((DRIFT, drift, KICK), (KICK, kick, DRIFT)):
            parts.append(part)
            lengths.append(length)
            nodes.append(clock[other])
            clock[part] += length
    parts, nodes = [*parts, WHOLE], np.array([*nodes, 1.0])
    stages = len(parts)
    a = np.tril(np.tile([*lengths, 0.0], (stages, 1)), -1)
    # The first kick acts on the state at the beginning.
    return Splitting(
        order=order, a=a, error=None, dense=hermite_dense(a), dense_order=3, parts=tuple(parts), nodes=nodes
    )


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
