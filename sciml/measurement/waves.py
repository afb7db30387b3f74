r"""How far apart two complex waves are: alignment in time and phase, mismatch, phase error.

A wave is an array of complex numbers over real times, :math:`h = A e^{i\psi}`. All functions take the reference as
arrays of its own times, interpolated in amplitude and phase, so that the two need no common grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from sciml.errors import DataError

__all__ = ["Alignment", "align", "curve", "detector_density", "mismatch", "phase_error"]

Curve = Callable[[Float[np.ndarray, " time"]], Complex[np.ndarray, " time"]]


@dataclass(frozen=True)
class Alignment:
    """What moves a wave onto a reference: h(t + time) exp(i phase).

    Attributes:
        time: Shift of time, in the unit of the times.
        phase: Shift of the phase, in rad.
        mismatch: What is left, over the span that was aligned.
    """

    time: float
    phase: float
    mismatch: float


def curve(times: Float[np.ndarray, " time"], wave: Complex[np.ndarray, " time"]) -> Curve:
    """A wave as a function of time: cubic splines through amplitude and unwrapped phase.

    Args:
        times: Increasing, at least four a cycle.
        wave: Complex values.

    Raises:
        DataError: Times and values do not belong together.
    """
    times, wave = np.asarray(times, dtype=float), np.asarray(wave, dtype=complex)
    if times.ndim != 1 or times.shape != wave.shape or len(times) < 4 or (np.diff(times) <= 0).any():
        raise DataError(
            f"a wave of shape {wave.shape} at times of shape {times.shape}: needed are at least four increasing times "
            "and a complex value for each."
        )
    amplitude = CubicSpline(times, np.abs(wave), extrapolate=False)
    phase = CubicSpline(times, np.unwrap(np.angle(wave)), extrapolate=False)
    return lambda t: amplitude(t) * np.exp(1j * phase(t))


def mismatch(
    times: Float[np.ndarray, " time"],
    wave: Complex[np.ndarray, " time"],
    reference: Complex[np.ndarray, " time"],
    density: Callable[[Float[np.ndarray, " frequency"]], Float[np.ndarray, " frequency"]] | None = None,
) -> float:
    r"""One minus the normalized overlap of two waves, without moving either.

    .. math:: 1 - \frac{\mathrm{Re} \langle h, g \rangle}{\sqrt{\langle h, h \rangle \langle g, g \rangle}}, \quad
              \langle h, g \rangle = \int h \, g^* \, dt \;\text{ or }\; \int \frac{\tilde h \tilde g^*}{S(|f|)} \, df

    Args:
        times: Common times, increasing; uniform where a density is given.
        wave, reference: Complex values there.
        density: Power spectral density of the noise S(f) in the unit of 1/time; None is white noise. Where it is
            infinite, the detector is deaf. The ends are tapered over a twentieth of the span.

    Returns:
        0 for waves that are the same but for their size, 2 for opposite ones.

    Raises:
        DataError: Shapes differ, a wave is zero, or the times are not uniform.

    Example:
        >>> t = np.linspace(0, 10, 201)
        >>> round(mismatch(t, np.exp(1j * t), np.exp(1j * (t + 0.1))), 6)  # 1 - cos(0.1)
        0.004996
    """
    times = np.asarray(times, dtype=float)
    if not times.shape == np.shape(wave) == np.shape(reference) or len(times) < 2:
        raise DataError(f"{np.shape(wave)} and {np.shape(reference)} values do not belong to {times.shape} times.")
    if density is None:
        weights = np.gradient(times)
        weights[[0, -1]] /= 2  # trapezoidal rule

        def inner(a, b):
            return float(np.sum(weights * a * np.conj(b)).real)

    else:
        step = np.diff(times)
        if np.ptp(step) > 1e-6 * step.mean():
            raise DataError(
                "a noise density needs uniform times: sample the waves on `np.arange(start, stop, step)` first."
            )
        from scipy.signal.windows import tukey

        taper = tukey(len(times), 0.1)
        frequencies = np.fft.fftfreq(4 * len(times), step.mean())
        noise = np.asarray(density(np.abs(frequencies)), dtype=float)
        audible = np.isfinite(noise) & (noise > 0) & (frequencies != 0)

        def inner(a, b):
            first, second = np.fft.fft(taper * a, 4 * len(times)), np.fft.fft(taper * b, 4 * len(times))
            return float(np.sum((first * np.conj(second))[audible].real / noise[audible]))

    wave, reference = np.asarray(wave), np.asarray(reference)
    norm = inner(wave, wave) * inner(reference, reference)
    if not norm > 0:
        raise DataError("a wave that is zero throughout matches nothing.")
    return float(1 - inner(wave, reference) / np.sqrt(norm))


def align(
    wave: Curve,
    reference: Curve,
    start: float,
    stop: float,
    *,
    largest: float = 50.0,
    points: int = 4000,
) -> Alignment:
    r"""The shifts of time and phase with which a wave meets a reference best over a span.

    .. math:: \min_{\tau, \alpha} \int_{t_0}^{t_1} \big| h(t + \tau) e^{i\alpha} - g(t) \big|^2 / \ldots

    that is, of the mismatch; the best phase of each shift of time is known in closed form.

    Args:
        wave, reference: Functions of time, from `curve`.
        start, stop: The span, on the reference's times.
        largest: Largest shift of time.
        points: Points of the span.

    Raises:
        DataError: The wave or the reference is not known on the span.

    Example:
        >>> t = np.linspace(-10, 60, 701)
        >>> chirp = lambda t: np.exp(-1j * (t + 0.01 * t**2))
        >>> found = align(curve(t, chirp(t - 1.5) * np.exp(0.3j)), curve(t, chirp(t)), 0.0, 50.0, largest=5.0)
        >>> round(found.time, 5), round(found.phase, 5)
        (1.5, -0.3)
    """
    times = np.linspace(start, stop, points)
    target = reference(times)
    if not (stop > start and np.isfinite(target).all()):
        raise DataError(f"the reference is not known on all of [{start:g}, {stop:g}].")

    def overlap(shift: float) -> complex:
        moved = wave(times + shift)
        if not np.isfinite(moved).all():
            return 0j
        size = np.sqrt(np.sum(np.abs(moved) ** 2) * np.sum(np.abs(target) ** 2))
        return complex(np.sum(target * np.conj(moved)) / size)

    def missed(shift: float) -> float:
        return 1 - abs(overlap(shift))

    shifts = np.linspace(-largest, largest, 201)
    values = np.array([missed(shift) for shift in shifts])
    if values.min() >= 1:
        raise DataError(f"the wave is not known on [{start:g}, {stop:g}], however shifted by up to {largest:g}.")
    best, width = shifts[np.argmin(values)], shifts[1] - shifts[0]
    found = minimize_scalar(missed, bounds=(best - width, best + width), method="bounded", options={"xatol": 1e-9})
    shift = float(found.x) if found.fun <= values.min() else float(best)
    return Alignment(shift, float(np.angle(overlap(shift))), float(missed(shift)))


def phase_error(
    times: Float[np.ndarray, " time"], wave: Complex[np.ndarray, " time"], reference: Complex[np.ndarray, " time"]
) -> Float[np.ndarray, " time"]:
    """The phase of a wave less that of a reference, in rad, followed over many turns from the first time.

    Args:
        times: Common times.
        wave, reference: Complex values there.

    Example:
        >>> t = np.linspace(0, 100, 501)
        >>> phase_error(t, np.exp(1.1j * t), np.exp(1j * t))[-1].round(6)
        np.float64(10.0)
    """
    if not np.shape(times) == np.shape(wave) == np.shape(reference):
        raise DataError(f"{np.shape(wave)} and {np.shape(reference)} values do not belong to {np.shape(times)} times.")
    return np.unwrap(np.angle(np.asarray(wave) * np.conj(reference)))


def detector_density(
    name: str = "aLIGOZeroDetHighPower", total_mass: float = 60.0, lowest: float = 20.0
) -> Callable[[Float[np.ndarray, " frequency"]], Float[np.ndarray, " frequency"]]:
    """The design sensitivity of a detector from lalsimulation, over frequencies in 1/M.

    Args:
        name: What follows `SimNoisePSD` in lalsimulation.
        total_mass: Of the binary, in solar masses; it sets the unit of frequency.
        lowest: Frequency in Hz below which the detector is deaf.

    Raises:
        DataError: lalsuite is not installed, or knows no such detector.
    """
    try:
        import lal  # pyright: ignore[reportMissingImports]
        import lalsimulation  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError('the noise of detectors needs lalsuite: pip install "sciml-hybrid[gw]".') from error
    function = getattr(lalsimulation, f"SimNoisePSD{name}", None)
    if function is None:
        raise DataError(f"lalsimulation knows no `SimNoisePSD{name}`. One that it knows is `aLIGOZeroDetHighPower`.")
    unit = 1 / (total_mass * lal.MTSUN_SI)

    def density(frequencies):
        hertz = np.asarray(frequencies, dtype=float) * unit
        heard = hertz >= lowest
        return np.where(heard, np.vectorize(function, otypes=[float])(np.where(heard, hertz, lowest)), np.inf)

    return density
