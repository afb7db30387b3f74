"""The exact gradient of a solve from one evaluation of the field at all stages of all steps."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.solvers.captured import graph_leaves
from sciml.solvers.field import Field
from sciml.solvers.loop import Settings
from sciml.solvers.record import March, Record, stacked
from sciml.solvers.replay import replayed


@dataclass(frozen=True, eq=False)
class Replay:
    """The steps taken, stacked, and how to take them again.

    Args:
        field: The field.
        settings: Solver and tolerances.
        record: The steps.
        ts: Output times.
        points: Arguments of all evaluations, a leaf of the graph of the slopes.
    """

    field: Field
    settings: Settings
    record: Record
    ts: Float[np.ndarray, "batch time"]
    points: Float[Tensor, "step stages batch state"]


def attach(
    field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], settings: Settings, result: March
) -> Tensor | None:
    """Outputs of a march that was made without a graph, with their exact gradient.

    Args:
        field: The field.
        y0: Initial state.
        ts: Output times.
        settings: Solver and tolerances.
        result: The march, all of its steps kept.

    Returns:
        States at the output times, or None if the field cannot be evaluated at many points at once.
    """
    record = result.record
    times, points, k = stage_points(record)
    points.requires_grad_()
    batch = len(ts)
    slopes = evaluate_all(field, times, points, y0.shape)
    if slopes is not None and record.masks is not None:
        slopes = slopes * record.masks[:, None]
    # A field with a memory or a random part is not the same function twice: then go step by step.
    if slopes is None or not _same(slopes, k, record.column("h"), record.tableau.gamma):
        return None
    leaves = graph_leaves(slopes, stop=[points])
    first = y0.detach().reshape(batch, 1, -1)
    with torch.no_grad():
        ys = first.clone() if ts.shape[1] == 1 else torch.cat([first, record.interpolate(ts[:, 1:])], dim=1)
    if not (y0.requires_grad or leaves):
        return ys
    return _Attached.apply(Replay(field, settings, record, ts, points), ys, slopes, y0, *leaves)


@torch.no_grad()
def _same(
    slopes: Float[Tensor, "step stages batch state"],
    k: Float[Tensor, "step stages batch state"],
    h: Float[np.ndarray, "step batch"],
    gamma: float,
) -> bool:
    """Whether the field at the stages is what the march found there."""
    if gamma:
        # Rates of solved stages differ by the rest of the iteration; the first is the field itself.
        slopes, k = slopes[:1, :1], k[:1, :1]
    tolerance = 1e4 * torch.finfo(k.dtype).eps
    return torch.allclose(slopes, k, rtol=tolerance, atol=tolerance * float(k.abs().max()))


@torch.no_grad()
def stage_points(record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Times `(step, stages, batch)`, states there `(step, stages, batch, state)`, and the stages found."""
    steps, batch = len(record.t), len(record.start)
    k = stacked(record.k).view(steps, -1, batch, record.y[0].shape[-1])
    y = torch.stack(record.y).view(steps, 1, batch, -1)
    kind = {"dtype": y.dtype, "device": y.device}
    h = record.column("h")
    sums = torch.tensordot(k, torch.as_tensor(record.tableau.a, **kind), ([1], [1])).movedim(-1, 1)
    points = y + torch.as_tensor(h, **kind)[:, None, :, None] * sums
    times = torch.as_tensor(record.column("t")[:, None] + record.tableau.c[:, None] * h[:, None], **kind)
    return times, points, k


def evaluate_all(field: Field, times: Tensor, points: Tensor, shape: torch.Size) -> Tensor | None:
    """The field at all points in one call, with a graph; None where `vmap` cannot follow it.

    Args:
        field: The field.
        times: `(step, stages, batch)`.
        points: `(step, stages, batch, state)`.
        shape: Shape of the state that the field takes.

    Returns:
        The values, of the shape of `points`.
    """
    count = times.shape[0] * times.shape[1]
    clock = times.reshape(count, *(() if len(shape) == 1 else (shape[0],) + (1,) * (len(shape) - 1)))
    try:
        with torch.enable_grad():
            return torch.func.vmap(field)(clock, points.reshape(count, *shape)).reshape(points.shape)
    except (RuntimeError, ValueError):
        # Control flow that depends on values, or an operation without a batching rule.
        return None


class _Attached(torch.autograd.Function):
    """Hands the cotangents of the outputs to the slopes, and through them to all that the field holds."""

    @staticmethod
    def forward(ctx, replay: Replay, ys: Tensor, slopes: Tensor, y0: Tensor, *leaves: Tensor) -> Tensor:
        ctx.replay = replay
        ctx.save_for_backward(slopes, y0, *leaves)
        return ys.clone()

    @staticmethod
    def backward(ctx, g: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        slopes, y0, *leaves = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, *_twice_differentiable(ctx.replay, y0, leaves, g)
        slopes_bar, y0_bar = _adjoint(ctx.replay, slopes, g)
        return None, None, slopes_bar, y0_bar.view(y0.shape), *(None for _ in leaves)


def _adjoint(replay: Replay, slopes: Tensor, g: Float[Tensor, "batch time state"]) -> tuple[Tensor, Tensor]:
    r"""Cotangents of all slopes and of the initial state.

    Within a step, backwards over the stages, with :math:`J_i` the Jacobian of the field at stage i:

    .. math:: \bar k_i = g_i + h \sum_{j \ge i} a_{ji} v_j, \quad v_i = \bar k_i J_i, \quad
              \bar y_n = g_n + \bar y_{n+1} + \sum_i v_i

    For an implicit stage :math:`v_i` is on both sides, a solve with :math:`I - h a_{ii} J_i` transposed; the solved
    stage needs no derivative of the iteration that found it (implicit function theorem).

    The recursion is linear in the cotangent of the step's end. So it runs for all steps at once, on the
    unit vectors and on what the outputs contribute; only products of small matrices remain from step to step.
    """
    record, points = replay.record, replay.points
    steps, stages, batch, state = points.shape
    jacobian = torch.stack(
        [
            # A field may ignore its state, or depend on nothing that needs a gradient.
            torch.autograd.grad(slopes, points, unit.expand_as(slopes), retain_graph=True, materialize_grads=True)[0]
            if slopes.requires_grad
            else torch.zeros_like(points)
            for unit in torch.eye(state, dtype=g.dtype, device=g.device)
        ],
        dim=-2,
    )
    y_bar, k_bar = _from_outputs(record, replay.ts, g, points.shape)
    a = record.tableau.a
    h = torch.as_tensor(record.column("h"), dtype=g.dtype, device=g.device)[..., None, None]
    units = torch.eye(state + 1, state, dtype=g.dtype, device=g.device).expand(steps, batch, -1, -1)
    kappa, v = [units] * stages, [units] * stages
    for i in reversed(range(stages)):
        kappa[i] = torch.nn.functional.pad(k_bar[:, i, :, None], (0, 0, state, 0))
        for j in range(i + 1, stages):
            if a[j, i]:
                kappa[i] = torch.addcmul(kappa[i], h, v[j], value=float(a[j, i]))
        v[i] = kappa[i] @ jacobian[:, i]
        if i == stages - 1:
            v[i] = v[i] + units
        if a[i, i]:
            matrix = torch.eye(state, dtype=g.dtype, device=g.device) - float(a[i, i]) * h * jacobian[:, i]
            v[i] = torch.linalg.solve(matrix, v[i], left=False)
            kappa[i] = torch.addcmul(kappa[i], h, v[i], value=float(a[i, i]))
    total = torch.stack(v).sum(dim=0)
    transfer, source = total[:, :, :state], total[:, :, state:] + y_bar[:, :, None]
    bars, bar = [source[0]] * steps, torch.zeros_like(source[0])
    for n in reversed(range(steps)):
        bars[n] = bar
        bar = torch.baddbmm(source[n], bar, transfer[n])
    ends = torch.stack(bars)[:, None]
    kappas = torch.stack(kappa, dim=1)
    slopes_bar = kappas[..., state, :] + (ends @ kappas[..., :state, :])[..., 0, :]
    return slopes_bar, bar[:, 0] + g[:, 0]


def _from_outputs(record: Record, ts: np.ndarray, g: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """What the outputs after the first one send to the states and the stages of the steps that hold them."""
    steps, stages, batch, state = shape
    y_bar, k_bar = g.new_zeros(steps * batch, state), g.new_zeros(steps * batch, stages, state)
    if ts.shape[1] > 1:
        located = record.locate(ts[:, 1:])
        weights = torch.as_tensor(located.weights, dtype=g.dtype, device=g.device).view(-1, stages, 1)
        index = torch.as_tensor(located.step * batch + np.arange(batch)[:, None], device=g.device).reshape(-1)
        covered = torch.as_tensor(located.covered, device=g.device)[..., None]
        g = torch.where(covered, g[:, 1:], 0.0).reshape(-1, state)
        y_bar.index_add_(0, index, g)
        k_bar.index_add_(0, index, weights * g[:, None])
    return y_bar.view(steps, batch, state), k_bar.view(steps, batch, stages, state).transpose(1, 2)


def _twice_differentiable(replay: Replay, y0: Tensor, leaves: list[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradient from taking the steps again with a graph, for derivatives of derivatives."""
    record = replay.record
    moved = torch.as_tensor(np.any(record.column("h"), axis=0), device=y0.device)
    start = torch.where(moved[:, None], y0.reshape(len(g), -1), record.y[0]).view(record.y[0].shape)
    again, *_ = replayed(replay.field, y0, replay.settings, record, range(len(record.t)), start)
    ys = y0.reshape(len(g), 1, -1)
    if replay.ts.shape[1] > 1:
        ys = torch.cat([ys, again.interpolate(replay.ts[:, 1:])], dim=1)
    inputs = [tensor for tensor in (y0, *leaves) if tensor.requires_grad]
    found = torch.autograd.grad(ys, inputs, g, create_graph=True, allow_unused=True)
    gradients = dict(zip(map(id, inputs), found))
    return tuple(gradients.get(id(tensor)) for tensor in (y0, *leaves))
