"""Whether a field descends a potential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sciml.dynamics.evolution import Analyzed, Evolution, names_of
from sciml.errors import ModelError


@dataclass(frozen=True, eq=False)
class GradientTest:
    r"""The outcome of `is_gradient_field`; true as a condition where the field passes.

    Attributes:
        passed: Whether no antisymmetric part beyond the tolerance was met.
        asymmetry: Largest :math:`|J - J^T| / (2 \max |J|)` met.
        witness: The point where it was met.
        jacobian: The Jacobian there.
        names: Of the states.
    """

    passed: bool
    asymmetry: float
    witness: Float[np.ndarray, " state"]
    jacobian: Float[np.ndarray, "state state"]
    names: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        if self.passed:
            return f"GradientTest(passed: the Jacobian is symmetric to {self.asymmetry:.2g})"
        i, j = np.unravel_index(np.argmax(np.abs(self.jacobian - self.jacobian.T)), self.jacobian.shape)
        x, y = self.names[i], self.names[j]
        where = ", ".join(f"{n} = {v:.4g}" for n, v in zip(self.names, self.witness))
        return (
            f"GradientTest(failed: at {where}, d({x}')/d{y} = {self.jacobian[i, j]:.4g} but "
            f"d({y}')/d{x} = {self.jacobian[j, i]:.4g})"
        )


def is_gradient_field(
    analyzed: Analyzed, points: Any, *, count: int = 256, time: float = 0.0, tolerance: float = 1e-8, seed: int = 0
) -> GradientTest:
    r"""Whether a flow is :math:`\dot y = -\nabla U(y)` for some potential, as far as a set of points tells.

    On a box without holes it is one if and only if the Jacobian is symmetric everywhere. A point where it is not is a
    proof that there is no potential; symmetry at all points looked at is strong evidence for one. A gradient flow never
    turns around in circles: its Jacobian has real eigenvalues only.

    Args:
        analyzed: A System, a compiled field or a callable `field(t, y)`.
        points: States (point, state) as a tensor or array; or bounds as for `fixed_points`, to sample from.
        count: Points to sample from bounds.
        time: At which a field that depends on time is frozen.
        tolerance: Largest asymmetry, relative to the largest entry of the Jacobian, that passes.
        seed: Of the sample.

    Returns:
        The verdict with its witness.

    Raises:
        ModelError: A map was given: it is no field.
        DataError: The points do not fit the states.

    Example:
        >>> from sciml import models
        >>> is_gradient_field(models.van_der_pol(), {"x": (-2, 2), "v": (-2, 2)}).passed
        False

    Reference:
        Poincaré's lemma; Hirsch, Smale, Devaney (2013), section 9.3.
    """
    evolution = Evolution.of(analyzed)
    if evolution.discrete:
        raise ModelError("a map is not a field. For a step y + h f(y), test the field f.")
    sampled = isinstance(points, dict) or (isinstance(points, tuple) and len(points) == 2)
    y = evolution.sample(points, count, seed) if sampled else evolution.starts(points)
    jacobians = evolution.jacobian(time, y)
    size = float(jacobians.abs().max()) or 1.0
    parts = (jacobians - jacobians.transpose(1, 2)).abs().flatten(1).amax(1) / (2 * size)
    worst = int(torch.argmax(parts))
    asymmetry = float(parts[worst])
    return GradientTest(
        asymmetry <= tolerance,
        asymmetry,
        y[worst].numpy(),
        jacobians[worst].numpy(),
        tuple(names_of(evolution, y.shape[1])),
    )
