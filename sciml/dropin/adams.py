"""Adams' multistep methods, exact for polynomials on any grid."""

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
        ago = [(time - t) / h for time in times]
        nodes = torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in ago])
        dy = self._sum(h, adams_weights(nodes), values)
        if not self.options.implicit:
            return dy
        weights = adams_weights(torch.cat([torch.ones(1, dtype=torch.float64), nodes]))
        known = self._sum(h, weights[1:], values)
        for _ in range(self.options.max_iters):
            before = dy
            dy = known + h * (weights[0].to(y.dtype) * self.problem.field(t + h, y + dy, nudge))
            if self._close(before, dy):
                return dy
        warnings.warn(
            f"the corrector of Adams' method did not converge in `max_iters={self.options.max_iters}` at t = {float(t):.6g}. "
            "Take shorter steps, or allow more iterations.",
            stacklevel=2,
        )
        return dy

    @staticmethod
    def _sum(h: float | Tensor, weights: Tensor, values: tuple[Tensor, ...]) -> Tensor:
        return h * sum(w.to(f.dtype).to(f.device) * f for w, f in zip(weights, values))

    @torch.no_grad()
    def _close(self, before: Tensor, after: Tensor) -> bool:
        shape = self.problem.y0.shape
        rtol, atol = (torch.as_tensor(x, device=after.device) for x in (self.problem.rtol, self.problem.atol))
        size = torch.maximum(before.abs(), after.abs()).view(shape)
        return bool(((after - before).abs().view(shape) <= atol + rtol * size).all())
