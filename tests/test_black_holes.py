"""Models of binary black holes against what is known about them in closed form."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from scipy.special import ellipk

import sciml
from sciml import MLP, Normal, Parameter, Problem, simulate
from sciml.errors import DataError, ModelError, SolveError
from sciml.models import binary_black_hole as holes

TIGHT = {"rtol": 1e-11, "atol": 1e-11}
CHI, PHI, P, E = sp.symbols("chi phi p e", real=True)
SIZE = 8 * np.sqrt(np.pi / 5)


def precession(p, e):
    return 4 * np.sqrt(p / (p - 6 + 2 * e)) * ellipk(4 * e / (p - 6 + 2 * e)) - 2 * np.pi


def test_the_geodesic_precesses_as_the_elliptic_integral_says():
    # Radial period and precession at p = 100, e = 0.5 from the elliptic integrals of Cutler et al. (1994).
    period = 9900.785
    after = simulate(holes.schwarzschild(chi=0.0), [0.0, period], **TIGHT).to_frame().iloc[-1]
    assert after["chi"] == pytest.approx(2 * np.pi, abs=2e-6)
    assert after["phi"] - 2 * np.pi == pytest.approx(precession(100.0, 0.5), abs=2e-6)
    assert precession(100.0, 0.5) == pytest.approx(0.197563, abs=1e-6)


def test_a_newtonian_orbit_closes():
    p, e = 20.0, 0.3
    period = 2 * np.pi * (p / (1 - e**2)) ** 1.5
    after = simulate(holes.newtonian(p, e), [0.0, period], **TIGHT).to_frame().iloc[-1]
    assert after["chi"] - np.pi == pytest.approx(2 * np.pi, abs=1e-8)
    assert after["phi"] == pytest.approx(2 * np.pi, abs=1e-8)


def test_a_circular_orbit_radiates_the_quadrupole_formula():
    orbit = simulate(holes.newtonian(p=25.0, e=0.0), np.linspace(0, 500, 7), **TIGHT)
    assert np.hypot(orbit["h22_real"], orbit["h22_imag"]) == pytest.approx(SIZE / 25.0, rel=1e-9)
    assert orbit["h22_real"] == pytest.approx(-SIZE / 25.0 * np.cos(2 * orbit["phi"]), rel=1e-8)


def test_the_wave_is_the_second_derivative_of_the_quadrupole_moment():
    h = 0.05
    orbit = simulate(holes.schwarzschild(p=12.0, e=0.4), 100 + h * np.arange(-2, 3), **TIGHT)
    moment = orbit["r"] ** 2 * np.exp(-2j * orbit["phi"])
    second = (-moment[0] + 16 * moment[1] - 30 * moment[2] + 16 * moment[3] - moment[4]) / (12 * h**2)
    wave = orbit["h22_real"][2] + 1j * orbit["h22_imag"][2]
    assert wave == pytest.approx(2 * np.sqrt(np.pi / 5) * second, rel=1e-6)


def test_the_hybrid_with_the_exact_factors_is_the_geodesic():
    c = sp.Symbol("c")
    f2 = (P - 2 - 2 * E * c) / sp.sqrt((P - 2) ** 2 - 4 * E**2)
    f1 = f2 * sp.sqrt(1 - (6 + 2 * E * c) / P)
    hybrid = holes.hybrid_orbit().substitute({"F1": sp.Lambda(c, f1 - 1), "F2": sp.Lambda(c, f2 - 1)})
    ts = np.linspace(0, 20_000, 9)
    exact = simulate(holes.schwarzschild(), ts, **TIGHT).to_frame()
    pd.testing.assert_frame_equal(simulate(hybrid, ts, **TIGHT).to_frame()[exact.columns], exact, rtol=1e-7)


@pytest.mark.parametrize("model", [holes.circular_inspiral, holes.eccentric_inspiral])
def test_without_corrections_an_inspiral_takes_as_long_as_peters_says(model):
    system = model(mass_ratio=2.0, p=20.0, **({"e": 0.0} if model is holes.eccentric_inspiral else {}))
    system = system.substitute({f: lambda *arguments: sp.Integer(0) for f in system.functions})
    nu = 2 / 9
    late = 0.9 * 5 * 20.0**4 / (256 * nu)
    p = simulate(system, [0.0, late], **TIGHT)["p"][-1]
    assert p == pytest.approx((20.0**4 - 256 * nu * late / 5) ** 0.25, rel=1e-7)


def test_peters_rates_match_the_decay_of_axis_and_eccentricity():
    p, e, nu = sp.symbols("p e nu", positive=True)
    shrinking, rounding = holes.peters_rates(p, e, nu)
    axis = p / (1 - e**2)
    decay = sp.diff(axis, p) * shrinking + sp.diff(axis, e) * rounding
    known = -sp.Rational(64, 5) * nu / axis**3 / (1 - e**2) ** sp.Rational(7, 2)
    known *= 1 + sp.Rational(73, 24) * e**2 + sp.Rational(37, 96) * e**4
    assert float((decay / known).subs({p: 7.0, e: 0.6, nu: 0.2})) == pytest.approx(1.0, rel=1e-12)


def test_taylor_t4_at_leading_order_is_the_quadrupole_inspiral():
    system = holes.taylor_t4(mass_ratio=1.0, frequency=0.01, order=0)
    x = simulate(system, [0.0, 5_000.0], **TIGHT)["x"][-1]
    assert x**-4 == pytest.approx(0.01 ** (-8 / 3) - 256 * 0.25 / 5 * 5_000.0, rel=1e-9)


def test_a_light_body_takes_the_test_mass_limit_of_taylor_t4():
    """Energy flux and energy of a light body on a circular orbit in Schwarzschild, to third order in x."""
    x = 0.01
    nu = 1e-9
    system = holes.taylor_t4(mass_ratio=1e9, frequency=x**1.5)
    rate = sciml.compile(system)(0.0, sciml.compile(system).initial)[1].item()
    # Tagoshi and Sasaki (1994), eq. 3.11, for the flux; dE/dx of E = (1 - 2x)/sqrt(1 - 3x).
    flux = 1 - 1247 / 336 * x + 4 * np.pi * x**1.5 - 44711 / 9072 * x**2 - 8191 / 672 * np.pi * x**2.5
    flux += (
        6643739519 / 69854400 - 1712 / 105 * np.euler_gamma + 16 / 3 * np.pi**2 - 856 / 105 * np.log(16 * x)
    ) * x**3
    flux -= 16285 / 504 * np.pi * x**3.5
    slope = -(1 - 6 * x) / (2 * (1 - 3 * x) ** 1.5)
    assert rate == pytest.approx(-32 / 5 * nu * x**5 * flux / slope, rel=5e-7)


def test_the_amplitude_turns_a_frequency_into_the_separation_of_an_effective_one_body_orbit():
    u, nu = 0.02, 0.25  # u = 1/r
    j2 = (2 - 6 * nu * u**2) / (2 * u * (1 - 3 * u + 5 * nu * u**3))
    potential = 1 - 2 * u + 2 * nu * u**3
    energy = np.sqrt(potential * (1 + j2 * u**2))
    frequency = potential * np.sqrt(j2) * u**2 / (energy * np.sqrt(1 + 2 * nu * (energy - 1)))
    x = frequency ** (2 / 3)
    wave = float(holes.amplitude_correction(sp.Float(frequency), nu, 2)) / (u**2 / frequency**2)
    series = 1 + (-107 / 42 + 55 / 42 * nu) * x + 2 * np.pi * x**1.5
    series += (-2173 / 1512 - 1069 / 216 * nu + 2047 / 1512 * nu**2) * x**2
    assert wave == pytest.approx(x * series, rel=3 * u**3)
    assert float(holes.amplitude_correction(sp.Float(frequency), nu, 0)) == 1.0


def test_two_bodies_have_their_center_of_mass_at_rest():
    (x1, y1), (x2, y2) = holes.two_bodies(np.array([3.0, 0.0]), np.array([4.0, 1.0]), mass_ratio=4.0)
    assert 0.8 * x1 + 0.2 * x2 == pytest.approx(np.zeros(2))
    assert np.hypot(x1 - x2, y1 - y2) == pytest.approx([5.0, 1.0])


@pytest.mark.parametrize(
    "system",
    [
        holes.circular_inspiral(amplitude_order=2, network=MLP(hidden=(3,)), phi=Parameter(0.1)),
        pytest.param(holes.hybrid_orbit(p=20.0, e=0.1), marks=pytest.mark.slow),
        pytest.param(
            holes.eccentric_inspiral(network=MLP(hidden=(3,), activation="cos"), phi=Parameter(0.1)),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_hybrid_is_computed_natively_and_as_torch_does(system):
    ts = np.linspace(0, 200, 21)
    frame = pd.DataFrame({"h22_real": np.cos(ts / 10) / 10, "h22_imag": np.sin(ts / 10) / 10}, index=ts)
    noise = {name: Normal(0.01) for name in frame.columns}
    native, torch = (Problem(system, frame, noise=noise, backend=b, rtol=1e-8) for b in ("native", "torch"))
    vector = native.initial(seed=1)
    value, gradient = native.value_and_gradient(vector)
    other, slopes = torch.value_and_gradient(vector)
    assert value == pytest.approx(other, rel=1e-8)
    assert gradient == pytest.approx(slopes, rel=1e-5, abs=1e-6 * np.abs(slopes).max())


def test_a_family_shares_its_functions_over_mass_ratios():
    system = holes.circular_inspiral(family=True)
    assert system.arity(next(iter(system.learned))) == 2
    nu = system.symbol("nu")
    assert system.equations[nu] == 0
    assert nu in system.initial
    assert holes.circular_inspiral(mass_ratio=4.0) == holes.circular_inspiral(mass_ratio=0.25)
    assert holes.symmetric_mass_ratio(4.0) == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: holes.schwarzschild(p=7.0, e=0.5), r"`p=7.0` with `e=0.5` falls into the hole: .* p > 6 \+ 2e = 7"),
        (lambda: holes.newtonian(e=1.0), "`p=100.0`, `e=1.0` is no ellipse"),
        (lambda: holes.circular_inspiral(mass_ratio=-1.0), "`mass_ratio=-1.0` must be a positive number"),
        (lambda: holes.circular_inspiral(p=0.0), "`p=0.0` must be a positive separation"),
        (lambda: holes.circular_inspiral(bound=0.0), "`bound=0.0`, the largest logarithm of a factor"),
        (
            lambda: holes.circular_inspiral(amplitude_order=3),
            "`order=3` of the amplitude is not known: give one of 0, 1",
        ),
        (lambda: holes.eccentric_inspiral(e=Parameter(1.5)), "`e=1.5` is not the eccentricity of an ellipse"),
        (lambda: holes.taylor_t4(order=4), "`order=4` of TaylorT4 is not known"),
    ],
)
def test_orbits_that_cannot_be_are_refused(make, message):
    assert holes.schwarzschild(p=7.1, e=0.5).states == (CHI, PHI)
    with pytest.raises(ModelError, match=message):
        make()


def test_a_trial_that_plunges_fails_and_is_stepped_back_from():
    ts = np.linspace(0.0, 300.0, 31)
    data = pd.DataFrame({"h22_real": 0.1 * np.cos(ts / 20)}, index=ts)
    system = holes.circular_inspiral(p=Parameter(9.0, bounds=(4.0, None)), network=MLP((3,), decay=0.0))
    noise, options = {"h22_real": Normal(0.01)}, {"backend": "torch", "rtol": 1e-5, "atol": 1e-5}
    falling = Problem(system.with_initial({"p": 5.0}), data, noise=noise, **options)
    value, gradient = falling.value_and_gradient(falling.initial(seed=0))
    assert np.isinf(value)
    assert not gradient.any()
    with pytest.raises(SolveError, match=r"could not be solved at any vector .* Try other starting values"):
        sciml.fit(falling, sciml.SingleShooting(start=None), [sciml.LBFGS(steps=3)], progress=False)
    orbiting = Problem(system, data, noise=noise, **options)
    fit = sciml.fit(orbiting, sciml.SingleShooting(start=None), [sciml.LBFGS(steps=4)], progress=False)
    assert fit.loss < orbiting.value_and_gradient(orbiting.initial(seed=0))[0]


def test_each_stage_of_a_family_starts_where_the_last_one_ended(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    family = importlib.import_module("black_hole_family")
    network = MLP((3,), decay=0.0, input_scale=(1.0, 1.0), output_scale=(1.0, 1.0))
    system = replace(holes.circular_inspiral(network=network, family=True), initial={})
    ts, data = np.linspace(0.0, 100.0, 11), {}
    for q in (1.0, 3.0):
        frame = pd.DataFrame({"h22_real": 0.1 * np.cos(ts / 20), "phi": np.nan, "p": np.nan, "nu": np.nan}, index=ts)
        frame.loc[0.0, ["phi", "p", "nu"]] = 0.1, 12.0, holes.symmetric_mass_ratio(q)
        data[f"q = {q:g}"] = frame

    def posed(system, data):
        noise = family.NOISE | {"h22_real": Normal(0.01)}
        return Problem(system, data, noise=noise, rtol=1e-6, atol=1e-6, backend="torch")

    before = posed(system, data)
    fit = sciml.fit(before, sciml.SingleShooting(start=None), [sciml.LBFGS(steps=3)], progress=False)
    assert np.abs(fit.initial["p"] - 12.0).max() > 1e-4
    system, started = family.continued(fit, data)
    after = posed(system, started)
    assert after.initial(seed=1) == pytest.approx(fit.vector, rel=1e-12)
    assert data["q = 3"].loc[0.0, "p"] == 12.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--train-until", "-100"], r"`--train-until -100` must lie in the window, after -900 and not after -200"),
        (["--train-until", "-950"], "`--train-until -950` must lie in the window"),
        (["--train-until", "-880"], r"\[-900, -880\] M holds .* cycles: a fit needs three at least"),
        (["--eccentric"], "passages of the pericenter are seen: leave out `--eccentric`"),
        (["--eccentric", "--amplitude-order", "2"], "`--amplitude-order` corrects circular orbits"),
        (["--orbit", "none.npz"], "there is no file `none.npz`"),
        (["--window", "-900", "-10"], r"the window \[-900, -10\] reaches beyond `wave.npz`"),
        (["--mass-ratio", "0"], "`mass_ratio=0.0` must be a positive number"),
    ],
)
def test_the_waveform_example_refuses_at_the_door(given, message, tmp_path, monkeypatch, capsys):
    """What cannot be meant ends before any fit; its neighbour gets as far as the fit, and says which q it took."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    example = importlib.import_module("black_hole_waveform")

    def fitted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sciml, "fit", fitted)
    frame = example.post_newtonian(1.0)
    path = tmp_path / "wave.npz"
    np.savez(path, t=frame.index, h22=frame["h22_real"] + 1j * frame["h22_imag"])
    script = ["black_hole_waveform.py", "--quick", "--waveform", str(path)]
    monkeypatch.setattr("sys.argv", [*script, *given])
    with pytest.raises(DataError, match=message):
        example.main()
    monkeypatch.setattr("sys.argv", [*script, "--train-until", "-300"])
    with pytest.raises(KeyboardInterrupt):
        example.main()
    assert "q = m1/m2 = 1 >= 1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_law_of_a_test_mass_is_read_back_from_its_wave(monkeypatch):
    """Even from a network that is not trained to the end; and noise bounds any fit as the finite differences say."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    example = importlib.import_module("black_hole_test_mass")
    _, law, _, _ = example.study(seed=0, noise=0.0, quick=True)
    for name in ("F1 constant %", "F1 slope %", "F2 constant %", "F2 slope %"):
        assert abs(law[name]) < 1.0
    line = example.determined(noise=1e-3)[0]
    assert line["F1 slope"] == pytest.approx(2.5, rel=0.05)
    assert line["F2 constant"] > 100.0
