"""Trajectories of maps: a System with `discrete=True` from one step to the next."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError, SolveError, quoted
from sciml.lowering.vector_field import FieldAt
from sciml.solvers import Status


@torch.no_grad()
def iterate(
    step: FieldAt, y0: Float[Tensor, "*trajectory state"], times: Float[np.ndarray, " time"], solver: Any, throw: bool
) -> tuple[Float[np.ndarray, "*trajectory time state"], tuple[Status, ...]]:
    """States at whole numbers of steps, all trajectories together.

    Args:
        step: The map.
        y0: Where to start, at the first of the times.
        times: Numbers of steps, whole and increasing.
        solver: A method for differential equations, which a map has no use for.
        throw: Raise where a trajectory leaves the finite numbers; otherwise it is NaN from there.

    Raises:
        ModelError: A solver was given.
        DataError: The times are not whole numbers, or fall.
        SolveError: A trajectory left the finite numbers.
    """
    if solver is not None:
        raise ModelError(f"`solver={solver!r}` is for differential equations; a map (`discrete=True`) is iterated.")
    if (times != np.round(times)).any() or (np.diff(times) < 0).any():
        wrong = times[times != np.round(times)]
        raise DataError(
            f"a map goes in whole steps, forwards; `ts` has {wrong[0] if len(wrong) else 'falling numbers'}. "
            "Give numbers of steps, such as `range(101)`."
        )
    y, states, start, wanted = y0, [], int(times[0]), set(times.tolist())
    for n in range(start, int(times[-1]) + 1):
        y = step(float(n - 1), y) if n > start else y
        if n in wanted:
            states.append(y)
    path = torch.stack(states, dim=-2).numpy()
    lost = ~np.isfinite(path).all(axis=-1)
    broken = np.atleast_1d(lost.any(axis=-1))
    if throw and broken.any():
        first = np.atleast_2d(lost)[int(np.argmax(broken))]
        where = f"trajectory {int(np.argmax(broken))} of {len(broken)}" if path.ndim > 2 else "the trajectory"
        raise SolveError(
            f"{where} of the map left the finite numbers by step {times[int(np.argmax(first))]:.0f} "
            f"(states {quoted(step.names)}). Start nearer to the attractor, or pass `throw=False`."
        )
    path[np.maximum.accumulate(lost, axis=-1)] = np.nan
    return path, tuple(Status.NON_FINITE if bad else Status.SUCCESS for bad in broken)
