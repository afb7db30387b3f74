"""Splitting methods: compositions of leapfrogs as tableaus."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.solvers.methods.tableau import Tableau, hermite_dense

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
