"""Discovery: libraries, proposals of supports, the choice among laws, and laws found from data."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import LBFGS, MLP, LogNormal, Normal, Parameter, Problem, SingleShooting, SparseRegression, System
from sciml.discovery.candidate import price, rounded
from sciml.discovery.library import build_library, columns_of, complexity
from sciml.discovery.report import Report
from sciml.discovery.supports import propose, subsets, thresholded
from sciml.discovery.terms import monomials
from sciml.errors import DataError, ModelError

x, y, k, t, q, p = sp.symbols("x y k t q p", real=True)
f, g, V = sp.symbols("f g V", cls=sp.Function)
TIMES = np.linspace(0, 3, 12)
PAIR = System({x: -f(x, y), y: g(y)}, learned={f: MLP(hidden=(3,)), g: MLP(hidden=(3,))})


def library_of(system, degree=None, terms=None, sizes=None):
    return build_library(system, degree, terms, sizes or {})


def expressions(library, function):
    index = library.functions.index(function)
    return [term.expression for term in library.terms if term.function == index]


def test_monomials_come_by_degree_without_repetition():
    assert monomials([x, y], 2) == [1, x, y, x**2, x * y, y**2]
    assert monomials([x], 3) == [1, x, x**2, x**3]
    assert len(monomials(sp.symbols("a:4"), 3)) == 35


@pytest.mark.parametrize(
    ("term", "expected"),
    [(sp.Integer(1), 0), (x, 1), (x * y, 2), (x**3, 3), (sp.sin(x), 2), (x * sp.exp(-y), 3), (1 / x, 2)],
    ids=str,
)
def test_complexity_is_degree_or_number_of_operations(term, expected):
    assert complexity(term, [x, y]) == expected


def test_every_function_takes_monomials_of_its_own_arguments():
    library = library_of(PAIR, degree=2)
    assert expressions(library, "f") == [1, x, y, x**2, x * y, y**2]
    assert expressions(library, "g") == [1, y, y**2]
    assert not library.system.functions


def test_terms_of_the_user_go_to_the_functions_whose_arguments_they_hold():
    library = library_of(PAIR, terms=[x, sp.sin(y), x * y, y])
    assert expressions(library, "f") == [x, sp.sin(y), x * y, y]
    assert expressions(library, "g") == [sp.sin(y), y]


def test_terms_of_the_user_stand_beside_those_of_a_degree_once():
    assert expressions(library_of(PAIR, degree=1, terms=[sp.cos(y), y]), "g") == [1, y, sp.cos(y)]


def test_the_library_system_is_the_sum_of_coefficients_times_terms():
    system = System({x: -k * f(2 * x)}, parameters={k: 3.0}, learned={f: MLP(hidden=(3,))})
    library = library_of(system, degree=2)
    c = [term.coefficient for term in library.terms]
    assert sp.expand(library.system.equations[x] + k * (c[0] + 2 * c[1] * x + 4 * c[2] * x**2)) == 0
    assert [parameter.value for symbol, parameter in library.system.parameters.items() if symbol in c] == [1, 0.5, 0.25]


def test_coefficients_start_at_the_inverse_size_of_their_terms():
    library = library_of(PAIR, terms=[x * y**2, sp.sqrt(y - 9), 1 / (y - 2)], sizes={"x": 5.0, "y": 2.0})
    values = {
        str(e): library.system.parameters[c].value for e, c in ((t.expression, t.coefficient) for t in library.terms)
    }
    assert values["x*y**2"] == pytest.approx(1 / 20)
    assert values["sqrt(y - 9)"] == pytest.approx(1 / np.sqrt(7))
    assert values["1/(y - 2)"] == 1.0


def test_coefficients_take_no_name_of_the_system():
    taken = sp.Symbol("f_1", real=True)
    system = System({x: f(x) - taken * x}, parameters={taken: 0.5}, learned={f: MLP(hidden=(3,))})
    library = library_of(system, degree=1)
    assert library.system.parameters[taken] == Parameter(0.5, fixed=True)
    assert [str(term.coefficient) for term in library.terms] == ["f_0", "f_1_"]


def test_coefficients_of_a_law_have_names_of_their_own():
    first = sp.Function("f_1")
    system = System({x: f(x), y: first(y)}, learned={f: MLP(hidden=(3,)), first: MLP(hidden=(3,))})
    library = library_of(system, degree=1)
    law = library.law({str(term.coefficient): 2.0 for term in library.terms}, [0, 1, 3])
    assert len(law.parameters) == 3
    assert law.equations[y].free_symbols.isdisjoint(law.equations[x].free_symbols)


def test_columns_are_the_derivatives_by_the_coefficients():
    library = library_of(System({x: k * f(x) - x, y: t * y}, parameters={k: 2.0}, learned={f: MLP(hidden=(3,))}), 2)
    states = np.array([[1.0, 2.0], [3.0, 4.0]])
    known, linear = columns_of(library, np.array([0.0, 5.0]), states, {"k": 3.0}, np.zeros((2, 0)))
    assert known.tolist() == [[-1.0, 0.0], [-3.0, 20.0]]
    assert linear[:, 0].tolist() == [[3.0, 3.0, 3.0], [3.0, 9.0, 27.0]]
    assert not linear[:, 1].any()


BAD_LIBRARIES = {
    "an unknown symbol": (
        lambda: library_of(PAIR, terms=[x, sp.Symbol("z", real=True)]),
        "`z` in the library term `z` is not a state",
    ),
    "a misspelt state": (
        lambda: library_of(System({sp.Symbol("hare", real=True): f(sp.Symbol("hare", real=True))}, learned={f: MLP()}),
                           terms=[sp.Symbol("hair", real=True)]),
        r"Did you mean `hare`\?",
    ),
    "a parameter": (
        lambda: library_of(System({x: k * f(x)}, parameters={k: 1.0}, learned={f: MLP()}), terms=[k * x]),
        r"their coefficients are found by the regression",
    ),
    "no term of the arguments": (
        lambda: library_of(PAIR, terms=[x]),
        "no term of the library depends on the arguments of `g` alone: `y`",
    ),
    "two sets of arguments": (
        lambda: library_of(System({x: f(x) + f(2 * x)}, learned={f: MLP()}), 1),
        r"`f` is called with different arguments \(`f\(2\*x\)`, `f\(x\)`\)",
    ),
    "a function of observables alone": (
        lambda: library_of(System({x: -x}, learned={f: MLP()}, observed={"power": f(x)}), 1),
        "`f` occurs in no equation, only in observables",
    ),
    "no learned function": (lambda: library_of(System({x: -x}), 1), "nothing is to be discovered"),
    "neither degree nor library": (lambda: SparseRegression(), r"needs terms: `degree=2`, or `library=\["),
    "an empty library": (lambda: SparseRegression(library=[]), "needs terms"),
    "text for a term": (lambda: SparseRegression(library=["x"]), "write it as a SymPy expression, not as text"),
    "half a degree": (lambda: SparseRegression(degree=0.5), "`degree=0.5` must be a whole number from 0 to 10"),
    "a large degree": (lambda: SparseRegression(degree=11), "must be a whole number from 0 to 10"),
    "no terms": (lambda: SparseRegression(degree=2, terms=0), "`terms=0` must be a positive whole number"),
    "no refits": (lambda: SparseRegression(degree=2, refits=0), "`refits=0` must be a positive whole number"),
    "half a support": (lambda: SparseRegression(degree=2, keep=1.5), "`keep=1.5` must be a positive whole number"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "text"), BAD_LIBRARIES.values(), ids=BAD_LIBRARIES)
def test_a_library_that_does_not_fit_is_refused(call, text):
    with pytest.raises(ModelError, match=text):
        call()


def test_the_neighbors_of_refused_libraries_are_accepted():
    assert len(library_of(PAIR, terms=[x, y]).terms) == 3
    assert SparseRegression(library=x).library == (x,)
    assert SparseRegression(library=[1, x]).library == (1, x)
    assert SparseRegression(degree=0, terms=1, keep=1, refits=1).degree == 0


@pytest.mark.parametrize("seed", range(5))
def test_best_subsets_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    columns, target = rng.standard_normal((30, 6)), rng.standard_normal(30)
    target += 2 * columns[:, 1] - columns[:, 4]
    found = subsets(columns.T @ columns, columns.T @ target, float(target @ target), terms=3, keep=4)
    for size in range(1, 4):
        rows = []
        for active in combinations(range(6), size):
            coefficients = np.linalg.lstsq(columns[:, active], target, rcond=None)[0]
            rows.append((float(np.sum((target - columns[:, active] @ coefficients) ** 2)), active, coefficients))
        rows.sort(key=lambda row: row[0])
        own = [support for support in found if len(support.active) == size]
        assert [support.active for support in own] == [row[1] for row in rows[:4]]
        for support, (misfit, _, coefficients) in zip(own, rows):
            assert support.coefficients == pytest.approx(coefficients, rel=1e-8)
            assert support.misfit == pytest.approx(misfit / float(target @ target), rel=1e-8)
    assert found[0].active == ()
    assert found[0].misfit == 1.0


def test_the_beam_finds_the_terms_where_there_are_too_many_subsets():
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((200, 60))
    target = 3 * columns[:, 7] - 2 * columns[:, 21] + columns[:, 33] + 0.5 * columns[:, 50]
    found = subsets(columns.T @ columns, columns.T @ target, float(target @ target), terms=4, keep=1)
    assert found[-1].active == (7, 21, 33, 50)
    assert found[-1].misfit == pytest.approx(0.0, abs=1e-9)


def test_thresholding_keeps_the_large_terms():
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((100, 8))
    columns /= np.linalg.norm(columns, axis=0)
    found = thresholded(columns, 5 * columns[:, 2] - 3 * columns[:, 6], terms=3)
    best = min(found, key=lambda support: support.misfit)
    assert best.active == (2, 6)
    assert best.coefficients == pytest.approx([5.0, -3.0])
    assert all(len(support.active) <= 3 for support in found)


@pytest.mark.parametrize(("columns", "target"), [(np.zeros((5, 0)), np.ones(5)), (np.ones((5, 1)), np.zeros(5))])
def test_thresholding_of_nothing_finds_nothing(columns, target):
    assert thresholded(columns, target, terms=2) == []


def test_coefficients_are_those_of_the_columns_as_given():
    rng = np.random.default_rng(2)
    columns = rng.standard_normal((40, 4)) * np.array([1e-3, 1.0, 1e3, 1e6])
    target = 2000 * columns[:, 0] + 0.004 * columns[:, 2]
    best = min(propose(target, columns, np.zeros((40, 0)), terms=2, keep=2), key=lambda support: support.misfit)
    assert dict(zip(best.active, best.coefficients)) == pytest.approx({0: 2000.0, 2: 0.004}, rel=1e-6)


def test_a_column_that_the_nuisance_explains_is_never_proposed():
    rng = np.random.default_rng(3)
    nuisance = rng.standard_normal((40, 2))
    columns = np.column_stack([nuisance @ [1.0, 2.0], rng.standard_normal(40), np.zeros(40)])
    target = 3 * columns[:, 1] + nuisance @ [5.0, -1.0]
    found = propose(target, columns, nuisance, terms=2, keep=3)
    assert {support.active for support in found} == {(), (1,)}
    assert found[-1].coefficients == pytest.approx([3.0])


def candidate(criterion, terms, degree):
    return SimpleNamespace(criterion=criterion, terms=terms, degree=degree, forecast=None)


def test_near_ties_are_all_that_are_less_than_ten_behind():
    candidates = tuple(candidate(c, 1, 1) for c in (0.0, 9.9, 10.0, 11.0))
    report = Report(candidates, None, {})
    assert report.near_ties == candidates[:2]
    assert report.best is candidates[0]


def test_a_term_costs_more_in_a_larger_library():
    prices = [price(1, library, observations=50, others=3) for library in (1, 10, 100)]
    assert 0 < prices[0] < prices[1] < prices[2]
    assert price(0, 10, 50, 3) == 0.0
    assert price(2, 10, 50, 3) > 1.9 * prices[1]


def test_numbers_are_cut_for_printing():
    assert str(rounded(sp.Float(0.123456) * x + sp.Float(2) ** 70)) == "0.123*x + 1.18e+21"


def test_the_true_terms_of_a_growth_are_found(hybrid, law):
    (formula,) = law.report.best.formulas.values()
    assert sp.Poly(formula, x).as_dict().keys() == {(1,), (2,)}
    assert float(formula.coeff(x, 1)) == pytest.approx(1.5, rel=0.02)
    assert float(formula.coeff(x, 2)) == pytest.approx(-1.0, rel=0.02)
    assert not law.functions
    assert law.parameters[sp.Symbol("death", real=True)] == Parameter(0.5, fixed=True)
    assert law.observed == hybrid.problem.system.observed


def test_a_law_is_refitted_like_any_other_system(hybrid, law):
    refit = sciml.fit(hybrid.problem.with_system(law), progress=False)
    chosen = law.report.best
    assert refit.log_likelihood == pytest.approx(chosen.log_likelihood, abs=1e-3)
    assert refit.problem.system.report is law.report
    assert set(refit.estimates) == {str(s) for s, parameter in law.parameters.items() if not parameter.fixed}


def test_the_report_ranks_the_laws(hybrid, law):
    frame = law.report.to_frame()
    assert list(frame["difference"]) == sorted(frame["difference"])
    assert frame["difference"].iloc[0] == 0.0
    assert frame["terms"].max() == 2
    assert law.report.hybrid is hybrid
    assert law.report.counts["failed"] == 0
    assert str(law.report).splitlines()[-2].startswith(f"Laws: {law.report.counts['tried']} tried")
    assert str(law.report).splitlines()[-1] == law.report.verdict


def test_the_front_gains_likelihood_with_every_term(law):
    front = law.report.front
    assert [c.terms for c in front] == sorted({c.terms for c in front})
    assert np.all(np.diff([c.log_likelihood for c in front]) > 0)
    assert any(c is law.report.best for c in front)
    frame = law.report.to_frame()
    assert frame["front"].sum() == len(front)
    assert np.isfinite(frame[["aicc", "bic"]]).all(axis=None)


def test_terms_have_inclusion_probabilities_and_intervals(law):
    table = law.report.inclusion().set_index("term")
    assert table.loc[["x", "x**2"], "inclusion"].min() > 0.9
    assert table["inclusion"].max() <= 1 + 1e-12
    assert (table["lower"] <= table["coefficient"]).all()
    assert (table["coefficient"] <= table["upper"]).all()


def test_the_verdict_compares_with_the_network(hybrid, law):
    report = law.report
    assert 1 < report.hybrid_freedom < len(hybrid.vector)
    assert report.verdict.startswith("The law describes the data no worse than the network: AICc ")
    poor = discovered(hybrid, library=[x**3], terms=1).report
    assert poor.verdict.startswith("No law of this library beats the network: AICc ")


def later(duration=9.0):
    times = np.linspace(6.4, duration, 8)
    return pd.DataFrame({"x": 1 / (1 + 9 * np.exp(-times))}, index=times)


def test_laws_are_chosen_by_their_forecasts_of_what_was_held_out(hybrid):
    found = discovered(hybrid, degree=2, terms=2)
    chosen = sciml.discover(
        hybrid, SparseRegression(degree=2, terms=2, keep=3, refits=8), held_out=later(), progress=False
    ).report
    forecasts = [c.forecast for c in chosen.rankable]
    assert chosen.best.forecast == min(forecasts)
    assert chosen.best.forecast < 0.01
    assert chosen.best.formulas.keys() == found.report.best.formulas.keys()
    assert "forecast" in chosen.to_frame()
    assert "held out" in chosen.verdict


def test_numbers_become_fractions_only_where_the_data_allow_it(hybrid, law):
    method = SparseRegression(degree=2, terms=2, keep=3, refits=8)
    simple = sciml.discover(hybrid, method, simplify=1.0, progress=False).report.best
    assert simple.formulas["growth"].coeff(x**2) == -1
    assert 2 * (law.report.best.log_likelihood - simple.log_likelihood) <= 1.0 + 1e-3
    assert simple.free == law.report.best.free - len(simple.exact)
    assert len(simple.exact) == 2 - len([name for name, p in simple.system.parameters.items() if not p.fixed])


def test_held_out_series_must_be_later_ones_of_the_same_columns(hybrid):
    method = SparseRegression(degree=1)
    with pytest.raises(DataError, match="begins at 0, and the experiment at 0: hold out later times"):
        sciml.discover(hybrid, method, held_out=later().set_axis(np.arange(8.0)))
    with pytest.raises(DataError, match="`held_out` has 2 series for 1 experiments"):
        sciml.discover(hybrid, method, held_out=[later(), later()])
    with pytest.raises(DataError, match="column `square` of `held_out` was not measured"):
        sciml.discover(hybrid, method, held_out=later().rename(columns={"x": "square"}))
    with pytest.raises(ModelError, match="`simplify=-1` must be a number from 0"):
        sciml.discover(hybrid, method, simplify=-1)


def fitted(system, data, noise, steps=60):
    return sciml.fit(Problem(system, data, noise), SingleShooting(None), [LBFGS(steps=steps)], progress=False)


def discovered(fit, **options):
    return sciml.discover(fit, SparseRegression(**{"keep": 3, "refits": 8, **options}), progress=False)


def test_a_potential_that_occurs_through_its_derivative_alone_is_found():
    system = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: MLP(hidden=(3,))}, initial={q: 1.0, p: 0.0})
    times = np.linspace(0, 2, 5)
    data = pd.DataFrame({"q": np.cos(1.3 * times), "p": -1.3 * np.sin(1.3 * times)}, index=times)
    fit = sciml.fit(
        Problem(system, data, {q: Normal(0.02), p: Normal(0.02)}), optimizers=[LBFGS(steps=3)], progress=False
    )
    law = discovered(fit, degree=3, terms=1)
    (formula,) = law.report.best.formulas.values()
    assert formula.coeff(q, 2) * q**2 == formula
    assert float(formula.coeff(q, 2)) == pytest.approx(1.3**2 / 2, rel=0.01)
    assert law.equations[q] == p


def test_free_parameters_and_noise_levels_are_found_together_with_the_terms():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"x": 3 / (1 + 5 * np.exp(-TIMES)) * np.exp(0.02 * rng.standard_normal(12))}, index=TIMES)
    system = System({x: k * x - f(x)}, parameters={k: Parameter(0.8, bounds=(0, None))}, learned={f: MLP(hidden=(3,))})
    fit = fitted(system, data, {x: LogNormal()}, steps=15)
    law = discovered(fit, library=[x**2, x**3], terms=1)
    assert str(law) == "System(x' = -c_f*x**2 + k*x)"
    values = {str(symbol): parameter.value for symbol, parameter in law.parameters.items()}
    assert values == pytest.approx({"k": 1.0, "c_f": 1 / 3}, rel=0.1)


def test_a_term_that_depends_on_time_is_found():
    data = pd.DataFrame({"x": np.sin(TIMES)}, index=TIMES)
    fit = fitted(System({x: f(t)}, learned={f: MLP(hidden=(4,))}), data, {x: Normal(0.01)}, steps=30)
    law = discovered(fit, library=[sp.cos(t), sp.sin(t), t], terms=1)
    assert str(law) == "System(x' = c_f*cos(t))"
    (coefficient,) = law.parameters.values()
    assert coefficient.value == pytest.approx(1.0, rel=1e-3)


def test_a_function_of_two_equations_is_found_from_both():
    data = pd.DataFrame({"x": np.exp(-TIMES) + 0.5, "y": 1.5 - np.exp(-TIMES)}, index=TIMES)
    system = System({x: -f(x), y: f(x)}, learned={f: MLP(hidden=(3,))})
    law = discovered(fitted(system, data, {x: Normal(0.01), y: Normal(0.01)}, steps=15), degree=1, terms=2)
    (formula,) = law.report.best.formulas.values()
    assert float(formula.coeff(x, 1)) == pytest.approx(1.0, rel=0.02)
    assert float(formula.coeff(x, 0)) == pytest.approx(-0.5, rel=0.02)


@pytest.fixture(scope="module")
def decay():
    data = pd.DataFrame({"x": 2 * np.exp(-TIMES)}, index=TIMES)
    return data, {x: Normal(0.05)}


def test_a_function_that_stands_nonlinearly_is_refused(decay):
    fit = fitted(System({x: sp.sin(g(x))}, learned={g: MLP(hidden=(3,))}), *decay, steps=2)
    with pytest.raises(ModelError, match="`g` does not stand linearly in the equation of `x`"):
        discovered(fit, degree=1)


def test_a_term_that_is_not_real_where_the_fit_went_is_refused(decay):
    fit = fitted(System({x: -g(x)}, learned={g: MLP(hidden=(3,))}), *decay, steps=2)
    with pytest.raises(ModelError, match=r"the library term `sqrt\(x - 5\)` is not finite and real"):
        discovered(fit, library=[sp.sqrt(x - 5), x])
    assert discovered(fit, library=[sp.sqrt(x + 5), x], terms=1).report.counts["failed"] == 0


def test_discovery_needs_a_fit_with_learned_functions_and_a_known_method(hybrid, decay):
    with pytest.raises(ModelError, match="`discover` takes a Fit, a Problem or a DataFrame, not `System`"):
        sciml.discover(hybrid.problem.system, SparseRegression(degree=1))
    with pytest.raises(ModelError, match=r"method 'SINDy' is not known: use `SparseRegression\(degree=2\)`"):
        sciml.discover(hybrid, "SINDy")
    known = fitted(System({x: -k * x}, parameters={k: Parameter(0.9)}), *decay, steps=2)
    with pytest.raises(ModelError, match="nothing is to be discovered"):
        discovered(known, degree=1)


def test_intervals_hold_the_truth_and_narrow_with_the_level(law):
    best = law.report.best
    wide, narrow = best.intervals(0.99), best.intervals(0.5)
    assert list(wide) == [str(best.library.terms[k].coefficient) for k in best.active]
    for name, truth in zip(wide, (1.5, -1.0)):
        assert wide[name][0] < truth < wide[name][1]
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]


def test_a_term_of_two_functions_is_priced_once_if_that_is_assumed():
    times = np.linspace(0, 2, 9)
    data = (
        pd.DataFrame({"x": 2 * np.exp(-times), "y": 2 - 2 * np.exp(-times)}, index=times)
        + 0.01 * np.cos(9 * times)[:, None]
    )
    system = System({x: -f(x), y: g(x)}, learned={f: MLP(hidden=(3,)), g: MLP(hidden=(3,))})
    fit = fitted(system, data, {x: Normal(0.01), y: Normal(0.01)}, steps=15)
    apart, shared = discovered(fit, degree=2).report, discovered(fit, degree=2, shared=True).report
    assert [formula.coeff(x) * x == formula for formula in shared.best.formulas.values()] == [True, True]
    once = next(c for c in apart.candidates if c.active == shared.best.active)
    paid = price(2, 6, 18, 2) - price(1, 6, 18, 2)
    assert once.criterion - shared.best.criterion == pytest.approx(paid, abs=1e-3)
