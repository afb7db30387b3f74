"""Formulas by genetic programming: fronts, refined constants, and laws fitted through the solver."""

import sys

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import MLP, ModelError, Normal, Problem, SymbolicRegression, System
from sciml.discovery.symbolic_regression import Formula, arguments_of, front, refined

x, q, p = sp.symbols("x q p", real=True)
X, Y = arguments_of(2)
SMALL = SymbolicRegression(population=200, generations=15, length=11, refits=2)


def points(count=100):
    return np.random.default_rng(0).uniform(0.3, 4.0, (count, 2))


def test_a_saturating_response_is_on_the_front():
    pytest.importorskip("pyoperon", reason="pyoperon is not installed")
    at = points()
    values = 1.5 * at[:, 0] * at[:, 1] / (1 + 0.8 * at[:, 0])
    found = front(at, values, SymbolicRegression(population=300, generations=30))
    exact = next(formula for formula in found if formula.misfit < 1e-6)
    numbers = sp.lambdify([X, Y], exact.expression.subs(exact.constants))(*np.array([[1.0, 2.0], [2.0, 3.0]]).T)
    assert numbers == pytest.approx([3.0 / 1.8, 9.0 / 2.6], rel=1e-5)
    assert len(exact.constants) == 2
    sizes, misfits = [f.size for f in found], [f.misfit for f in found]
    assert sizes == sorted(sizes)
    assert misfits == sorted(misfits, reverse=True)


def test_constants_are_refined_and_those_without_use_go():
    at = points()
    values = 1.5 * at[:, 0] * at[:, 1] / (1 + 0.8 * at[:, 0]) + 0.01 * np.random.default_rng(1).standard_normal(100)
    loose = (1.4 * X * Y + 0.05 * Y + 0.03) / (1.1 + 0.7 * X)
    formula = refined(loose, at, values)
    assert sorted(formula.constants.values()) == pytest.approx([0.8, 1.5], abs=0.03)
    assert formula.expression.free_symbols - set(formula.constants) == {X, Y}


def test_formulas_that_are_not_rational_keep_their_shape():
    at = points()
    formula = refined(sp.Float(1.9) * sp.exp(sp.Float(-0.4) * X) + sp.Float(0.02) * Y, at, 2 * np.exp(-0.5 * at[:, 0]))
    assert sorted(formula.constants.values()) == pytest.approx([-0.5, 2.0], rel=1e-6)
    assert formula.expression.has(sp.exp)


def test_a_law_is_found_and_fitted_through_the_solver(hybrid):
    pytest.importorskip("pyoperon", reason="pyoperon is not installed")
    times = np.linspace(6.4, 9, 7)
    later = pd.DataFrame({"x": 1 / (1 + 9 * np.exp(-times))}, index=times)
    law = sciml.discover(hybrid, SMALL, held_out=later)
    assert law.report.best.forecast == law.report.to_frame()["forecast"].min() < 0.01
    assert law.report.best.forecast < law.report.hybrid_forecast
    growth = sp.expand(law.report.candidates[0].formulas["growth"])
    assert float(growth.coeff(x, 1)) == pytest.approx(1.5, rel=0.05)
    assert float(growth.coeff(x, 2)) == pytest.approx(-1.0, rel=0.05)
    assert not law.functions
    frame = law.report.to_frame()
    assert frame["difference"].iloc[0] == 0.0
    assert law.report.best in law.report.near_ties
    assert len(str(law.report).splitlines()) == len(frame) + 1


def test_constants_of_a_formula_are_rounded_where_the_measurements_do_not_mind(hybrid, monkeypatch):
    a, b = sp.symbols("a b", real=True)
    formula = Formula(a * X + b * X**2, {a: 1.4962, b: -1.003}, 1e-3, 0.0)
    monkeypatch.setattr("sciml.discovery.symbolic_search.front", lambda points, values, method: [formula])
    plain = sciml.discover(hybrid, SMALL)
    rounded = sciml.discover(hybrid, SMALL, simplify=1.0)
    # With -1 in its place, 3/2 is several standard errors from what noise has made of the other.
    assert rounded.report.best.formulas["growth"].coeff(x**2) == -1
    assert rounded.report.best.formulas["growth"].coeff(x) == pytest.approx(1.5, abs=0.01)
    assert [str(parameter) for parameter in rounded.parameters] == ["death", "c_growth_1"]
    fell = 2 * (plain.report.best.fit.log_likelihood - rounded.report.best.fit.log_likelihood)
    assert -1e-3 <= fell <= 1.0
    careless = sciml.discover(hybrid, SMALL, simplify=50.0)
    assert careless.report.best.formulas["growth"] == sp.Rational(3, 2) * x - x**2
    assert [str(parameter) for parameter in careless.parameters] == ["death"]
    strict = sciml.discover(hybrid, SMALL, simplify=1e-9).report.best.formulas["growth"]
    assert strict.coeff(x**2) == pytest.approx(plain.report.best.formulas["growth"].coeff(x**2), abs=1e-4)


BAD = {
    "an unknown function": (
        lambda: SymbolicRegression(["add", "sine"]),
        r"`sine` is no function.*Did you mean `sin`\?",
    ),
    "no function": (lambda: SymbolicRegression([]), "needs functions"),
    "no length": (lambda: SymbolicRegression(length=0), "`length=0` must be a positive whole number"),
}


@pytest.mark.parametrize(("call", "text"), BAD.values(), ids=BAD)
def test_choices_that_make_no_sense_are_refused(call, text):
    with pytest.raises(ModelError, match=text):
        call()
    assert SymbolicRegression("add", length=1).functions == ("add",)


def test_it_needs_a_fit_and_values_of_the_functions(hybrid):
    with pytest.raises(ModelError, match="`SymbolicRegression` takes a Fit"):
        sciml.discover(hybrid.problem, SMALL)
    with pytest.raises(ModelError, match="`SymbolicRegression` takes a Fit"):
        sciml.discover(hybrid, SMALL, simplify=-1.0)
    potential = sp.Function("V")
    system = System.from_hamiltonian(p**2 / 2 + potential(q), {q: p}, learned={potential: MLP(hidden=(3,))})
    times = np.linspace(0, 2, 5)
    data = {"q": np.cos(times), "p": -np.sin(times)}
    problem = Problem(system, pd.DataFrame(data, index=times), {q: Normal(0.1), p: Normal(0.1)})
    fit = sciml.Fit(problem, problem.initial(), True, "")
    with pytest.raises(ModelError, match="`V` does not stand in the equations itself, only its derivatives do"):
        sciml.discover(fit, SMALL)


def test_without_pyoperon_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon", None)
    with pytest.raises(ModelError, match=r'pip install "sciml-hybrid\[symbolic\]"'):
        front(points(), points()[:, 0], SMALL)
