"""Steps that were taken once are taken again with a graph, their lengths given."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.errors import SolveError
from sciml.solvers.captured import graph_leaves
from sciml.solvers.field import Field
from sciml.solvers.loop import Settings, stepper_for
from sciml.solvers.record import Located, Record, Trace, stacked


def replayed(
    field: Field,
    y0: Float[Tensor, "*shape"],
    settings: Settings,
    source: Record | Trace,
    steps: range,
    y: Float[Tensor, "*batch state"],
    rate: Float[Tensor, "*batch state"] | None = None,
) -> tuple[Record, Tensor, Tensor]:
    """Take some of the steps of a march again.

    Args:
        field: The field on states of the shape of `y0`.
        y0: Initial states of the march.
        settings: Its solver and tolerances.
        source: Tells the lengths of the steps.
        steps: Which ones.
        y: State at the beginning of the first of them.
        rate: Its first stage there, the last one of the step before; the field is called when None.

    Returns:
        The steps, and the state and the rate at the end.
    """
    start = np.atleast_1d(source.t[steps.start])
    stepper = stepper_for(field, y0, start, settings.solver, settings.tolerance)
    again = Record(settings.solver.tableau, start, masks=stepper.masks)
    rate = stepper.field(stepper.clock(source.t[steps.start]), y) if rate is None else rate
    for n in steps:
        if n > steps.start and (jumped := restarted(source, n)).any():
            fresh = stepper.field(stepper.clock(source.t[n]), y)
            rate = (
                fresh if jumped.all() else torch.where(torch.as_tensor(jumped, device=y.device)[:, None], fresh, rate)
            )
        new, k = stepper.stages(source.t[n], source.h[n], y, rate)
        again.append(source.t[n], source.end[n], source.h[n], y, k)
        y, rate = new, k[-1]
    return again, y, rate


def restarted(source: Record | Trace, n: int) -> Bool[np.ndarray, " batch"]:
    """For which trajectories step n begins behind a jump of the field, whose rate there is another than before."""
    return np.atleast_1d(np.not_equal(source.t[n], source.end[n - 1]))


def picked(record: Record, located: Located, first: int, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Some outputs of a replay, from their places in the whole march.

    Args:
        record: The replay.
        located: Steps and weights of all outputs.
        first: Number of the replay's first step in the march.
        rows: Trajectories of the outputs wanted.
        columns: Their numbers along the time axis.

    Returns:
        One state per pair of row and column.
    """
    batch = located.step.shape[0]
    y = torch.stack(record.y).view(len(record.y), batch, -1)
    k = stacked(record.k).view(len(y), -1, batch, y.shape[-1])
    step = torch.as_tensor(located.step[rows, columns] - first, device=y.device)
    weights = torch.as_tensor(located.weights[rows, columns], dtype=y.dtype, device=y.device)
    row = torch.as_tensor(rows, device=y.device)
    return y[step, row] + (weights[..., None] * k[step, :, row]).sum(dim=1)


def check_found(outputs: Sequence[Tensor], known: Sequence[Tensor], name: str) -> None:
    """See that no gradient goes missing.

    Args:
        outputs: What was computed with the field.
        known: The tensors by which it is differentiated.
        name: The gradient mode.

    Raises:
        SolveError: The outputs depend on a tensor that is not among them.
    """
    for output in outputs:
        for leaf in graph_leaves(output, stop=known):
            raise SolveError(
                f"the field depends on a tensor of shape {tuple(leaf.shape)} that `{name}` found neither by looking "
                f"into the field nor by calling it at the initial state. Name it: `{name}(parameters=(...,))`."
            )


def check_unseen(field: Field, y0: Tensor, ts: Float[np.ndarray, "batch time"], ys: Tensor, name: str) -> None:
    """See that a field in which no tensor with a gradient was found has none at the outputs, either.

    Args:
        field: The field on states of the shape of `y0`.
        y0: Initial states.
        ts: Output times.
        ys: The states there.
        name: The gradient mode.

    Raises:
        SolveError: The field depends on a tensor with a gradient.
    """
    for k in range(ts.shape[1]):
        clock = torch.as_tensor(ts[:, k], dtype=y0.dtype, device=y0.device)
        clock = clock[0] if y0.ndim == 1 else clock.view(-1, *(1 for _ in y0.shape[1:]))
        with torch.enable_grad():
            check_found([field(clock, ys[:, k].detach().reshape(y0.shape))], [], name)
