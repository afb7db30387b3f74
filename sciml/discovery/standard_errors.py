"""How surely the data determine what was fitted: standard errors from the expected information."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from sciml.measurement.loss import Loss
from sciml.native.scorer import Scorer


def standard_errors(
    loss: Loss, scorer: Scorer, theta: Float[np.ndarray, " theta"], moving: Int[np.ndarray, " moving"]
) -> dict[int, float]:
    """Coordinate -> standard error of the number that it stands for; NaN where the data do not determine them.

    Args:
        loss: What was minimized.
        scorer: Of the loss.
        theta: Where it is least.
        moving: The coordinates that were fitted; profiled noise levels are not among them.
    """
    tangents = scorer.tangents(theta, moving)
    if tangents is None:
        return {}
    _, slopes = loss.coordinates.values(theta)
    # The best noise level is too small by the degrees of freedom that were used.
    count = loss.problem.observations
    widening = np.sqrt(count / max(count - len(moving), 1)) if any(k >= 0 for k in scorer.noise) else 1.0
    _, triangle = np.linalg.qr(tangents[0])
    with np.errstate(all="ignore"):
        regular = np.abs(np.diag(triangle)).min(initial=np.inf) > 0
        spread = np.linalg.norm(np.linalg.inv(triangle), axis=1) if regular else np.full(len(moving), np.nan)
    return dict(zip(moving.tolist(), np.abs(widening * spread * slopes[moving]).tolist()))
