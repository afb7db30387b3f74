"""Measurements of simulated systems, with noise and gaps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from sciml.errors import DataError, quoted, suggestion
from sciml.simulation import simulate
from sciml.symbolic.system import System

from ..models import lotka_volterra


def noisy(
    system: System,
    ts: Float[np.ndarray, " time"] | Sequence[float],
    noise: Mapping[str, float] | float,
    seed: int = 0,
    missing: float = 0.0,
) -> pd.DataFrame:
    r"""Simulate a System and measure it with Gaussian noise.

    .. math:: \tilde y_{ij} = y_j(t_i) + s_j \, \bar y_j \, \varepsilon_{ij}, \quad \varepsilon_{ij} \sim N(0, 1)

    with the mean absolute value :math:`\bar y_j` of column j over the times (the mean itself would vanish for an
    oscillation).

    Args:
        system: With initial values for all states.
        ts: Times of measurement, strictly increasing; the first is the initial time.
        noise: Level s relative to the mean absolute value of a column: one number for all, or column -> number. Columns
            left out of the mapping have no noise.
        seed: Of noise and gaps.
        missing: Probability with which a value is replaced by NaN, from 0 to below 1.

    Returns:
        Index time; columns named like states and observables.

    Raises:
        DataError: A level is negative or names no column, or `missing` is no such probability.

    Example:
        >>> from sciml.models import damped_oscillator
        >>> noisy(damped_oscillator(), [0.0, 0.5, 1.0], noise={"x": 0.01}).round(3)
                 x      v
        t
        0.0  1.001  0.000
        0.5  0.573 -1.526
        1.0 -0.261 -1.503

    Reference:
        Rackauckas et al. (2020), Universal Differential Equations for Scientific Machine Learning, section 3.1.
    """
    if not 0 <= missing < 1:
        raise DataError(f"`missing={missing}` is a probability: give a number from 0 to below 1.")
    frame = simulate(system, ts, rtol=1e-10, atol=1e-10).to_frame()
    spread = _levels(noise, list(frame.columns)) * frame.abs().mean().to_numpy()
    rng = np.random.default_rng(seed)
    frame = frame + spread * rng.standard_normal(frame.shape)
    return frame.mask(rng.random(frame.shape) < missing)


def _levels(noise: Mapping[str, float] | float, columns: list[str]) -> Float[np.ndarray, " column"]:
    given = {str(k): v for k, v in noise.items()} if isinstance(noise, Mapping) else dict.fromkeys(columns, noise)
    for name, level in given.items():
        if name not in columns:
            raise DataError(f"`noise` names `{name}`, but the System has {quoted(columns)}.{suggestion(name, columns)}")
        if not (np.isfinite(level) and level >= 0):
            raise DataError(f"the noise level of `{name}` is {level}: it must be zero or a positive number.")
    return np.array([given.get(name, 0.0) for name in columns])


def ude_lotka_volterra(noise: float = 5e-3, seed: int = 0) -> pd.DataFrame:
    r"""The measurements from which the universal-differential-equations paper recovers a predator-prey law.

    .. math:: \dot x = 1.3 x - 0.9 x y, \quad \dot y = 0.8 x y - 1.8 y, \quad t = 0, 0.1, \dots, 3

    Args:
        noise: Standard deviation relative to the mean of each column.
        seed: Of the noise.

    Returns:
        Index `t`; columns `x` (prey) and `y` (predators); 31 rows.

    Example:
        >>> ude_lotka_volterra(noise=0.0).iloc[[0, -1]].round(4)
                  x       y
        t
        0.0  0.4425  4.6281
        3.0  1.6064  0.0676

    Reference:
        Rackauckas et al. (2020), Universal Differential Equations for Scientific Machine Learning, section 3.1.
    """
    system = lotka_volterra(1.3, 0.9, 1.8, 0.8, prey=0.44249296, predator=4.6280594)
    return noisy(system, np.arange(31) / 10, noise, seed)
