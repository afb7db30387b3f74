"""Waveforms that are computed: geodesics by the project's own solver, comparable masses by lalsuite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from sciml.errors import DataError
from sciml.simulation import simulate
from sciml.solvers import Dopri8

from ...models import binary_black_hole
from .checks import frame_of, ordered_ratio
from .files import EXTRA


def geodesic(
    ts: Float[np.ndarray, " time"] | Sequence[float],
    p: float = 100.0,
    e: float = 0.5,
    chi: float = np.pi,
    phi: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    r"""The wave of a light body on an exact geodesic around a black hole, per mass ratio.

    Args:
        ts: Times in M, increasing; the first is the initial time.
        p: Semilatus rectum, above 6 + 2e.
        e: Eccentricity, from 0 to below 1.
        chi: Initial angle from the pericenter.
        phi: Initial angle in space.
        noise: Standard deviation of Gaussian noise, relative to the largest |h₂₂|.
        seed: Of the noise.

    Returns:
        Index `t`; columns `h22_real`, `h22_imag`.

    Raises:
        ModelError: The orbit falls into the hole or is not bound.

    Example:
        >>> geodesic([0.0, 100.0], p=50.0, e=0.2).shape
        (2, 2)

    Reference:
        Keith, Khadse, Field (2021), Phys. Rev. Research 3, 043101, section III A.
    """
    system = binary_black_hole.schwarzschild(p, e, chi, phi)
    found = simulate(system, ts, solver=Dopri8(), rtol=1e-11, atol=1e-11)
    frame = pd.DataFrame(
        {name: found[name] for name in ("h22_real", "h22_imag")}, index=pd.Index(found.times, name="t")
    )
    if noise:
        size = np.hypot(frame["h22_real"], frame["h22_imag"]).max()
        frame += noise * size * np.random.default_rng(seed).standard_normal(frame.shape)
    frame.attrs |= {"name": f"geodesic, p = {p:g}, e = {e:g}"}
    return frame


def lal(
    approximant: str = "SEOBNRv4",
    mass_ratio: float = 1.0,
    *,
    frequency: float = 0.015,
    spacing: float = 0.5,
    eccentricity: float = 0.0,
) -> pd.DataFrame:
    r"""A waveform of non-spinning bodies from lalsimulation, with its peak at t = 0.

    Args:
        approximant: Name in lalsimulation of a time-domain model of the (2, 2) mode alone, such as SEOBNRv4, EOBNRv2,
            TaylorT4, IMRPhenomT.
        mass_ratio: q = m₁/m₂; q < 1 is taken as 1/q.
        frequency: Orbital frequency Ω at the start, in 1/M. 0.015 is about 5,800 M before an equal-mass merger.
        spacing: Time between rows, in M.
        eccentricity: At the start, for approximants that know one.

    Returns:
        Index `t` in M; columns `h22_real`, `h22_imag`; `attrs["mass_ratio"]` is q ≥ 1.

    Raises:
        DataError: lalsuite is not installed, knows no such approximant, or refuses the binary.
    """
    lalpackage, simulation = _lalsuite()
    ratio = ordered_ratio(mass_ratio)
    if not (frequency > 0 and spacing > 0 and 0 <= eccentricity < 1):
        raise DataError(
            f"`frequency={frequency}`, `spacing={spacing}`, `eccentricity={eccentricity}`: the first two must be positive, "
            "the last from 0 to below 1."
        )
    if approximant == "EccentricTD" and eccentricity == 0:
        raise DataError("`EccentricTD` does not end at `eccentricity=0`: give a positive one, or another approximant.")
    mass, distance = 60.0, 1e6 * lalpackage.PC_SI
    first, second = mass * ratio / (1 + ratio), mass / (1 + ratio)
    spin = (0.0,) * 6
    orientation = (0.0, 0.0, 0.0, eccentricity, 0.0)  # inclination, phase, node, eccentricity, anomaly
    start = frequency / (np.pi * mass * lalpackage.MTSUN_SI)
    try:
        number = simulation.GetApproximantFromString(approximant)
        plus, cross = simulation.SimInspiralChooseTDWaveform(
            first * lalpackage.MSUN_SI, second * lalpackage.MSUN_SI, *spin, distance, *orientation,
            spacing * mass * lalpackage.MTSUN_SI, start, start, lalpackage.CreateDict(), number,
        )  # fmt: skip
    except RuntimeError as error:
        raise DataError(f"lalsimulation cannot compute `{approximant}` for q = {ratio:g}: {error}.") from error
    strain = plus.data.data - 1j * cross.data.data
    h22 = strain * distance / (mass * lalpackage.MRSUN_SI) / np.sqrt(5 / (4 * np.pi))
    h22 = h22[np.abs(h22) > 0]
    times = spacing * np.arange(len(h22))
    return frame_of(times - times[np.argmax(np.abs(h22))], h22, f"{approximant}, q = {ratio:g}", ratio)


def _lalsuite() -> tuple[Any, Any]:
    try:
        import lal  # pyright: ignore[reportMissingImports]
        import lalsimulation  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"waveforms of lalsimulation need lalsuite: {EXTRA}.") from error
    lal.swig_redirect_standard_output_error(False)
    lal.ClobberDebugLevel(0)
    return lal, lalsimulation
