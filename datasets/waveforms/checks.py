"""What a waveform must be: sorted, sampled well, turning the right way, of the right size, free of junk."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Complex, Float
from scipy.signal import savgol_filter

from sciml.errors import DataError

SIZE = 8 * np.sqrt(np.pi / 5)
"""|h₂₂| = SIZE ν x for a circular orbit with x = Ω^(2/3), to leading order."""

JUNK = 200.0
"""For how long after its start, in M, a simulation may ring."""


FASTEST = 0.2
"""Orbital frequency, in 1/M, that no inspiral of bodies without spin reaches early on."""


def frame_of(
    times: Float[np.ndarray, " time"], h22: Complex[np.ndarray, " time"], name: str, mass_ratio: float | None
) -> pd.DataFrame:
    """A waveform as a DataFrame, checked; `attrs` holds its name and the mass ratio q ≥ 1."""
    times, h22 = np.asarray(times, dtype=float), np.asarray(h22, dtype=complex)
    if times.ndim != 1 or times.shape != h22.shape or len(times) < 5:
        raise DataError(
            f"`{name}` holds {times.shape} times and {h22.shape} values: needed are as many values as times, five at least."
        )
    _check_times(times, h22, name)
    frame = pd.DataFrame({"h22_real": h22.real, "h22_imag": h22.imag}, index=pd.Index(times, name="t"))
    frame.attrs |= {"name": name}
    if mass_ratio is not None:
        frame.attrs |= {"mass_ratio": ordered_ratio(mass_ratio)}
        _check_size(times, h22, name, frame.attrs["mass_ratio"])
    return frame


def ordered_ratio(mass_ratio: float) -> float:
    """The mass ratio by the convention q = m₁/m₂ ≥ 1: q and 1/q are one binary.

    Args:
        mass_ratio: Positive.

    Example:
        >>> ordered_ratio(0.25)
        4.0
    """
    if not (np.isfinite(mass_ratio) and mass_ratio > 0):
        raise DataError(f"`mass_ratio={mass_ratio}` must be a positive number; q and 1/q are the same binary.")
    return float(max(mass_ratio, 1 / mass_ratio))


def _check_times(times: np.ndarray, h22: np.ndarray, name: str) -> None:
    if not (np.isfinite(times).all() and np.isfinite(h22).all()):
        row = int(np.flatnonzero(~(np.isfinite(times) & np.isfinite(h22)))[0])
        raise DataError(f"row {row} of `{name}` is not finite. Cut it off: a waveform has no gaps.")
    steps = np.diff(times)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0])
        raise DataError(
            f"times in `{name}` are not strictly increasing: {times[row]:g} is followed by {times[row + 1]:g}. "
            "Sort the rows and drop those that repeat a time."
        )
    strong = np.abs(h22) > 1e-2 * np.abs(h22).max()  # in the last ringdown the phase is noise
    turns = np.angle(h22[1:] * np.conj(h22[:-1]))[strong[1:] & strong[:-1]]
    if len(turns) and np.abs(turns).max() > 2.0:
        raise DataError(
            f"the phase of `{name}` turns by {np.abs(turns).max():.1f} rad between two rows, too far to be followed. "
            "Give it sampled at least eight times a cycle."
        )
    if len(turns) and np.median(turns) > 0:
        raise DataError(f"`{name}` turns counterclockwise; h22 ~ exp(-2i phi) was expected. Pass `conjugate=True`.")


def _check_size(times: np.ndarray, h22: np.ndarray, name: str, mass_ratio: float) -> None:
    """Tell a wrong normalization by the amplitude, which the frequency and ν give within a tenth or so."""
    nu = mass_ratio / (1 + mass_ratio) ** 2
    first = slice(len(times) // 8, max(len(times) // 3, len(times) // 8 + 4))
    phase = -np.unwrap(np.angle(h22))[first] / 2
    duration = times[first][-1] - times[first][0]
    omega = (phase[-1] - phase[0]) / duration
    if omega > FASTEST:
        raise DataError(
            f"the orbit in `{name}` turns by {omega:.3g} rad in a unit of time, {omega / FASTEST:.2g} times faster than "
            "black holes can long before they merge. Times are expected in units of the total mass, G M / c³: 4.9255e-6 s "
            "for each solar mass."
        )
    x = omega ** (2 / 3)
    # To order 2 for the amplitude: Kidder (2008), eq. 79.
    series = 1 + (-107 + 55 * nu) / 42 * x + 2 * np.pi * x**1.5 - (2173 / 1512 + 1069 / 216 * nu) * x**2
    ratio = float(np.mean(np.abs(h22[first])) / (SIZE * nu * x * series))
    if not 0.8 < ratio < 1.25:
        raise DataError(
            f"the amplitude of `{name}` is {ratio:.3g} times that of r h22/M at its frequency for q = {mass_ratio:g} "
            f"(nu = {nu:.4g}). Expected is the (2, 2) mode in units of M/r of the total mass: multiply by "
            f"{1 / ratio:.3g}, or correct `mass_ratio`."
        )


def check_junk(times: np.ndarray, amplitude: np.ndarray, frequency: np.ndarray, name: str) -> None:
    """Refuse a window whose first part rings: junk radiation of a simulation that has just begun."""
    early = times < times[0] + JUNK
    if early.sum() < 20 or (~early).sum() < 20:
        return
    # What a parabola over about 30 M does not follow is faster than the orbit.
    width = int(30.0 / np.median(np.diff(times))) // 2 * 2 + 1
    if width < 7 or width >= len(times) // 2:
        return
    ringing = np.abs(np.log(amplitude) - savgol_filter(np.log(amplitude), width, 2))
    usual = np.median(ringing[~early])
    loud = early & (ringing > max(20 * usual, 1e-3))
    loud[-width:] = False
    if loud.any():
        end = times[np.flatnonzero(loud)[-1]] + 30.0
        raise DataError(
            f"`{name}` rings until t = {end:.0f}: its amplitude changes by {ringing[early].max():.1e} faster than any orbit, "
            f"{ringing[early].max() / max(usual, 1e-300):.0f} times as much as later. That is junk radiation of the initial "
            f"data: start the window after {end:.0f}, or pass `junk=True` to keep it."
        )
