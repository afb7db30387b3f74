"""Fisher information of a loss: how sharply measurements, penalties, gaps and priors hold the coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from sciml.measurement.loss import Loss
from sciml.measurement.projection import Projection, projections


@dataclass(frozen=True)
class Information:
    r"""The matrix :math:`J^T J + \operatorname{diag}(d)` that stands for the Hessian of a loss.

    Attributes:
        jacobian: J: derivatives of the predictions by the free coordinates, in units of their uncertainty.
        priors: d: curvature of the priors.
    """

    jacobian: Float[np.ndarray, "row theta"]
    priors: Float[np.ndarray, " theta"]

    @property
    def matrix(self) -> Float[np.ndarray, "theta theta"]:
        """All of it."""
        return self.jacobian.T @ self.jacobian + np.diag(self.priors)


def information(loss: Loss, vector: Float[np.ndarray, " theta"], continuity: float = 0.0) -> Information | None:
    r"""Expected information of a loss at a vector; None where the equations cannot be solved.

    Each measurement adds :math:`I(m) \nabla m \nabla m^T + I(s) \nabla s \nabla s^T` with the Fisher information of its
    likelihood on mean and scale; a broken penalty :math:`2 w \nabla g \nabla g^T`; a gap its price. For normal noise of
    known level that is the matrix of Gauss and Newton.

    Args:
        loss: Of one shot per experiment or of several.
        vector: Free coordinates.
        continuity: Price of the squared gaps.

    Reference:
        Green (1984), J. R. Stat. Soc. B 46, 149-192.
    """
    wanted = _wanted(loss)
    found = loss.linearize(np.asarray(vector, dtype=float), wanted)
    if found is None:
        return None
    predicted, gaps, jacobian = found
    weights = _weights(loss, predicted)
    roots = np.sqrt(np.concatenate([weights[wanted], np.full(gaps.size, continuity)]))
    projected = [_projected(loss, one, predicted, wanted, jacobian) for one in projections(loss.problem)]
    with np.errstate(all="ignore"):  # a noise level of zero weighs without limit
        jacobian = np.vstack([jacobian * roots[:, None], *projected])
    if not np.isfinite(jacobian).all():
        return None
    return Information(jacobian, loss.coordinates.prior_information(vector))


def _wanted(loss: Loss) -> Bool[np.ndarray, "row output"]:
    """Which observables of which rows enter the loss, and can change."""
    problem = loss.problem
    known = np.isfinite(np.concatenate([shot.values for shot in loss.shots]))
    fitted = np.array([bool(scale.free_symbols) for scale in problem.scales], dtype=bool)
    priced = np.concatenate(loss.prices) > 0
    wanted = np.hstack([known, known & fitted, np.repeat(priced[:, None], len(problem.inequalities), axis=1)])
    for one in projections(problem):
        own = np.zeros((len(priced), one.outputs.stop - one.outputs.start), dtype=bool)
        own[:, : one.count] = priced[:, None]
        wanted = np.hstack([wanted, own])
    return wanted


def _projected(
    loss: Loss,
    one: Projection,
    predicted: Float[np.ndarray, "row output"],
    wanted: Bool[np.ndarray, "row output"],
    jacobian: Float[np.ndarray, "row theta"],
) -> Float[np.ndarray, "parameter theta"]:
    """The Jacobian of residuals whose squares make one `Orthogonal`, with the s held."""
    prices = np.concatenate(loss.prices)
    rows, outputs = np.nonzero(wanted)  # in the order of the Jacobian
    slopes = [
        prices[rows[outputs == k]] @ jacobian[: len(rows)][outputs == k] for k in range(*one.overlaps.indices(10**9))
    ]
    return one.roots(prices @ predicted[:, one.outputs]) @ np.array(slopes)


def _weights(loss: Loss, predicted: Float[np.ndarray, "row output"]) -> Float[np.ndarray, "row output"]:
    """Information of each row on each of its observables."""
    problem = loss.problem
    count = len(problem.columns)
    values, levels = (np.concatenate([getattr(shot, name) for shot in loss.shots]) for name in ("values", "levels"))
    weights = np.zeros_like(predicted)
    with np.errstate(all="ignore"):
        for c, likelihood in enumerate(problem.densities):
            means, scales = predicted[:, c], predicted[:, count + c] * levels[:, c]
            on_mean, on_scale = likelihood.information(values[:, c], means, scales)
            weights[:, c], weights[:, count + c] = on_mean, on_scale * levels[:, c] ** 2
    prices = np.concatenate(loss.prices)
    for k, penalty in enumerate(problem.inequalities):
        weights[:, 2 * count + k] = 2 * penalty.weight * prices * (predicted[:, 2 * count + k] > 0)
    return weights
