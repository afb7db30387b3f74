r"""Diagonally implicit stages by simplified Newton iteration, and their derivatives without it.

With :math:`b = y + h \sum_{j<i} a_{ij} k_j`, a stage solves :math:`Y_i = b + h \gamma f(Y_i)`. The matrix
:math:`I - h \gamma J` is factorized once per step, as the diagonal of the method is constant. The rate is taken as
:math:`k_i = (Y_i - b) / (h \gamma)`: evaluating the field would multiply the rest of the iteration by the stiffness.

Reference:
    Hairer, Wanner II, section IV.8.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.errors import SolveError
from sciml.solvers.captured import differentiations, tracked
from sciml.solvers.steppers import BatchStepper, combine
from sciml.solvers.tolerance import host

ITERATIONS = 10
# Rest of the iteration in units of the tolerance: the gradient is that of the exactly solved stages.
REST = 1e-3
# What a step reports when the iteration fails: large enough to be shortened to a quarter, and finite.
UNSOLVED = 1e3


class ImplicitStepper(BatchStepper):
    """Steps of a diagonally implicit method; a single trajectory is a batch of one."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.explicit_rows = [tuple((j, a) for j, a in row if j < i) for i, row in enumerate(self.tableau.rows)]
        # Rounding bounds what the iteration can reach.
        precision = torch.finfo(self.kind["dtype"]).eps
        self.rest = max(REST, 10 * precision / self.tolerance.rtol)
        self.linearized: tuple[Tensor, Tensor] | None = None
        self.rests = np.zeros(0)

    def stages(self, t: np.ndarray, h: np.ndarray, y: Tensor, first: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The new states and the rates of all stages; where Newton's iteration fails, `error` and `sound` say so."""
        times, length = self.clocks(t, h), torch.as_tensor(h, **self.kind)[:, None]
        scale, moving = length * self.tableau.gamma, length != 0
        factors = self._factors(times[0], y, scale)
        self.rests = np.zeros(len(h))
        k, new, increments = [first], y, [first * length]
        for i in range(1, self.tableau.stages):
            base = combine(y, self.explicit_rows[i], increments)
            guess = base.detach() + scale * k[-1].detach()
            new = self._solve(times[i], base.detach(), guess, scale, factors, y.detach(), h != 0)
            new = self._differentiable(times[i], base, new, scale) if torch.is_grad_enabled() else new
            k.append(torch.where(moving, (new - base) / torch.where(moving, scale, 1.0), first))
            increments.append(k[-1] * length)
        self.unsolved = self.rests == UNSOLVED
        return new, k

    @torch.no_grad()
    def error(self, h: np.ndarray, y: Tensor, new: Tensor, k: list[Tensor]) -> Float[np.ndarray, " batch"]:
        """Root mean square of the error estimate; of an unsolved step, a number above 1, or infinity."""
        return np.where(self.rests > 0, self.rests, super().error(h, y, new, k))

    @torch.no_grad()
    def sound(self, new: Tensor, k: list[Tensor]) -> Bool[np.ndarray, " batch"]:
        """Which trajectories ended the step in finite numbers, with all stages solved."""
        return super().sound(new, k) & (self.rests == 0)

    @torch.no_grad()
    def _factors(self, t: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        # A rejected step is tried again from the same state.
        if self.linearized is None or self.linearized[0] is not y:
            self.linearized = y, self.field.jacobian(t, y.detach()).detach()
        return _factorized(self.linearized[1], scale)

    @torch.no_grad()
    def _solve(
        self,
        t: Tensor,
        base: Tensor,
        state: Tensor,
        scale: Tensor,
        factors: tuple[Tensor, Tensor],
        y: Tensor,
        active: Bool[np.ndarray, " batch"],
    ) -> Tensor:
        """The stage, by Newton's iteration from a guess; `rests` tells which trajectories have none."""
        active = active & (self.rests == 0)
        previous = np.full(len(y), np.inf)
        for iteration in range(ITERATIONS):
            if not active.any():
                break
            rest = base + scale * self.field(t, state).detach() - state
            change = torch.linalg.lu_solve(*factors, rest[..., None])[..., 0]
            norm = host(self.tolerance.norm(change, y, state))
            state = torch.where(torch.as_tensor(active[:, None], device=y.device), state + change, state)
            with np.errstate(all="ignore"):
                ratio = norm / previous
                ahead = ratio / (1 - ratio) * norm
                left = ratio ** (ITERATIONS - 1 - iteration) / (1 - ratio) * norm
            solved = (norm <= 0.01 * self.rest) | ((iteration > 0) & (ratio < 1) & (ahead <= self.rest))
            # It diverges, or the iterations that are left would not do (Hairer-Wanner II, eq. IV.8.11). The first ratio
            # does not tell yet: the Jacobian of an adjoint lacks a block, which takes effect one iteration later.
            hopeless = (iteration > 1) & ((ratio >= 1) | (left > self.rest)) | (iteration == ITERATIONS - 1)
            broken = ~np.isfinite(norm)
            failed = active & ~solved & (hopeless | broken)
            self.rests = np.where(failed, np.where(broken, np.inf, UNSOLVED), self.rests)
            active = active & ~solved & ~failed
            previous = norm
        return state

    def _differentiable(self, t: Tensor, base: Tensor, state: Tensor, scale: Tensor) -> Tensor:
        r"""The solved stage with its first two derivatives, and as many more as transforms of `torch.func` are active.

        A correction :math:`Y \leftarrow Y + (I - h \gamma J)^{-1} (b + h \gamma f(Y) - Y)` with J at the solution and
        held constant carries the derivative of the implicit function, and each further one the next.
        """
        state = state.detach()
        slope = self.field(t, state)
        if not (tracked(slope) or tracked(base)):
            return state
        with torch.no_grad():
            factors = _factorized(self.field.jacobian(t, state).detach(), scale)
        better = state + torch.linalg.lu_solve(*factors, (base + scale * slope - state)[..., None])[..., 0]
        transforms = differentiations()
        for _ in range(1 + transforms):
            rest = base + scale * self.field(t, better) - better
            better = better + torch.linalg.lu_solve(*factors, rest[..., None])[..., 0]
        # The value stays that of the iteration: whether derivatives are wanted does not change a solution.
        better = state + (better - better.detach())
        # Transforms do not see into the guard, and have the corrections that they need.
        return better if transforms else _Twice.apply(better)


class _Twice(torch.autograd.Function):
    """The identity, which can be differentiated twice."""

    @staticmethod
    def forward(ctx, stage: Tensor) -> Tensor:
        ctx.save_for_backward(stage)
        return stage.view_as(stage)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # With the stage as an argument, every way from a gradient back to what the stage depends on leads through.
        return _Once.apply(g, *ctx.saved_tensors) if torch.is_grad_enabled() else g

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tangent.view_as(tangent)


class _Once(torch.autograd.Function):
    """The cotangent of a stage, which can be differentiated once."""

    @staticmethod
    def forward(ctx, g: Tensor, stage: Tensor) -> Tensor:
        return g.view_as(g)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # After a pass that kept its graph, another one that comes here is a third derivative, or may be one.
        if getattr(ctx, "kept", False):
            raise SolveError(
                "steps of an implicit method have two derivatives by `torch.autograd`, and another one was asked for "
                "after the second had been taken with `create_graph=True`. Leave it out where the second derivative is "
                "the last, use transforms of `torch.func`, such as `jacfwd`, for higher ones, or an explicit method "
                "such as `Tsit5()`."
            )
        ctx.kept = torch.is_grad_enabled()
        return g, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, stage: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tangent.view_as(tangent)


def _factorized(jacobian: Float[Tensor, "batch state state"], scale: Float[Tensor, "batch 1"]) -> tuple[Tensor, Tensor]:
    """LU factors of I - scale * J; a singular matrix gives a stage that is not finite."""
    unit = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
    factors, pivots, _ = torch.linalg.lu_factor_ex(unit - scale[..., None] * jacobian)
    return factors, pivots
