"""Windows of waveforms, amplitude and phase, and the orbit that the quadrupole formula sees in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.signal import find_peaks

from sciml.errors import DataError

from .checks import SIZE, check_junk


@dataclass(frozen=True)
class Polar:
    """Amplitude, orbital phase and orbital frequency as functions of time (cubic splines).

    Attributes:
        amplitude: |h₂₂|.
        phase: φ in h₂₂ = -|h₂₂| exp(-2iφ), unwrapped.
        frequency: Ω = dφ/dt, in 1/M.
    """

    amplitude: CubicSpline
    phase: CubicSpline
    frequency: CubicSpline


def polar(frame: pd.DataFrame) -> Polar:
    """Amplitude and phase of a waveform.

    Args:
        frame: Columns `h22_real`, `h22_imag`.

    Example:
        >>> from sciml.datasets import waveforms
        >>> round(float(polar(waveforms.geodesic(range(50), p=16.0, e=0.0)).frequency(20.0)), 6)
        0.015625
    """
    h22 = frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy()
    times = frame.index.to_numpy(dtype=float)
    phase = CubicSpline(times, (np.pi - np.unwrap(np.angle(h22))) / 2)
    return Polar(CubicSpline(times, np.abs(h22)), phase, phase.derivative())


def window(
    frame: pd.DataFrame, start: float, stop: float, rows: int | None = None, *, junk: bool = False
) -> pd.DataFrame:
    """A stretch of the inspiral, at times equally spaced in phase.

    Amplitude and phase are interpolated, which costs nothing in accuracy; with nodes equally spaced in phase each
    cycle weighs the same.

    Args:
        frame: Columns `h22_real`, `h22_imag`.
        start, stop: First and last time, in M, before the peak of |h₂₂|.
        rows: Number of nodes; by default 16 for each cycle of the wave.
        junk: Keep a beginning that rings.

    Returns:
        As `frame`, its first and last row at `start` and `stop`.

    Raises:
        DataError: The window is empty, reaches beyond the waveform or its peak, has too few nodes for its cycles, or
            begins in junk radiation.

    Example:
        >>> from sciml.datasets import waveforms
        >>> waveforms.window(waveforms.geodesic(range(500), p=16.0, e=0.0), 100, 400, rows=60).index[[0, -1]].tolist()
        [100.0, 400.0]
    """
    name, times = frame.attrs.get("name", "the waveform"), frame.index.to_numpy(dtype=float)
    if not start < stop:
        raise DataError(f"the window [{start:g}, {stop:g}] is empty: its first time must be before its last.")
    if start < times[0] or stop > times[-1]:
        raise DataError(
            f"the window [{start:g}, {stop:g}] reaches beyond `{name}`, which goes from {times[0]:g} to {times[-1]:g}."
        )
    curves = polar(frame)
    inside = (times >= start) & (times <= stop)
    amplitude, frequency = np.abs(curves.amplitude(times)), curves.frequency(times)
    merger = float(times[np.argmax(amplitude)])
    after = amplitude[np.searchsorted(times, merger) :]
    if merger < stop and len(after) > 1 and after[-1] < 0.5 * after[0]:
        raise DataError(
            f"the window [{start:g}, {stop:g}] ends after the peak of `{name}` at t = {merger:g}. The model has an inspiral "
            f"and no ringdown: end it 5 to 20 M before, at {merger - 20:g} say."
        )
    if not junk:
        check_junk(times[inside], amplitude[inside], frequency[inside], name)
    first, last = curves.phase([start, stop])
    rows = int(np.ceil(16 * (last - first) / np.pi)) + 1 if rows is None else rows
    if not rows > 4 * (last - first) / np.pi:
        raise DataError(
            f"`rows={rows}` are fewer than four for each of the {(last - first) / np.pi:.0f} cycles in the window."
        )
    fine = np.linspace(start, stop, 20 * rows)
    phase = curves.phase(fine)
    if (np.diff(phase) <= 0).any():
        raise DataError(
            f"the phase of `{name}` does not grow throughout [{start:g}, {stop:g}]: it is no inspiral there."
        )
    nodes = np.interp(np.linspace(phase[0], phase[-1], rows), phase, fine)
    nodes[[0, -1]] = start, stop
    return sampled(frame, nodes)


def sampled(frame: pd.DataFrame, times: Float[np.ndarray, " node"]) -> pd.DataFrame:
    """The waveform at other times, interpolated in amplitude and phase."""
    curves = polar(frame)
    h22 = -curves.amplitude(times) * np.exp(-2j * curves.phase(times))
    result = pd.DataFrame({"h22_real": h22.real, "h22_imag": h22.imag}, index=pd.Index(times, name="t"))
    result.attrs |= frame.attrs
    return result


def periastra(frame: pd.DataFrame, start: float, stop: float) -> Float[np.ndarray, " passage"]:
    """Times at which an eccentric orbit passes its pericenter: maxima of the frequency above its trend.

    The trend is a polynomial of degree 8 in the phase; passages whose maximum is less than half a percent are left out.

    Args:
        frame: Columns `h22_real`, `h22_imag`.
        start, stop: Where to look, in M.

    Returns:
        Times in M; empty where the orbit is round.

    Example:
        >>> from sciml.datasets import waveforms
        >>> len(periastra(waveforms.geodesic(range(3000), p=20.0, e=0.2), 0.0, 2999.0))
        4
    """
    curves = polar(frame)
    fine = np.linspace(start, stop, 20_000)
    phase = curves.phase(fine)
    nodes = np.interp(np.linspace(phase[0], phase[-1], 4000), phase, fine)
    u, logarithm = np.linspace(-1, 1, len(nodes)), np.log(curves.frequency(nodes))
    excess = logarithm - np.polynomial.Chebyshev.fit(u, logarithm, 8)(u)
    # Two passages are at least one turn in space apart.
    turn = int(2 * np.pi / (phase[-1] - phase[0]) * len(nodes))
    found, _ = find_peaks(excess, distance=max(turn // 2, 1), prominence=5e-3)
    return nodes[found]


def effective_orbit(frame: pd.DataFrame, times: Float[np.ndarray, " node"], nu: float) -> pd.DataFrame:
    r"""The circular orbit that the quadrupole formula sees in a waveform, read off its amplitude and phase.

    .. math:: \varphi = \frac{\pi - \arg h_{22}}{2}, \quad p = \frac{1}{\Omega} \sqrt{\frac{|h_{22}|}{8 \sqrt{\pi/5} \, \nu}}

    A start for fits: p is an effective radius, and of an eccentric wave it oscillates.

    Args:
        frame: Columns `h22_real`, `h22_imag`, finer than the nodes.
        times: Nodes, in M.
        nu: Symmetric mass ratio.

    Returns:
        Index `t`; columns `phi` and `p`, as the states of `models.binary_black_hole.circular_inspiral`.

    Example:
        >>> from sciml.datasets import waveforms
        >>> wave = waveforms.geodesic(range(100), p=16.0, e=0.0)
        >>> effective_orbit(wave, [20.0, 30.0], nu=1.0)["p"].round(4).tolist()
        [16.0, 16.0]
    """
    curves = polar(frame)
    nodes = np.asarray(times, dtype=float)
    p = np.sqrt(np.abs(curves.amplitude(nodes)) / (SIZE * nu)) / curves.frequency(nodes)
    return pd.DataFrame({"phi": curves.phase(nodes), "p": p}, index=pd.Index(nodes, name="t"))
