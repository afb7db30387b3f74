"""The continuous adjoint: a second differential equation, solved backwards from output to output."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import SolveError
from sciml.solvers.captured import dependencies
from sciml.solvers.field import Field, FlatField
from sciml.solvers.loop import Settings, march
from sciml.solvers.methods.protocol import AbstractSymplectic
from sciml.solvers.parallel import evaluate_all, stage_points
from sciml.solvers.record import Record
from sciml.solvers.replay import check_found, check_unseen
from sciml.solvers.tolerance import Tolerance, host

# The reconstructed state may miss the forward path by this many tolerances.
ASTRAY = 100.0
# A tolerance for methods with fixed steps, which have none of their own.
FIXED_STEPS = 1e-3
# How often an interval is halved before the gradient is given up.
HALVINGS = 12


@dataclass(frozen=True, eq=False)
class AdjointField:
    """The field and the adjoint equation together, on states `[y, a]`.

    Args:
        field: The field.
        shape: Shape of the state that it takes.
    """

    field: Field
    shape: torch.Size

    @property
    def jumps(self) -> Float[np.ndarray, "*batch jump"] | None:
        """Where the field is not smooth, its adjoint is not, either."""
        return getattr(self.field, "jumps", None)

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

    def jacobian(self, t: Tensor, z: Float[Tensor, "*batch both"]) -> Float[Tensor, "*batch both both"]:
        """Derivatives by the state without those of `da` by `y`, which Newton's iteration can do without."""
        single = z.ndim == 1
        y = (z[None] if single else z).chunk(2, dim=-1)[0]
        clock = t if single else t.view(len(t), *(1 for _ in self.shape[1:]))
        j = FlatField(self.field, self.shape, lifted=single).jacobian(clock, y)
        blocks = j.new_zeros(len(j), 2 * j.shape[-1], 2 * j.shape[-1])
        blocks[:, : j.shape[-1], : j.shape[-1]], blocks[:, j.shape[-1] :, j.shape[-1] :] = j, -j.mT
        return blocks[0] if single else blocks


def adjoint_solver(settings: Settings, given: Field, y0: Tensor) -> Settings:
    """The settings of the backward solve: a symplectic method learns what are momenta among the adjoints."""
    solver = settings.solver
    if not isinstance(solver, AbstractSymplectic):
        return settings
    momenta = solver.momenta or getattr(given, "momenta", None) or ()
    last, count = y0.shape[-1], y0.numel() if y0.ndim == 1 else y0[0].numel()
    known = {m % last for m in momenta}
    flat = [i for i in range(count) if i % last in known]
    # The adjoint of a position is driven by positions, as a momentum is.
    return replace(
        settings, solver=replace(solver, momenta=(*flat, *(count + i for i in range(count) if i not in flat)))
    )


def attach_adjoint(
    field: Field,
    y0: Tensor,
    ts: Float[np.ndarray, "batch time"],
    ys: Float[Tensor, "batch time state"],
    settings: Settings,
    pace: float,
    parameters: Iterable[Tensor],
) -> Float[Tensor, "batch time state"]:
    """Outputs of a march without a graph, with the gradient of the continuous adjoint.

    Args:
        field: The field.
        y0: Initial state.
        ts: Output times.
        ys: The states there.
        settings: Solver and tolerances of the backward solve.
        pace: Steps per unit of time that the forward solve took.
        parameters: Tensors that the field depends on, besides those that are found.

    Returns:
        The same states.
    """
    held = dependencies(field, ts, y0, parameters)
    if not held and not y0.requires_grad:
        check_unseen(field, y0, ts, ys, "Backsolve")
        return ys
    return _Backsolved.apply(AdjointField(field, y0.shape), ts, settings, pace, ys, y0, *held)


class _Backsolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, adjoint, ts, settings, pace: float, ys: Tensor, y0: Tensor, *held: Tensor) -> Tensor:
        ctx.adjoint, ctx.ts, ctx.settings, ctx.pace = adjoint, ts, settings, pace
        ctx.save_for_backward(ys, *held)
        return ys.clone()

    @staticmethod
    def backward(ctx, g: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise SolveError("`Backsolve()` has no second derivatives. Use `Direct()`.")
        ys, *held = ctx.saved_tensors
        backwards = Backwards(ctx.adjoint, ctx.settings, held, [None] * len(held), ctx.pace)
        y_bar, bars = _sweep(backwards, ctx.ts, ys, g)
        return None, None, None, None, None, y_bar.view(ctx.adjoint.shape), *bars


def _sweep(backwards: "Backwards", ts: np.ndarray, ys: Tensor, g: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients by the initial state and by `held`, from the last output back to the first."""
    reached = torch.isfinite(ys).all(dim=-1) & torch.as_tensor(~np.isnan(ts), device=ys.device)
    g = torch.where(reached[..., None], g, 0.0)
    reached = host(reached)
    a = torch.zeros_like(ys[:, 0])
    for k in reversed(range(1, ts.shape[1])):
        a = a + g[:, k]
        # Padding, what lies behind a failure, and what nothing depends on are intervals of length 0.
        moving = reached[:, k] & host(a.any(dim=1))
        if not moving.any():
            continue
        mask = torch.as_tensor(moving[:, None], device=ys.device)
        sound = ys[int(np.flatnonzero(moving)[0]), k]
        pair = np.where(moving[:, None], ts[:, [k, k - 1]], ts[:, :1])
        ends = [torch.where(mask, ys[:, i], sound) for i in (k, k - 1)]
        a = backwards.solve(pair, *ends, a)
    return a + g[:, 0], backwards.bars


@dataclass
class Backwards:
    """The backward solve from one known state to the one before.

    Args:
        adjoint: Field and adjoint.
        settings: Solver and tolerances.
        held: Tensors to differentiate by.
        bars: Their gradients so far.
        pace: Steps per unit of time that the forward solve took.
        warned: Whether it has been said that the path was left.
    """

    adjoint: AdjointField
    settings: Settings
    held: list[Tensor]
    bars: list[Tensor | None]
    pace: float
    warned: bool = False

    def solve(
        self, pair: Float[np.ndarray, "batch 2"], late: Tensor, early: Tensor, a: Tensor, halvings: int = 0
    ) -> Float[Tensor, "batch state"]:
        """The adjoint at the earlier time.

        Where the state reconstructed from the later time does not end in the known one, the adjoint was taken along
        a wrong path: the state is then found in the middle by a forward solve, and both halves are tried.

        Args:
            pair: The later and the earlier time.
            late: States at the later time.
            early: States at the earlier time.
            a: The adjoint at the later time.
            halvings: How often the interval has been halved.
        """
        single, state = len(self.adjoint.shape) == 1, early.shape[-1]
        # The adjoint is linear: normalized, it meets the same absolute tolerance as the state.
        size = a.abs().amax(dim=1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        z = torch.cat([late, a / size], dim=1)
        # A path that was left is followed in ever shorter steps: that ends here.
        limit = 100 + int(3 * self.pace * np.abs(pair[:, 0] - pair[:, 1]).max())
        settings = replace(self.settings, max_steps=min(self.settings.max_steps, limit))
        result = march(self.adjoint, z[0] if single else z, pair, settings, dense=True)
        if not result.failures:
            end = result.record.interpolate(pair[:, 1:])[:, 0]
            if (host(self._tolerance.norm(end[:, :state] - early, early)) <= ASTRAY).all():
                longest = np.abs(result.record.column("h")).max(axis=0)
                span = np.abs(pair[:, 0] - pair[:, 1])
                self.settings = replace(self.settings, first_step=np.where(longest > 0, longest, span))
                _integrate(self.adjoint, result.record, size, self.held, self.bars)
                return size * end[:, state:]
        self._warn(float(pair[0, 0]), float(pair[0, 1]))
        if halvings == HALVINGS:
            raise SolveError(
                f"the adjoint of `Backsolve()` failed between t = {pair[0, 1]:.6g} and t = {pair[0, 0]:.6g}: the path "
                "cannot be reconstructed backwards. Use `Direct()` or `Checkpointed()`."
            )
        middle = pair.mean(axis=1)
        start = early.reshape(self.adjoint.shape)
        times = np.stack([pair[:, 1], middle], axis=1)
        forward = march(self.adjoint.field, start, times, replace(self.settings, first_step=None), dense=False)
        half = forward.record.interpolate(times[:, 1:])[:, 0]
        a = self.solve(np.stack([pair[:, 0], middle], axis=1), late, half, a, halvings + 1)
        return self.solve(np.stack([middle, pair[:, 1]], axis=1), half, early, a, halvings + 1)

    @property
    def _tolerance(self) -> Tolerance:
        own = self.settings.tolerance
        if self.settings.solver.adaptive:
            return own
        return replace(own, rtol=FIXED_STEPS, atol=max(FIXED_STEPS, own.atol))

    def _warn(self, late: float, early: float) -> None:
        if self.warned:
            return
        self.warned = True
        warnings.warn(
            f"`Backsolve()`: the state reconstructed backwards from t = {late:.6g} to t = {early:.6g} left the forward "
            "path; the interval is solved in parts, from states found by further forward solves. `Direct()` and "
            "`Checkpointed()` need no reconstruction; `Backsolve(checkpoints=...)` keeps more states.",
            stacklevel=2,
        )


def _integrate(
    adjoint: AdjointField, record: Record, size: Tensor, held: list[Tensor], bars: list[Tensor | None]
) -> None:
    r"""Add :math:`\int a \, \partial f / \partial \theta \, dt` over the steps of `record` to `bars`."""
    if not held:
        return
    times, points, _ = stage_points(record)
    y, a = points.detach().chunk(2, dim=-1)
    h = torch.as_tensor(record.column("h"), dtype=y.dtype, device=y.device)
    b = torch.as_tensor(record.tableau.a[-1], dtype=y.dtype, device=y.device)
    cotangent = -size * a * (h[:, None] * b[:, None])[..., None]
    if record.masks is not None:
        cotangent = cotangent * record.masks[:, None, : y.shape[-1]]
    dy = evaluate_all(adjoint.field, times, y, adjoint.shape)
    if dy is None:
        pairs = zip(times.flatten(0, 1), y.flatten(0, 1))
        shape = adjoint.shape
        clock = () if len(shape) == 1 else (shape[0],) + (1,) * (len(shape) - 1)
        with torch.enable_grad():
            dy = torch.stack([adjoint.field(t.view(clock), x.reshape(shape)) for t, x in pairs]).view(y.shape)
    if not dy.requires_grad:
        return
    check_found([dy], held, "Backsolve")
    found = torch.autograd.grad(dy, held, cotangent, allow_unused=True, retain_graph=True)
    for i, bar in enumerate(found):
        so_far = bars[i]
        if bar is not None:
            bars[i] = bar if so_far is None else so_far + bar
