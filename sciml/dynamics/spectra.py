"""Eigenvalues of the Jacobian along a trajectory."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex, Float

from sciml.dynamics.evolution import Analyzed, Evolution
from sciml.errors import DataError


def jacobian_spectrum(
    analyzed: Analyzed, states: Float[np.ndarray, "time state"], times: Float[np.ndarray, " time"] | None = None
) -> Complex[np.ndarray, "time state"]:
    r"""Eigenvalues of :math:`\partial f/\partial y` at states along a trajectory.

    They tell how stiff the equations are there and which deviations grow *for a moment*; a trajectory along which all
    real parts are negative can still be unstable, which only Lyapunov exponents decide.

    Args:
        analyzed: A System, a compiled field, a callable `field(t, y)`, or `Map(step)`.
        states: Where, such as `simulation.states`.
        times: When, for a field that depends on time; zero when None.

    Returns:
        Eigenvalues by falling real part; of a map by falling modulus.

    Raises:
        DataError: States and times differ in number, or the states are not finite.

    Example:
        >>> from sciml import models, simulate
        >>> path = simulate(models.van_der_pol(), [0.0, 1.0])
        >>> jacobian_spectrum(path.system, path.states).shape
        (2, 2)
    """
    evolution = Evolution.of(analyzed)
    y = evolution.starts(states)
    if not torch.isfinite(y).all():
        raise DataError("the states hold NaN or infinity: the trajectory failed there. Cut it off before.")
    if times is None:
        jacobians = evolution.jacobian(0.0, y)
    elif np.shape(times) != (len(y),):
        raise DataError(f"there are {len(y)} states and times of shape {np.shape(times)}: give one time per state.")
    else:
        jacobians = torch.cat([evolution.jacobian(float(t), row[None]) for t, row in zip(times, y)])
    found = np.linalg.eigvals(jacobians.numpy()).astype(complex)
    key = np.abs(found) if evolution.discrete else found.real
    return np.take_along_axis(found, np.argsort(-key, axis=1, kind="stable"), axis=1)
