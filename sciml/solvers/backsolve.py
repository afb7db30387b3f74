"""The continuous adjoint: a second differential equation, solved backwards from output to output."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import SolveError
from sciml.solvers.captured import dependencies
from sciml.solvers.field import Field
from sciml.solvers.loop import Settings, march
from sciml.solvers.parallel import evaluate_all, stage_points
from sciml.solvers.record import Record


@dataclass(frozen=True, eq=False)
class AdjointField:
    """The field and the adjoint equation together, on states `[y, a]`.

    Args:
        field: The field.
        shape: Shape of the state that it takes.
    """

    field: Field
    shape: torch.Size

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        y, a = z.chunk(2, dim=-1)
        clock = t if t.ndim == 0 else t.view(len(t), *(1 for _ in self.shape[1:]))
        with torch.enable_grad():
            y = y.detach().reshape(self.shape).requires_grad_()
            dy = self.field(clock, y)
        slope = None
        if dy.requires_grad:
            (slope,) = torch.autograd.grad(dy, y, a.reshape(self.shape), allow_unused=True, retain_graph=True)
        da = torch.zeros_like(a) if slope is None else -slope.reshape(a.shape)
        return torch.cat([dy.detach().reshape(a.shape), da], dim=-1)


def attach_adjoint(
    field: Field,
    y0: Tensor,
    ts: Float[np.ndarray, "batch time"],
    ys: Float[Tensor, "batch time state"],
    settings: Settings,
    parameters: Iterable[Tensor],
) -> Float[Tensor, "batch time state"]:
    """Outputs of a march without a graph, with the gradient of the continuous adjoint.

    Args:
        field: The field.
        y0: Initial state.
        ts: Output times.
        ys: The states there.
        settings: Solver and tolerances of the backward solve.
        parameters: Tensors that the field depends on, besides those that are found.

    Returns:
        The same states.
    """
    held = dependencies(field, ts, y0, parameters)
    if not held and not y0.requires_grad:
        return ys
    return _Backsolved.apply(AdjointField(field, y0.shape), ts, settings, ys, y0, *held)


class _Backsolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, adjoint: AdjointField, ts: np.ndarray, settings: Settings, ys: Tensor, y0: Tensor, *held: Tensor):
        ctx.adjoint, ctx.ts, ctx.settings = adjoint, ts, settings
        ctx.save_for_backward(ys, *held)
        return ys.clone()

    @staticmethod
    def backward(ctx, g: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise SolveError("`Backsolve()` has no second derivatives. Use `Direct()`.")
        ys, *held = ctx.saved_tensors
        y_bar, bars = _sweep(ctx.adjoint, ctx.ts, ctx.settings, ys, g, held)
        return None, None, None, None, y_bar.view(ctx.adjoint.shape), *bars


def _sweep(
    adjoint: AdjointField, ts: np.ndarray, settings: Settings, ys: Tensor, g: Tensor, held: list[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients by the initial state and by `held`, from the last output back to the first."""
    single = len(adjoint.shape) == 1
    state = ys.shape[-1]
    reached = torch.isfinite(ys).all(dim=-1) & torch.as_tensor(~np.isnan(ts), device=ys.device)
    g = torch.where(reached[..., None], g, 0.0)
    reached = reached.cpu().numpy()
    a = torch.zeros_like(ys[:, 0])
    bars: list[Tensor | None] = [None] * len(held)
    span = np.nanmax(ts, axis=1) - np.nanmin(ts, axis=1)
    for k in reversed(range(1, ts.shape[1])):
        a = a + g[:, k]
        # Padding, what lies behind a failure, and what nothing depends on are intervals of length 0.
        moving = reached[:, k] & a.any(dim=1).cpu().numpy()
        if not moving.any():
            continue
        pair = np.where(moving[:, None], ts[:, [k, k - 1]], ts[:, :1])
        sound = ys[int(np.flatnonzero(moving)[0]), k]
        y = torch.where(torch.as_tensor(moving[:, None], device=ys.device), ys[:, k], sound)
        # The adjoint is linear: normalized, it meets the same absolute tolerance as the state.
        size = a.abs().amax(dim=1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        z = torch.cat([y, a / size], dim=1)
        result = march(adjoint, z[0] if single else z, pair, settings, dense=True)
        if result.failures:
            time = result.failures[0].time
            raise SolveError(f"the adjoint of `Backsolve()` failed at t = {time:.6g}. Use `Direct()`.")
        a = size * result.record.interpolate(pair[:, 1:])[:, 0, state:]
        longest = np.abs(result.record.column("h")).max(axis=0)
        settings = replace(settings, first_step=np.where(longest > 0, longest, span))
        _integrate(adjoint, result.record, size, held, bars)
    return a + g[:, 0], bars


def _integrate(
    adjoint: AdjointField, record: Record, size: Tensor, held: list[Tensor], bars: list[Tensor | None]
) -> None:
    r"""Add :math:`\int a \, \partial f / \partial \theta \, dt` over the steps of `record` to `bars`."""
    if not held:
        return
    times, points, _ = stage_points(record)
    y, a = points.chunk(2, dim=-1)
    h = torch.as_tensor(record.column("h"), dtype=y.dtype, device=y.device)
    b = torch.as_tensor(record.tableau.a[-1], dtype=y.dtype, device=y.device)
    cotangent = -size * a * (h[:, None] * b[:, None])[..., None]
    dy = evaluate_all(adjoint.field, times, y, adjoint.shape)
    if dy is None:
        pairs = zip(times.flatten(0, 1), y.flatten(0, 1))
        shape = adjoint.shape
        clock = () if len(shape) == 1 else (shape[0],) + (1,) * (len(shape) - 1)
        with torch.enable_grad():
            dy = torch.stack([adjoint.field(t.view(clock), x.reshape(shape)) for t, x in pairs]).view(y.shape)
    if not dy.requires_grad:
        return
    found = torch.autograd.grad(dy, held, cotangent, allow_unused=True, retain_graph=True)
    for i, bar in enumerate(found):
        so_far = bars[i]
        if bar is not None:
            bars[i] = bar if so_far is None else so_far + bar
