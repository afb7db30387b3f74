"""Waveforms: files and generators, windows, alignment and mismatch, and what is refused with which words."""

import gzip
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciml.datasets import waveforms
from sciml.errors import DataError, ModelError
from sciml.measurement import waves
from sciml.models import binary_black_hole as holes
from sciml.simulation import simulate

SHARED = Path(os.environ.get("SCIML_WAVEFORMS", "waveforms"))
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="set SCIML_WAVEFORMS to a folder with measured waveforms")


def inspiral(q=1.0, until=1500.0):
    """A post-Newtonian wave with all that a file needs: times, complex values."""
    times = np.arange(0.0, until, 0.5)
    found = simulate(holes.taylor_t4(q, frequency=0.02), times, rtol=1e-10, atol=1e-10)
    return times, found["h22_real"] + 1j * found["h22_imag"]


TIMES, WAVE = inspiral()
COLUMNS = np.stack([TIMES, WAVE.real, WAVE.imag], axis=1)


def write(path, table=COLUMNS):
    np.savetxt(path, table, header="t, Re, Im")
    return path


@pytest.mark.parametrize("kind", ["wave.txt", "wave.dat", "wave.csv", "wave.txt.gz", "wave.npz", "wave.h5"])
def test_all_formats_hold_the_same_waveform(kind, tmp_path):
    path = tmp_path / kind
    if kind == "wave.h5":
        h5py = pytest.importorskip("h5py", reason="reading HDF5 needs the extra `gw`")
        with h5py.File(path, "w") as file:
            file["Extrapolated_N3.dir/Y_l2_m2.dat"] = 2 * COLUMNS
            file["Extrapolated_N2.dir/Y_l2_m2.dat"] = COLUMNS
    elif kind == "wave.npz":
        np.savez(path, t=TIMES, h22=WAVE)
    elif kind == "wave.csv":
        np.savetxt(path, COLUMNS, delimiter=",")
    else:
        with gzip.open(path, "wt") if kind.endswith("gz") else open(path, "w") as file:
            np.savetxt(file, COLUMNS)
    frame = waveforms.read(path, mass_ratio=1.0)
    assert np.allclose(frame.to_numpy(), COLUMNS[:, 1:], rtol=1e-12)
    assert frame.index[-1] == TIMES[-1]
    assert frame.attrs == {"name": kind, "mass_ratio": 1.0}


def test_a_mass_ratio_below_one_is_the_same_binary(tmp_path):
    times, wave = inspiral(q=4.0)
    path = write(tmp_path / "wave.txt", np.stack([times, wave.real, wave.imag], axis=1))
    assert waveforms.read(path, mass_ratio=0.25).attrs["mass_ratio"] == 4.0


def test_times_need_not_be_uniform(tmp_path):
    rows = np.sort(np.random.default_rng(0).choice(len(TIMES), 1200, replace=False))
    frame = waveforms.read(write(tmp_path / "wave.txt", COLUMNS[rows]), mass_ratio=1.0)
    cut = waveforms.window(frame, 200, 1400)
    exact = np.interp(cut.index, TIMES, WAVE.real)
    assert np.abs(cut["h22_real"] - exact).max() < 2e-4


def changed(column, factor=1.0, rows=slice(None), plus=0.0):
    table = COLUMNS.copy()
    table[rows, column] = factor * table[rows, column] + plus
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (COLUMNS[::-1], "are not strictly increasing: 1499.5 is followed by 1499. Sort the rows"),
        (changed(1, np.nan, 7), "row 7 of `wave.txt` is not finite"),
        (COLUMNS[::400], "turns by .* rad between two rows, too far to be followed"),
        (COLUMNS[:, :2], r"has the shape \(3000, 2\): expected are three columns, t, Re h22, Im h22"),
        (changed(2, -1.0), "turns counterclockwise; .* Pass `conjugate=True`"),
        (changed([1, 2], 4.0), "is .* times that of r h22/M .* for q = 1 .*multiply by 0.25"),
        (changed(0, 60 * 4.9255e-6), r"turns by .* rad in a unit of time, .* expected in units of the total mass"),
        (COLUMNS[:3], "five at least"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(table, message, tmp_path):
    path = write(tmp_path / "wave.txt", table)
    with pytest.raises(DataError, match=message):
        waveforms.read(path, mass_ratio=1.0)


def test_a_wrong_mass_ratio_shows_in_the_amplitude(tmp_path):
    path = write(tmp_path / "wave.txt")
    assert waveforms.read(path).shape == (3000, 2)
    with pytest.raises(DataError, match=r"for q = 4 \(nu = 0.16\).*correct `mass_ratio`"):
        waveforms.read(path, mass_ratio=4.0)
    with pytest.raises(DataError, match="`mass_ratio=-1` must be a positive number"):
        waveforms.read(path, mass_ratio=-1)
    with pytest.raises(DataError, match="there is no file"):
        waveforms.read(tmp_path / "none.txt")


def test_files_are_data(tmp_path):
    path = tmp_path / "wave.npz"
    np.savez(path, t=np.array([print], dtype=object), h22=WAVE)
    with pytest.raises(DataError, match="no npz file of plain arrays"):
        waveforms.read(path)
    np.savez(path, time=TIMES, h22=WAVE)
    with pytest.raises(DataError, match="holds no `t`: needed are the arrays `t`, `h22`"):
        waveforms.read(path)
    (tmp_path / "wave.txt").write_bytes(b"\xff\xfe nonsense")
    with pytest.raises(DataError, match="cannot be read as text"):
        waveforms.read(tmp_path / "wave.txt")


def test_a_family_is_read_by_mass_ratio(tmp_path):
    path = tmp_path / "family.npz"
    rows = {q: inspiral(q)[1] for q in (1.0, 3.0)}
    np.savez(path, t=TIMES, q=[1.0, 1 / 3], h22=list(rows.values()))
    family = waveforms.read_family(path)
    assert list(family) == [1.0, 3.0]
    assert np.allclose(family[3.0]["h22_imag"], rows[3.0].imag)
    np.savez(path, t=TIMES, q=[1.0, 3.0], h22=[WAVE])
    with pytest.raises(DataError, match="needed is a row for each of 2 mass ratios"):
        waveforms.read_family(path)
    np.savez(path, t=TIMES, q=[3.0, 1 / 3], h22=[rows[3.0]] * 2)
    with pytest.raises(DataError, match="holds a mass ratio twice"):
        waveforms.read_family(path)


def frame_of(times, wave):
    return pd.DataFrame({"h22_real": wave.real, "h22_imag": wave.imag}, index=pd.Index(times, name="t"))


def test_windows_are_cut_at_equal_steps_of_phase():
    cut = waveforms.window(frame_of(TIMES, WAVE), 100.0, 1200.0, rows=200)
    phase = waveforms.polar(frame_of(TIMES, WAVE)).phase(cut.index)
    assert np.ptp(np.diff(phase)) < 1e-4
    assert cut.index[0] == 100.0
    assert cut.index[-1] == 1200.0


def merged():
    """The wave with a peak and a ringdown at its end."""
    fall = np.exp(-np.maximum(TIMES - 1400.0, 0) / 10)
    return frame_of(TIMES, WAVE * fall)


@pytest.mark.parametrize(
    ("start", "stop", "rows", "message"),
    [
        (500, 100, None, r"the window \[500, 100\] is empty"),
        (-10, 100, None, "reaches beyond `the waveform`, which goes from 0 to 1499.5"),
        (100, 1450, None, "ends after the peak of `the waveform` at t = 140.*no ringdown: end it 5 to 20 M before"),
        (100, 1300, 30, "`rows=30` are fewer than four for each of the"),
    ],
)
def test_windows_that_cannot_be_fitted_are_refused(start, stop, rows, message):
    assert len(waveforms.window(merged(), 100, 1300)) > 100
    with pytest.raises(DataError, match=message):
        waveforms.window(merged(), start, stop, rows)


def test_junk_radiation_is_noticed_and_can_be_kept():
    ringing = 1 + 0.05 * np.exp(-TIMES / 40) * np.cos(0.7 * TIMES)
    frame = frame_of(TIMES, WAVE * ringing)
    with pytest.raises(
        DataError, match=r"rings until t = .* junk radiation of the initial data: start the window after"
    ):
        waveforms.window(frame, 0, 1400)
    assert len(waveforms.window(frame, 0, 1400, junk=True)) == len(waveforms.window(frame_of(TIMES, WAVE), 0, 1400))
    assert waveforms.window(frame, 350, 1400).index[0] == 350


def test_the_effective_orbit_of_a_circular_geodesic_is_the_orbit():
    wave = waveforms.geodesic(np.arange(0.0, 400.0), p=16.0, e=0.0, phi=0.3)
    orbit = waveforms.effective_orbit(wave, np.array([50.0, 300.0]), nu=1.0)
    assert orbit["p"].to_numpy() == pytest.approx([16.0, 16.0], rel=1e-5)
    assert orbit["phi"].to_numpy() == pytest.approx(0.3 + np.array([50.0, 300.0]) / 64, rel=1e-6)


def test_periastra_are_where_the_geodesic_is_closest():
    wave = waveforms.geodesic(np.arange(0.0, 6000.0), p=20.0, e=0.2, chi=np.pi)
    chi = simulate(holes.schwarzschild(20.0, 0.2), np.arange(0.0, 6000.0), rtol=1e-9, atol=1e-9)["chi"]
    found = waveforms.periastra(wave, 0.0, 5999.0)
    turns = np.interp(found, np.arange(0.0, 6000.0), chi) / (2 * np.pi)
    assert len(found) >= 6
    assert np.abs(turns - np.round(turns)).max() < 0.02


def test_noise_of_the_geodesic_has_the_level_asked_for():
    ts = np.linspace(0, 6e4, 250)
    clean, noisy = waveforms.geodesic(ts), waveforms.geodesic(ts, noise=1e-3, seed=1)
    level = (noisy - clean).to_numpy().std() / np.abs(clean["h22_real"] + 1j * clean["h22_imag"]).max()
    assert level == pytest.approx(1e-3, rel=0.1)
    with pytest.raises(ModelError, match="falls into the hole"):
        waveforms.geodesic(ts, p=6.0)


def test_without_lalsuite_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lal", None)
    for call in (waveforms.lal, waves.detector_density):
        with pytest.raises(DataError, match=r'need lalsuite|needs lalsuite: pip install "sciml-hybrid\[gw\]"'):
            call()


def test_lal_waveforms_have_the_convention_of_files():
    pytest.importorskip("lalsimulation", reason="needs the extra `gw`")
    frame = waveforms.lal("EOBNRv2", mass_ratio=0.5, frequency=0.025)
    assert frame.attrs["mass_ratio"] == 2.0
    assert 0.0 in frame.index
    curves = waveforms.polar(frame)
    assert curves.frequency(frame.index[200]) == pytest.approx(0.025, rel=0.05)
    for arguments, message in (
        ({"approximant": "None such"}, "lalsimulation cannot compute `None such`"),
        ({"approximant": "EccentricTD"}, "`EccentricTD` does not end at `eccentricity=0`"),
        ({"frequency": -1.0}, "`frequency=-1.0`"),
    ):
        with pytest.raises(DataError, match=message):
            waveforms.lal(**arguments)


@pytest.mark.parametrize(("time", "phase"), [(0.0, 0.0), (3.7, 1.0), (-12.0, -2.5), (40.0, 3.0)])
def test_known_shifts_are_found_again(time, phase):
    reference = waves.curve(TIMES, WAVE)
    moved = waves.curve(TIMES + time, WAVE * np.exp(-1j * phase))
    found = waves.align(moved, reference, 200.0, 1200.0)
    assert found.time == pytest.approx(time, abs=1e-4)
    assert found.phase == pytest.approx(phase, abs=1e-4)
    assert found.mismatch < 1e-10


def test_mismatches_are_those_of_known_angles():
    turned = WAVE * np.exp(0.02j)
    assert waves.mismatch(TIMES, 3 * WAVE, WAVE) == pytest.approx(0.0, abs=1e-12)
    assert waves.mismatch(TIMES, turned, WAVE) == pytest.approx(1 - np.cos(0.02), rel=1e-9)
    assert waves.mismatch(TIMES, -WAVE, WAVE) == pytest.approx(2.0)
    assert waves.mismatch(TIMES, turned, WAVE, np.ones_like) == pytest.approx(1 - np.cos(0.02), rel=1e-3)
    assert waves.phase_error(TIMES, turned, WAVE) == pytest.approx(np.full(len(TIMES), 0.02), abs=1e-9)


def test_a_detector_hears_only_its_band():
    """A difference at frequencies at which the noise is infinite costs nothing."""
    early = WAVE * np.where(TIMES < 600, np.exp(0.1j), 1.0)
    cut = np.abs(np.gradient(np.unwrap(np.angle(WAVE)), TIMES))[1800] / (2 * np.pi)
    whole = waves.mismatch(TIMES, early, WAVE)
    deaf = waves.mismatch(TIMES, early, WAVE, lambda f: np.where(f > cut, 1.0, np.inf))
    assert whole > 1e-4
    assert deaf < 0.3 * whole


def test_the_design_sensitivity_is_deaf_below_its_lowest_frequency():
    pytest.importorskip("lalsimulation", reason="needs the extra `gw`")
    density = waves.detector_density(total_mass=60.0, lowest=20.0)
    unit = 60 * 4.925491e-6
    low, bucket = density(np.array([10.0, 200.0]) * unit)
    assert np.isinf(low)
    assert bucket == pytest.approx(1.0e-47, rel=0.9)
    with pytest.raises(DataError, match="lalsimulation knows no `SimNoisePSDNone`"):
        waves.detector_density("None")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: waves.curve(TIMES[::-1], WAVE), "at least four increasing times"),
        (lambda: waves.mismatch(TIMES, WAVE[1:], WAVE), "do not belong to"),
        (lambda: waves.mismatch(TIMES, 0 * WAVE, WAVE), "zero throughout"),
        (lambda: waves.mismatch(TIMES**1.1, WAVE, WAVE, np.ones_like), "needs uniform times"),
        (lambda: waves.align(waves.curve(TIMES, WAVE), waves.curve(TIMES, WAVE), -5, 100), "is not known on all of"),
        (
            lambda: waves.align(waves.curve(TIMES + 5000, WAVE), waves.curve(TIMES, WAVE), 0, 100),
            "the wave is not known",
        ),
        (lambda: waves.phase_error(TIMES, WAVE, WAVE[1:]), "do not belong to"),
    ],
)
def test_waves_that_cannot_be_compared_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


@shared
def test_the_shared_waveforms_have_the_size_that_their_mass_ratios_say():
    hybrid = waveforms.read(SHARED / "NRHybSur3dq8_q1_h22_dt0.5.txt.gz", mass_ratio=1.0)
    assert hybrid.index[0] == -8009.5
    family = waveforms.read_family(SHARED / "SpEC_nonspinning_q1to10_h22_dt0.5.npz")
    assert len(family) == 15
    for frame in family.values():
        assert len(waveforms.window(frame, -2700, -100)) > 200


@shared
def test_taylor_t4_is_as_close_to_numerical_relativity_as_published():
    """0.019 rad over [-2700, -100] M at q = 1 after alignment, for a start frequency that is fitted with the shift."""
    frame = next(iter(waveforms.read_family(SHARED / "SpEC_nonspinning_q1to10_h22_dt0.5.npz").values()))
    t = np.linspace(-2700, -100, 3000)
    omega = float(waveforms.polar(frame).frequency(-2745.0))
    series = simulate(holes.taylor_t4(1.0, frequency=omega), np.arange(-2745.0, -60.0, 0.5), rtol=1e-10, atol=1e-10)
    wave = waves.curve(series.times, series["h22_real"] + 1j * series["h22_imag"])
    reference = waves.curve(frame.index.to_numpy(), frame["h22_real"].to_numpy() + 1j * frame["h22_imag"].to_numpy())
    shift = waves.align(wave, reference, -2700, -100, largest=30.0)
    error = waves.phase_error(t, wave(t + shift.time) * np.exp(1j * shift.phase), reference(t))
    assert np.abs(error).max() < 0.03
