"""Adams' multistep methods, exact for polynomials on any grid."""

import functools
import warnings
from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.dropin.options import AdamsOptions
from sciml.dropin.problem import Problem

# Gauss-Legendre points and weights on [0, 1] are exact for the polynomials of degree up to 11 that occur.
_ROOTS = torch.linalg.eigh(
    torch.diag(torch.tensor([n / (4 * n**2 - 1) ** 0.5 for n in range(1, 7)], dtype=torch.float64), 1)
    + torch.diag(torch.tensor([n / (4 * n**2 - 1) ** 0.5 for n in range(1, 7)], dtype=torch.float64), -1)
)
POINTS, WEIGHTS = (1 + _ROOTS.eigenvalues) / 2, _ROOTS.eigenvectors[0] ** 2
# Fewer values than these do not give order 4; the Runge-Kutta method does.
FEWEST = 3


def adams_weights(nodes: Float[Tensor, " node"]) -> Float[Tensor, " node"]:
    r"""Weights :math:`w_j = \int_0^1 L_j(s) \, ds` of the values at the nodes, :math:`L_j` Lagrange's polynomials.

    Args:
        nodes: Distinct places, in units of the step over which to integrate; they may carry a gradient.

    Returns:
        The weights; they add up to one.

    Example:
        >>> (24 * adams_weights(torch.tensor([0.0, -1.0, -2.0, -3.0]))).round().int().tolist()
        [55, -59, 37, -9]

    Reference:
        Hairer, Nørsett, Wanner I, section III.5 (variable steps).
    """
    nodes = nodes.double()
    others = ~torch.eye(len(nodes), dtype=torch.bool, device=nodes.device)
    points = POINTS.to(nodes.device)
    factors = (points[:, None, None] - nodes) / torch.where(others, nodes[:, None] - nodes, 1.0)
    return WEIGHTS.to(nodes.device) @ torch.where(others, factors, 1.0).prod(dim=-1)


def _weights(nodes: list[float | Tensor]) -> Float[Tensor, " node"]:
    """The same from a list; on a uniform grid each set of weights is computed once."""
    if any(isinstance(node, Tensor) and node.requires_grad for node in nodes):
        return adams_weights(torch.stack([torch.as_tensor(node, dtype=torch.float64) for node in nodes]))
    places = [node.item() if isinstance(node, Tensor) else node for node in nodes]
    whole = [round(place) for place in places]
    if max(abs(a - b) for a, b in zip(places, whole)) < 1e-9:
        return _uniform_weights(tuple(whole))
    return adams_weights(torch.tensor(places, dtype=torch.float64))


@functools.lru_cache(maxsize=64)
def _uniform_weights(nodes: tuple[int, ...]) -> Float[Tensor, " node"]:
    return adams_weights(torch.tensor(nodes, dtype=torch.float64))


class Adams:
    """The steps of one solve, with their memory.

    Args:
        problem: What to solve.
        options: Orders, and whether there is a corrector.
    """

    def __init__(self, problem: Problem, options: AdamsOptions) -> None:
        self.problem, self.options = problem, options
        self.past: deque[tuple[float | Tensor, Tensor]] = deque(maxlen=max(options.max_order - 1, 1))

    def remember(self, t: float | Tensor, f: Tensor) -> bool:
        """Keep the field at the beginning of a step; false while there is too little to go on."""
        self.past.appendleft((t, f))
        return len(self.past) >= FEWEST

    def step(self, t: float | Tensor, h: float | Tensor, y: Tensor, nudge: float) -> Tensor:
        """The change of the state over a step.

        Args:
            t: Time at the beginning.
            h: Length.
            y: State at the beginning.
            nudge: For the field at the end of the step.
        """
        times, values = zip(*self.past)
        nodes = [(time - t) / h for time in times]
        if not self.options.implicit:
            return self._explicit(h, nodes, values)
        dy = self._sum(h, _weights(nodes), values)
        weights = _weights([1.0, *nodes])
        known = self._sum(h, weights[1:], values)
        for _ in range(self.options.max_iters):
            before = dy
            dy = known + h * (weights[0].to(y.dtype) * self.problem.field(t + h, y + dy, nudge))
            if self._close(before, dy):
                return dy
        begin = t.item() if isinstance(t, Tensor) else t
        warnings.warn(
            f"the corrector of Adams' method did not converge in `max_iters={self.options.max_iters}` at t = {begin:.6g}. "
            "Take shorter steps, or allow more iterations.",
            stacklevel=2,
        )
        return dy

    def _explicit(self, h: float | Tensor, nodes: list, values: tuple[Tensor, ...]) -> Tensor:
        """The order is raised while that changes less and less: beyond, high differences only amplify noise."""
        dy, before = self._sum(h, _weights(nodes[:FEWEST]), values[:FEWEST]), float("inf")
        for count in range(FEWEST + 1, len(values) + 1):
            higher = self._sum(h, _weights(nodes[:count]), values[:count])
            with torch.no_grad():
                change = float((higher - dy).abs().max())
            if not change < before:
                break
            dy, before = higher, change
        return dy

    @staticmethod
    def _sum(h: float | Tensor, weights: Tensor, values: tuple[Tensor, ...]) -> Tensor:
        # In double precision: the weights are large and of alternating signs.
        kind = torch.promote_types(values[0].dtype, torch.float64)
        return (h * (weights.to(values[0].device, kind) @ torch.stack(values).to(kind))).to(values[0].dtype)

    @torch.no_grad()
    def _close(self, before: Tensor, after: Tensor) -> bool:
        shape = self.problem.y0.shape
        rtol, atol = (torch.as_tensor(x, device=after.device) for x in (self.problem.rtol, self.problem.atol))
        size = torch.maximum(before.abs(), after.abs()).view(shape)
        return bool(((after - before).abs().view(shape) <= atol + rtol * size).all())
