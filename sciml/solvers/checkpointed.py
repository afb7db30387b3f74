"""The exact gradient in bounded memory: few states are kept, and the steps between them are taken again."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import SolveError
from sciml.solvers.captured import dependencies
from sciml.solvers.field import Field
from sciml.solvers.loop import Settings
from sciml.solvers.record import Trace, locate
from sciml.solvers.replay import check_found, check_unseen, picked, replayed, restarted


@dataclass(frozen=True, eq=False)
class Plan:
    """What the reverse pass needs.

    Args:
        field: The field.
        ts: Output times.
        settings: Solver and tolerances.
        trace: Lengths of all steps and the states kept.
    """

    field: Field
    ts: Float[np.ndarray, "batch time"]
    settings: Settings
    trace: Trace


def attach_checkpointed(
    plan: Plan, y0: Tensor, ys: Float[Tensor, "batch time state"], parameters: Iterable[Tensor]
) -> Float[Tensor, "batch time state"]:
    """Outputs of a march without a graph, with their exact gradient.

    Args:
        plan: The march.
        y0: Initial state.
        ys: The states at the output times.
        parameters: Tensors that the field depends on, besides those that are found.

    Returns:
        The same states.
    """
    held = dependencies(plan.field, plan.ts, y0, parameters)
    if not held and not y0.requires_grad:
        check_unseen(plan.field, y0, plan.ts, ys, "Checkpointed")
        return ys
    return _Checkpointed.apply(plan, ys, y0, *held)


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, plan: Plan, ys: Tensor, y0: Tensor, *held: Tensor) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(y0, *held)
        return ys.clone()

    @staticmethod
    def backward(ctx, g: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            raise SolveError("`Checkpointed()` has no second derivatives. Use `Direct()`.")
        y0, *held = ctx.saved_tensors
        y_bar, bars = _sweep(ctx.plan, y0, g, held)
        return None, None, y_bar.view(y0.shape), *bars


def _sweep(
    plan: Plan, y0: Tensor, g: Float[Tensor, "batch time state"], held: list[Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients by the initial state and by `held`, segment after segment from the last."""
    trace, bars = plan.trace, [None] * len(held)
    if not trace.t:
        return g[:, 0], bars
    located = locate(plan.settings.solver.tableau, plan.ts[:, 0], trace, plan.ts[:, 1:])
    # What goes from step to step is the state and the rate there, the last stage of one and the first of the next.
    bar = [torch.zeros_like(trace.states[0][0])] * 2
    for number in reversed(range(len(trace.states))):
        first = number * trace.stride
        steps = range(first, min(first + trace.stride, len(trace.t)))
        inside = located.covered & (located.step >= first) & (located.step < steps.stop)
        rows, columns = np.nonzero(inside)
        with torch.enable_grad():
            begin = [x.detach().requires_grad_() for x in trace.states[number]]
            # The first rate of all is no stage, and behind a jump it is another: the field is called there.
            rate = None if number == 0 or restarted(trace, first).any() else begin[1]
            record, *end = replayed(plan.field, y0, plan.settings, trace, steps, begin[0], rate)
            outputs = picked(record, located, first, rows, columns)
        check_found([*end, outputs], [*begin, *held], "Checkpointed")
        pairs = zip([*end, outputs], [*bar, g[rows, columns + 1]])
        sources, cotangents = zip(*[(x, bar) for x, bar in pairs if x.requires_grad])
        found = torch.autograd.grad(sources, [*begin, *held], cotangents, allow_unused=True, retain_graph=True)
        bar = [torch.zeros_like(x) if b is None else b for b, x in zip(found, begin)]
        bars = [b if a is None else a if b is None else a + b for a, b in zip(bars, found[2:])]
    return bar[0].reshape(len(plan.ts), -1) + g[:, 0], bars
