"""Discovery straight from measured series: families of terms, forms of the equations, regressions, constraints."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import sciml
from sciml import (
    MLP,
    SR3,
    STLSQ,
    BestSubset,
    DataError,
    IntegralForm,
    LogNormal,
    ModelError,
    Parameter,
    Polynomials,
    Powers,
    Problem,
    SmoothedDerivative,
    SparseRegression,
    System,
    Trigonometric,
    WeakForm,
)
from sciml.discovery.constraints import circuits, conserving
from sciml.discovery.inequalities import least_squares_above
from sciml.discovery.library import build_library
from sciml.discovery.regressions import Columns, bagged, choose
from sciml.discovery.smoother import Smoother

x, y, z, k = sp.symbols("x y z k", real=True)
f, g, h = sp.symbols("f g h", cls=sp.Function)
FORMS = [IntegralForm(), IntegralForm(rows=20), WeakForm(), WeakForm(rows=15, order=2), SmoothedDerivative()]
REGRESSIONS = [BestSubset(), STLSQ(), SR3(), STLSQ(threshold=0.2), SR3(threshold=0.2, relaxation=10.0)]


def series(noise=0.0, rows=101, duration=8.0, seed=0):
    """Lotka-Volterra, x' = 1.3 x - 0.9 x y, y' = 0.8 x y - 1.8 y."""
    truth = System({x: 1.3 * x - 0.9 * x * y, y: 0.8 * x * y - 1.8 * y}, initial={x: 1.0, y: 2.0})
    frame = sciml.simulate(truth, np.linspace(0, duration, rows), rtol=1e-10, atol=1e-10).to_frame()[["x", "y"]]
    return frame + noise * np.random.default_rng(seed).standard_normal(frame.shape) * frame.std().to_numpy()


TRUTH = {"x": {x: 1.3, x * y: -0.9}, "y": {x * y: 0.8, y: -1.8}}


def coefficients(law):
    return {name: form.as_coefficients_dict(x, y) for name, form in law.report.formulas.items()}


def is_true(law, tolerance):
    found = coefficients(law)
    return all(
        set(found[name]) == set(terms) and all(abs(found[name][t] / c - 1) < tolerance for t, c in terms.items())
        for name, terms in TRUTH.items()
    )


def regression(**options):
    return SparseRegression(**{"degree": 2, **options})


def test_families_of_terms():
    assert Powers([-1, 0.5, sp.Rational(3, 2)]).of([x, y]) == [1 / x, 1 / y, sp.sqrt(x), sp.sqrt(y), x ** sp.Rational(3, 2),
                                                               y ** sp.Rational(3, 2)]  # fmt: skip
    assert Powers(0.7).of([x]) == [x ** sp.Rational(7, 10)]
    assert Trigonometric(2).of([x, y]) == [sp.sin(2 * x), sp.cos(2 * x), sp.sin(2 * y), sp.cos(2 * y)]
    both = (Polynomials(1) * Trigonometric()).of([x])
    assert both == [sp.sin(x), sp.cos(x), x * sp.sin(x), x * sp.cos(x)]
    assert (Polynomials(1) * Polynomials(1)).of([x, y]) == [1, x, y, x**2, x * y, y**2]


def test_families_and_own_terms_stand_beside_each_other_once():
    method = SparseRegression(degree=1, library=[Polynomials(2), Trigonometric(), x * sp.exp(-y)])
    system = System({x: f(x, y), y: g(y)}, learned={f: MLP(), g: MLP()})
    library = build_library(system, method.degree, method.library, {})
    own = [[t.expression for t in library.terms if t.function == i] for i in range(2)]
    waves = [sp.sin(x), sp.cos(x), sp.sin(y), sp.cos(y)]
    assert own[0] == [1, x, y, x**2, x * y, y**2, *waves, x * sp.exp(-y)]
    assert own[1] == [1, y, y**2, sp.sin(y), sp.cos(y)]


BAD = {
    "an exponent of nothing": (lambda: Powers([]), "`Powers` needs exponents"),
    "the power 0": (lambda: Powers([0.5, 0]), "the exponent `0` must be a number other than zero"),
    "text for an exponent": (lambda: Powers(["half"]), "the exponent `'half'` must be a number other than zero"),
    "no frequency": (lambda: Trigonometric(float("nan")), "the frequency `nan` must be a number other than zero"),
    "a large degree": (lambda: Polynomials(11), "must be a whole number from 0 to 10"),
    "a short window": (lambda: WeakForm(rows=3), r"`WeakForm\(rows=3\)` must be a whole number from 5"),
    "no order": (lambda: WeakForm(order=0), r"`WeakForm\(order=0\)` must be a whole number from 1 to 20"),
    "a short stretch": (lambda: IntegralForm(rows=1), r"`IntegralForm\(rows=1\)` must be a whole number from 4"),
    "negative ends": (lambda: SmoothedDerivative(ends=-1), "must be a whole number from 0"),
    "a negative threshold": (lambda: STLSQ(-0.1), r"`STLSQ\(threshold=-0.1\)` must be a number from 0, or None"),
    "no relaxation": (lambda: SR3(relaxation=0.0), r"`SR3\(relaxation=0.0\)` must be a positive number"),
    "a form by name": (lambda: regression(form="weak"), "`form='weak'` is not known: use `IntegralForm"),
    "a regression by name": (lambda: regression(regression="lasso"), "`regression='lasso'` is not known: use `BestSubset"),
    "a criterion": (lambda: regression(select="bicc"), r"`select='bicc'` is not known.* Did you mean `bic`\?"),
    "half a bag": (lambda: regression(bags=0.5), "`bags=0.5` must be a whole number from 0"),
    "a sign of two": (lambda: regression(signs={f: 2}), "the sign of `f` is `2`: 1 for positive, -1 for negative"),
    "text for a quantity": (lambda: regression(conserved=["x"]), "write it as a SymPy expression, not as text"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "text"), BAD.values(), ids=BAD)
def test_choices_that_make_no_sense_are_refused(call, text):
    with pytest.raises(ModelError, match=text):
        call()


def test_their_neighbors_are_accepted():
    assert Powers([0.5]).exponents == (sp.Rational(1, 2),)
    assert WeakForm(rows=5, order=1).rows == 5
    assert IntegralForm(rows=4).rows == 4
    assert STLSQ(0.0).threshold == 0.0
    assert regression(signs={f: -1}, bags=0, select="bic").bags == 0


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_every_form_finds_the_law_of_a_clean_series(form):
    assert is_true(sciml.discover(series(), regression(form=form), refine=False), 1e-2)


@pytest.mark.parametrize("choice", REGRESSIONS, ids=repr)
def test_every_regression_finds_the_law_of_a_clean_series(choice):
    assert is_true(sciml.discover(series(), regression(regression=choice), refine=False), 2e-3)


@pytest.mark.parametrize("select", ["familywise", "bic", "cross-validation"])
def test_every_criterion_finds_the_law_under_noise(select):
    law = sciml.discover(series(0.01, rows=201), regression(select=select), refine=False)
    assert is_true(law, 0.1)


def test_gaps_and_several_experiments_are_read():
    frames = [series(duration=4.0, rows=61), series(duration=4.0, rows=61, seed=1) * [1.0, 1.0]]
    frames[0].iloc[5:8, 0] = np.nan
    frames[1].iloc[10, 1] = np.nan
    assert is_true(sciml.discover(frames, regression(), refine=False), 5e-3)


@pytest.mark.parametrize("form", [IntegralForm(), WeakForm(), SmoothedDerivative()], ids=repr)
def test_the_error_falls_with_the_interval(form):
    system = System({x: f(x)}, learned={f: MLP()}, initial={x: 1.0})
    errors = []
    for rows in (21, 41):
        times = np.linspace(0, 3, rows)
        data = pd.DataFrame({"x": np.exp(-np.sin(times))}, index=times)
        t = sp.Symbol("t", real=True)
        with_time = replace(system, equations={x: f(x, t)})
        method = SparseRegression(library=[x * sp.cos(t)], terms=1, form=form)
        law = sciml.discover(Problem(with_time, data, {x: LogNormal(0.1)}), method, refine=False)
        errors.append(abs(next(iter(law.parameters.values())).value + 1))
    assert errors[1] < max(errors[0] / 4, 1e-5)


def test_smoothing_leaves_clean_series_and_takes_noise_away():
    times = np.linspace(0, 4, 200)
    noise = 0.1 * np.random.default_rng(0).standard_normal(200)
    smoother = Smoother.of(times)
    clean, noisy = smoother.spline(np.sin(2 * times)), smoother.spline(np.sin(2 * times) + noise)
    assert clean(times) == pytest.approx(np.sin(2 * times), abs=1e-5)
    assert clean.derivative()(times) == pytest.approx(2 * np.cos(2 * times), abs=1e-3)
    assert np.std(noisy(times) - np.sin(2 * times)) < 0.25 * np.std(noise)


def test_half_powers_are_found():
    times = np.linspace(0, 1.8, 60)
    data = pd.DataFrame({"x": (2 - times) ** 2 / 4}, index=times)  # x' = -sqrt(x)
    law = sciml.discover(data, SparseRegression(library=[Powers([-0.5, 0.5, 1, 1.5])]), refine=False)
    assert str(law) == "System(x' = c_x*sqrt(x))"
    assert next(iter(law.parameters.values())).value == pytest.approx(-1.0, abs=1e-4)


def test_half_powers_of_negative_states_are_refused():
    data = pd.DataFrame({"x": np.cos(np.linspace(0, 6, 40))}, index=np.linspace(0, 6, 40))
    with pytest.raises(ModelError, match=r"the library term `sqrt\(x\)` is not finite and real"):
        sciml.discover(data, SparseRegression(library=[x, sp.sqrt(x)]), refine=False)
    assert sciml.discover(data + 2, SparseRegression(library=[x, sp.sqrt(x)]), refine=False)


def test_terms_that_coincide_are_refused_by_name():
    times = np.linspace(0, 2, 30)
    data = pd.DataFrame({"x": np.exp(-times), "y": np.full(30, 2.0) + 1e-14 * times}, index=times)
    with pytest.raises(
        ModelError, match=r"terms `1` and `y` of `x` coincide on the states that were visited, .*constant"
    ):
        sciml.discover(data, SparseRegression(degree=1), refine=False)
    with pytest.raises(ModelError, match="terms `x` and `2\\*x` of `x` coincide"):
        sciml.discover(data[["x"]], SparseRegression(library=[x, 2 * x]), refine=False)
    circle = [1, x, sp.sin(x) ** 2, sp.cos(x) ** 2]
    with pytest.warns(UserWarning, match=r"terms `1`, `sin\(x\)\*\*2`, `cos\(x\)\*\*2` of `x` depend on each other"):
        sciml.discover(data[["x"]], SparseRegression(library=circle), refine=False)
    with pytest.raises(ModelError, match=r"`h\(x\)` in the library term `2\*h\(x\)` is a function that is not known"):
        sciml.discover(data[["x"]], SparseRegression(library=[2 * sp.Function("h")(x)]), refine=False)
    assert sciml.discover(data[["x"]], SparseRegression(degree=2), refine=False).report.formulas["x"].coeff(x) < -0.99


def test_a_state_that_is_not_seen_needs_a_fit():
    system = System({x: f(x, y), y: -y}, learned={f: MLP()}, initial={y: 1.0})
    with pytest.raises(DataError, match="`y` is not measured in `data`, and whole equations are read off measured"):
        sciml.discover(Problem(system, series()[["x"]]), regression(), refine=False)


def test_a_regression_alone_fits_no_parameters():
    system = System({x: k * x - f(x, y), y: g(x, y)}, {k: Parameter(1.3)}, {f: MLP(), g: MLP()})
    with pytest.raises(ModelError, match="`k` is to be fitted, which a regression alone cannot: give a number"):
        sciml.discover(Problem(system, series()), regression(), refine=False)
    known = replace(system, parameters={k: 1.3})
    law = sciml.discover(Problem(known, series()), regression(), refine=False)
    assert str(law) == "System(x' = -c_f*x*y + k*x, y' = c_g_1*y + c_g_2*x*y)"


def test_bags_give_inclusion_probabilities():
    law = sciml.discover(series(0.02), regression(bags=20), refine=False)
    table = law.report.to_frame().set_index(["function", "term"])
    assert table.loc[("x", "x*y"), "inclusion"] > 0.9
    assert (table["inclusion"] <= 1).all()
    assert "inclusion" in str(law.report)


def test_bags_on_noise_include_little():
    rng = np.random.default_rng(0)
    columns = Columns.of(rng.standard_normal(200), rng.standard_normal((200, 8)), np.ones((200, 1)), range(8))
    assert choose(BestSubset(), columns, 3, "familywise").active == ()
    assert max(bagged(BestSubset(), columns, 3, "familywise", 20).values()) < 0.9


@pytest.mark.parametrize("choice", [BestSubset(), STLSQ(), SR3()], ids=repr)
def test_signs_are_kept(choice):
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((80, 5))
    target = 2 * matrix[:, 1] - 3 * matrix[:, 3] + 0.01 * rng.standard_normal(80)
    free = Columns.of(target, matrix, np.zeros((80, 0)), range(5))
    assert choose(choice, free, 3, "familywise").active == (1, 3)
    for known in ([[0, 0, 0, 1.0, 0]], [[0, 0, 0, 1.0, 0], [0, 0, 0, 1.0, 1.0]]):
        held = Columns.of(target, matrix, np.zeros((80, 0)), range(5), np.array(known))
        chosen = choose(choice, held, 3, "familywise")
        assert all(c >= 0 for i, c in zip(chosen.active, chosen.coefficients) if i == 3)
        assert 1 in chosen.active


@given(st.integers(1, 6), st.integers(1, 4), st.floats(-3, 3), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_least_squares_above_are_optimal(count, forms, size, seed):
    """By the conditions of Karush, Kuhn and Tucker: the gradient is held by forms that are zero, from their inside."""
    rng = np.random.default_rng(seed)
    matrix, target = rng.standard_normal((20, count)), 10**size * rng.standard_normal(20)
    matrix /= np.linalg.norm(matrix, axis=0)
    above = rng.standard_normal((forms, count))
    found = least_squares_above(matrix, target, above)
    norm = np.linalg.norm(target)
    assert (above @ found >= -1e-8 * norm).all()
    gradient, tight = matrix.T @ (matrix @ found - target) / norm, above[above @ found < 1e-8 * norm]
    left = nnls(tight.T, gradient)[1] if len(tight) else np.linalg.norm(gradient)
    assert left < 1e-7


def test_columns_that_the_target_does_not_tell_apart_stay_finite_under_signs():
    same = np.full((5, 2), 5**-0.5)
    assert least_squares_above(same, np.ones(5), np.eye(2)).sum() == pytest.approx(5**0.5)
    assert least_squares_above(same, -np.ones(5), np.eye(2)) == pytest.approx(np.zeros(2), abs=1e-8)
    both = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert least_squares_above(np.eye(2), np.ones(2), both) == pytest.approx([0.0, 1.0], abs=1e-12)
    nothing_else = np.array([[1.0, 0.3], [-1.0, 0.2], [0.1, -1.0]])
    assert least_squares_above(np.eye(2), np.array([1.0, 1.0]), nothing_else) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_signs_name_what_is_there():
    with pytest.raises(
        ModelError, match=r"`signs` names `xx`, and what is to be discovered is `x`, `y`. Did you mean `x`"
    ):
        sciml.discover(series(), regression(signs={sp.Symbol("xx"): 1}), refine=False)
    with pytest.raises(ModelError, match=r"`signs` names the term `x\*\*3` of `x`, which is not in the library"):
        sciml.discover(series(), regression(signs={(x, x**3): 1}), refine=False)
    assert is_true(sciml.discover(series(), regression(signs={(x, x): 1, (y, y): -1}), refine=False), 2e-3)


def rates(degree):
    system = System({x: f(x, y, z), y: g(x, y, z), z: h(x, y, z)}, learned={n: MLP() for n in (f, g, h)})
    return build_library(system, degree, [], {})


@given(st.sampled_from([x + y + z, x**2 + y**2 + z**2, x**2 + 2 * y**2 + 3 * z**2, x * y]), st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_every_law_of_a_conserving_library_conserves(quantity, seed):
    library, factors = conserving(rates(2), [quantity])
    rng = np.random.default_rng(seed)
    numbers = {t.coefficient: sp.Rational(int(rng.integers(-9, 10)), 4) for t in library.terms}
    rhs = {s: e.xreplace(numbers) for s, e in library.system.equations.items()}
    assert sp.expand(sum(quantity.diff(s) * e for s, e in rhs.items())) == 0
    single = factors @ [float(numbers[t.coefficient]) for t in library.terms]
    for state, e in rhs.items():
        own = {t.expression: c for t, c in zip(rates(2).terms, single) if t.function == (x, y, z).index(state) and c}
        assert float(sp.Poly(e - sum(c * term for term, c in own.items()), x, y, z).max_norm()) < 1e-9


def test_circuits_are_the_smallest_dependent_sets():
    matrix = np.array([[1.0, 2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0]])
    found = [set(c) for c in circuits(matrix)]
    assert found == [{4}, {0, 1}, {0, 2, 3}, {1, 2, 3}]
    for circuit in circuits(matrix):
        assert sum(factor * matrix[:, i] for i, factor in circuit.items()) == pytest.approx(np.zeros(2), abs=1e-12)


@pytest.fixture(scope="module")
def outbreak():
    """Susceptible, infected and removed under noise."""
    times = np.linspace(0, 20, 81)
    sir = System({x: -0.6 * x * y, y: 0.6 * x * y - 0.2 * y, z: 0.2 * y}, initial={x: 0.99, y: 0.01, z: 0.0})
    clean = sciml.simulate(sir, times, rtol=1e-10, atol=1e-10).to_frame()[["x", "y", "z"]]
    return clean + 0.002 * np.random.default_rng(0).standard_normal(clean.shape)


def test_a_conserved_total_makes_terms_come_in_pairs(outbreak):
    method = SparseRegression(library=[x, y, z, x * y, x * z, y * z], conserved=[x + y + z], terms=3)
    law = sciml.discover(outbreak, method, refine=False)
    forms = law.report.formulas
    assert sp.expand(sum(forms.values())) == 0
    assert forms["x"].coeff(x * y) == pytest.approx(-0.6, abs=0.02)
    assert forms["z"].coeff(y) == pytest.approx(0.2, abs=0.02)
    assert len(law.parameters) == 2


@pytest.mark.parametrize("choice", [BestSubset(), STLSQ(), SR3()], ids=repr)
def test_signs_hold_for_the_sums_that_a_conserved_total_makes(choice, outbreak):
    # What x loses to y and what it loses to z are two coefficients here; the sign is one of their sum.
    known = {"conserved": [x + y + z], "terms": 4, "regression": choice, "select": "aicc"}
    library = [x, y, z, x * y, x * z, y * z]
    free = sciml.discover(outbreak, SparseRegression(library=library, **known), refine=False).report.formulas
    assert free["x"].coeff(x * y) < 0
    held = SparseRegression(library=library, signs={(x, x * y): 1, z: 1}, **known)
    forms = sciml.discover(outbreak, held, refine=False).report.formulas
    assert sp.Poly(sum(forms.values()), x, y, z).max_norm() < 1e-12
    assert forms["x"].coeff(x * y) >= 0
    assert all(c >= -1e-9 for c in sp.Poly(forms["z"], x, y, z).coeffs())


def test_a_refined_law_keeps_signs_and_a_conserved_total(outbreak):
    method = SparseRegression(library=[y, x * y], conserved=[x + y + z], signs={x: -1, z: 1}, terms=4, beam=1)
    law = sciml.discover(outbreak, method, progress=False)
    forms = law.report.best.formulas
    assert sp.Poly(sum(forms.values()), x, y, z).max_norm() < 1e-12
    assert set(forms["x"].as_coefficients_dict(x, y, z)) == {x * y}
    assert set(forms["z"].as_coefficients_dict(x, y, z)) == {y}
    assert forms["x"].coeff(x * y) == pytest.approx(-0.6, abs=0.02)
    wrong = replace(method, signs={(x, x * y): 1})
    assert sciml.discover(outbreak, wrong, progress=False).report.best.formulas["x"].coeff(x * y) >= 0


def test_what_cannot_be_conserved_is_refused():
    with pytest.raises(ModelError, match="`w` in the conserved quantity `w` is neither a state nor a parameter"):
        conserving(rates(1), [sp.Symbol("w")])
    with pytest.raises(ModelError, match=r"no combination of up to three terms of the library conserves `exp\(x\)`"):
        conserving(build_library(System({x: f(x)}, learned={f: MLP()}), 1, [], {}), [sp.exp(x)])
    growing = System({x: x + f(x, y), y: g(x, y)}, learned={f: MLP(), g: MLP()})
    with pytest.raises(
        ModelError, match=r"the known part of the equations does not conserve `x \+ y`: it changes by `x`"
    ):
        conserving(build_library(growing, 1, [], {}), [x + y])


@pytest.fixture(scope="module")
def refined():
    """Under 5 % noise, through the solver."""
    return sciml.discover(series(0.05, seed=3), regression(terms=2), progress=False)


def test_refined_laws_of_noisy_series_are_right_and_have_intervals(refined):
    assert is_true(replace(refined, report=refined.report.best), 0.1)
    assert str(refined) == "System(x' = c_x_1*x + c_x_2*x*y, y' = c_y_1*y + c_y_2*x*y)"
    assert all(np.isfinite(v).all() for v in refined.report.best.intervals().values())
    assert refined.report.verdict == "There is no network to compare with."


def test_a_refined_law_goes_on_through_pieces():
    law = sciml.discover(series(0.05, seed=3), regression(terms=2, intervals=4, beam=1), progress=False)
    assert is_true(replace(law, report=law.report.best), 0.1)
    assert len(law.report.best.fit.problem.experiments) == 4


def test_refined_laws_keep_signs():
    method = regression(terms=2, signs={(x, x * y): 1}, beam=1)
    law = sciml.discover(series(0.05, seed=3), method, progress=False)
    assert all(form.coeff(x * y) >= 0 for form in [law.report.best.formulas["x"]])


def test_too_many_pieces_are_refused():
    with pytest.raises(DataError, match="`intervals=60` is too many for `data` with 101 rows"):
        sciml.discover(series(), regression(intervals=60), progress=False)
    with pytest.raises(DataError, match="`discover` needs measurements: a pandas DataFrame"):
        sciml.discover([1, 2], regression())
