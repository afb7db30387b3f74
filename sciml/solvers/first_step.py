"""The length of the first step, from the sizes of the state, its slope and its curvature."""

import numpy as np
import torch
from torch import Tensor

from sciml.solvers.steppers import BatchStepper, SingleStepper


@torch.no_grad()
def first_step(stepper: SingleStepper | BatchStepper, t: np.ndarray, end: np.ndarray, y: Tensor, f: Tensor):
    r"""First step of each trajectory, with its sign.

    Args:
        stepper: Gives the field, the tolerances and the order.
        t: Initial times.
        end: Final times.
        y: Initial states.
        f: The field there.

    Returns:
        Signed lengths, as long as the interval at most; one evaluation of the field is spent.

    Reference:
        Hairer, Nørsett, Wanner I, section II.4, "Starting step size".
    """
    span = np.abs(end - t)
    sign = np.where(end >= t, 1.0, -1.0)
    d0, d1 = stepper.size(y, y), stepper.size(f, y)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        h0 = np.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
        h0 = sign * np.nan_to_num(np.minimum(h0, span))
        single = isinstance(stepper, SingleStepper)
        step = float(h0[0]) if single else torch.as_tensor(h0, dtype=y.dtype, device=y.device)[:, None]
        clock = stepper.clock(float((t + h0)[0]) if single else t + h0)
        slope = stepper.field(clock, y + step * f)
        d2 = stepper.size(slope - f, y) / np.abs(h0)
        largest = np.maximum(d1, d2)
        h1 = np.where(
            largest <= 1e-15, np.maximum(1e-6, np.abs(h0) * 1e-3), (0.01 / largest) ** (1 / stepper.tableau.order)
        )
        h = np.minimum(100 * np.abs(h0), h1)
    # A probe that left the finite numbers says nothing: start from the first guess.
    return sign * np.minimum(np.where(np.isfinite(h) & (h > 0), h, np.abs(h0)), span)
