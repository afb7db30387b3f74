"""Exports: Python source gives the same numbers as the torch field, LaTeX parses, and refusals leave no file."""

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
from matplotlib.mathtext import MathTextParser
from scipy.integrate import solve_ivp

import sciml
from sciml import MLP, Parameter, System
from sciml.errors import DataError, ModelError
from sciml.export.names import names

x, y, k, c, t = sp.symbols("x y k c t", real=True)
f = sp.Function("f")

MODELS = {n: getattr(sciml.models, n)() for n in sciml.models.__all__ if callable(getattr(sciml.models, n))}
MODELS = {name: model for name, model in MODELS.items() if isinstance(model, System) and not model.discrete}
# Behind a reset SciPy needs a new solve.
SMOOTH = {name: model for name, model in MODELS.items() if not model.events}
OBSERVED = {name: model for name, model in MODELS.items() if model.observed}

# Right-hand sides for every function that NumPy has.
FORMULAS = {
    "constants of all digits": sp.Float(1 / 3) * x + sp.Rational(1, 3) + sp.pi * y + sp.E,
    "powers": sp.sqrt(x) + x ** sp.Rational(-2, 3) + x**-2 + 1 / sp.sqrt(y) + 2**x + x**y + (x**y) ** 2 + (-x) ** 3,
    "exponentials": sp.exp(-x) + sp.log(x) + sp.exp(x) ** 2,
    "trigonometry": sp.sin(x) + sp.cos(y) + sp.tan(x) + sp.atan(x) + sp.atan2(y, x) + sp.asin(x / 9) + sp.acos(y / 9),
    "reciprocal trigonometry": sp.sec(x) + sp.csc(x) + sp.cot(y),
    "hyperbolic functions": sp.sinh(x) + sp.cosh(y) + sp.tanh(x) + sp.asinh(x) + sp.acosh(1 + y) + sp.atanh(x / 9),
    "reciprocal hyperbolic functions": sp.sech(x) + sp.csch(x) + sp.coth(y),
    "steps": sp.Abs(x - y) + sp.sign(x - y) + sp.Heaviside(x - 1) + sp.floor(x) + sp.ceiling(y) + sp.Mod(x, y),
    "extremes": sp.Max(x, y, 1) + sp.Min(x, 2 * y) + sp.Max(0, x - 1),
    "cases": sp.Piecewise((x, x > 1), (y**2, sp.And(y > 1, sp.Ne(x, y))), (0, True)),
    "sinc": sp.sinc(x),
    "special functions": sp.erf(x) + sp.erfc(y) + sp.loggamma(x),
    "time": sp.sin(3 * t) * x,
    "a constant": sp.Integer(2),
}


def scope(system, path=None):
    """What the exported source defines, in a fresh namespace."""
    namespace = {}
    exec(compile(sciml.export.python(system, path), "exported", "exec"), namespace)
    return namespace


def states(system, count=20, low=0.3, high=2.0):
    return np.random.default_rng(0).uniform(low, high, (count, len(system.states)))


@pytest.mark.parametrize("system", SMOOTH.values(), ids=SMOOTH)
def test_exported_python_gives_the_same_derivatives(system):
    module, field = scope(system), sciml.compile(system)
    points = states(system)
    expected = field(0.7, torch.tensor(points)).detach().numpy()
    assert module["STATES"] == tuple(map(str, system.states))
    for point, rates in zip(points, expected):
        assert module["rhs"](0.7, point) == pytest.approx(rates, rel=1e-14, abs=1e-14 * np.abs(rates).max())


@pytest.mark.parametrize("system", OBSERVED.values(), ids=OBSERVED)
def test_exported_python_gives_the_same_observables(system):
    module, field = scope(system), sciml.compile(system)
    points = states(system)
    expected = field.observe(0.7, torch.tensor(points)).detach().numpy()[:, len(system.states) :]
    for point, values in zip(points, expected):
        assert module["observe"](0.7, point) == pytest.approx(values, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("system", SMOOTH.values(), ids=SMOOTH)
def test_exported_python_works_in_scipy(system):
    module = scope(system)
    times = np.linspace(0, 1, 5)
    found = solve_ivp(module["rhs"], (0, 1), module["INITIAL"], t_eval=times, rtol=1e-10, atol=1e-10).y.T
    # In torch: compiling each model would take most of this file's time.
    ours = sciml.simulate(system, times, rtol=1e-10, atol=1e-10, backend="torch").values[:, : len(system.states)]
    assert found == pytest.approx(ours, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_every_function_is_written_for_numpy(formula):
    system = System({x: formula, y: k * x}, parameters={k: 1 / 3})
    module, field = scope(system), sciml.compile(system)
    for point in states(system):
        expected = field(0.7, torch.tensor(point)).detach().numpy()
        assert module["rhs"](0.7, point) == pytest.approx(expected, rel=2e-14)


def test_numbers_are_written_to_the_last_digit():
    third = 1 / 3
    module = scope(System({x: sp.Float(third) * x}, parameters={k: third}, initial={x: third}))
    assert module["rhs"](0.0, [1.0]) == [third]
    assert module["PARAMETERS"]["k"] == module["INITIAL"][0] == third


def test_parameters_can_be_given_in_the_call():
    system = System({x: -k * x + c}, parameters={k: Parameter(0.5), c: 1.0})
    module = scope(system)
    assert module["PARAMETERS"] == {"k": 0.5, "c": 1.0}
    assert module["rhs"](0.0, [2.0]) == [0.0]
    assert module["rhs"](0.0, [2.0], [1.0, 0.0]) == [-2.0]


def test_a_system_without_parameters_is_exported():
    assert scope(System({x: -x}))["rhs"](0.0, [2.0]) == [-2.0]


def test_initial_values_are_exported_where_all_are_given():
    parameters = {k: 0.5}
    given = System({x: -k * x, y: -y}, parameters=parameters, initial={x: 2 * k, y: Parameter(3.0)})
    assert scope(given)["INITIAL"].tolist() == [1.0, 3.0]
    assert "INITIAL" not in scope(System({x: -k * x, y: -y}, parameters=parameters, initial={x: 2 * k}))


def test_the_file_holds_what_is_returned(tmp_path):
    path = tmp_path / "decay.py"
    source = sciml.export.python(System({x: -k * x}, parameters={k: 0.5}), path)
    assert path.read_text() == source
    assert "x' = -k*x" in source
    assert list(tmp_path.iterdir()) == [path]


def test_a_discovered_law_is_exported():
    times = np.linspace(0, 8, 81)
    grown = pd.DataFrame({"x": 1 / (1 + 9 * np.exp(-times))}, index=times)
    law = sciml.discover(grown, sciml.SparseRegression(degree=3), refine=False).with_observed({"square": x**2})
    module, point = scope(law), torch.tensor([0.4], dtype=torch.float64)
    assert module["rhs"](0.0, [0.4]) == pytest.approx(sciml.compile(law)(0.0, point).detach().numpy(), rel=1e-14)
    assert module["rhs"](0.0, [0.4]) == pytest.approx([0.4 * 0.6], rel=1e-3)
    assert module["observe"](0.0, [0.4]) == pytest.approx([0.16])


def named(name):
    symbol = sp.Symbol(name, real=True)
    return System({x: -symbol * x}, parameters={symbol: 1.0})


# Languages that print code, with what their sources call parameters that other names would break.
CODE = ("c", "jax", "julia", "matlab", "modelica", "python", "torch")
UNKNOWN = sp.besselj(0, x)
REFUSED = {
    "a function that no language has": (
        System({x: UNKNOWN}),
        r"`besselj\(0, x\)` cannot be written in \w+, which has no `besselj`",
    ),
    "a network without weights": (
        System({x: f(x)}, learned={f: MLP()}),
        r"the network of `f` has no weights yet: export `fit.system`",
    ),
    "a module of another kind": (
        System({x: f(x)}, learned={f: torch.nn.LSTM(1, 1)}),
        "`f` cannot be exported: the network `LSTM` is no plain perceptron",
    ),
    "an integral": (System({x: sp.Integral(sp.sin(x**3), x)}), "cannot be computed here: carry it out"),
}


@pytest.mark.parametrize("language", CODE)
@pytest.mark.parametrize(("system", "text"), REFUSED.values(), ids=REFUSED)
def test_what_a_language_cannot_hold_is_refused_and_no_file_is_left(system, text, language, tmp_path):
    with pytest.raises(ModelError, match=text):
        getattr(sciml.export, language)(system, tmp_path / "law.txt")
    assert list(tmp_path.iterdir()) == []


LACKING = {
    "Modelica has no error function": (
        "modelica",
        System({x: sp.erf(x)}),
        r"`erf\(.*\)` cannot be written in Modelica",
    ),
    "Modelica has no open cases": (
        "modelica",
        System({x: sp.Piecewise((1, x > 0))}),
        "has no value where none of its cases holds",
    ),
    "Modelica has no noise": ("modelica", System({x: -x}, noise={x: 0.1}), "`x` has a diffusion term"),
    "Julia has no noise here": ("julia", System({x: -x}, noise={x: 0.1}), "`x` has a diffusion term"),
    "Julia has no end": (
        "julia",
        System({x: -x}, events=[sciml.Event(x - 1, terminal=True)]),
        "event at `x - 1` = 0 is terminal",
    ),
    "a learned event in Modelica": (
        "modelica",
        System({x: f(x)}, learned={f: MLP()}, events=[sciml.Event(f(x) - 1)]),
        r"`f\(x\)` stands in an event, where Modelica cannot hold it",
    ),
}


@pytest.mark.parametrize(("language", "system", "text"), LACKING.values(), ids=LACKING)
def test_what_one_language_lacks_is_refused(language, system, text, tmp_path):
    with pytest.raises(ModelError, match=text):
        getattr(sciml.export, language)(system, tmp_path / "law.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("language", "name"),
    [("c", "double"), ("c", "my-law"), ("c", "1law"), ("matlab", "end"), ("matlab", "λ"), ("modelica", "model")],
)
def test_a_name_for_the_whole_that_a_language_does_not_allow_is_refused(language, name, tmp_path):
    with pytest.raises(ModelError, match=f"`{name}` cannot"):
        getattr(sciml.export, language)(System({x: -x}), tmp_path / f"{name}.txt")
    assert list(tmp_path.iterdir()) == []
    assert getattr(sciml.export, language)(System({x: -x}), tmp_path / "decay.txt")


HARD_NAMES = [
    "lambda",
    "numpy",
    "state",
    "growth rate",
    "x_{1}",
    "in",
    "end",
    "λ",
    "Δ_1",
    "x'",
    "_x",
    "1x",
    "數",
    "double",
    "der",
    "D",
    "np",
    "rhs",
    "array",
    "growth_rate",
    "μ",
    "I",
    "E",
    "gamma",
    "exp",
    "y[1]",
    "import os",
]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_works_in_python_and_is_kept_in_its_tables(name):
    module = scope(named(name))
    assert module["PARAMETERS"] == {name: 1.0}
    assert module["rhs"](0.0, [2.0]) == [-2.0]


def test_changed_names_are_stated_and_never_clash():
    symbols = sp.symbols("λ lambda lambda_ x_{1} x_1 x1", real=True)
    system = System(dict.fromkeys(symbols, sp.Integer(1)))
    changed = names(symbols, reserved=["lambda"])
    assert changed.changed == {"lambda_2": "λ", "lambda_3": "lambda", "x_1_": "x_{1}"}
    assert len(set(changed.table.values())) == len(symbols)
    assert "x_1_ for 'x_{1}'" in sciml.export.c(system)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the folder `.*` does not exist"):
        sciml.export.python(System({x: -x}), tmp_path / "nowhere" / "law.py")


def lines(text):
    """The rows of an `aligned` environment, without its alignment marks."""
    first, *rows, last = text.splitlines()
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    return [row.removesuffix(r" \\").replace("&=", "=") for row in rows]


def parses(row):
    MathTextParser("path").parse(f"${row}$")
    return True


@pytest.mark.parametrize("digits", [3, None])
@pytest.mark.parametrize("system", MODELS.values(), ids=MODELS)
def test_latex_has_a_row_for_each_equation_and_parses(system, digits):
    rows = lines(sciml.export.latex(system, digits=digits))
    formulas = len(system.states) + len(system.observed)
    assert len(rows) == formulas + len(system.events)
    assert all(parses(row) for row in rows[:formulas])


def test_latex_of_names_of_several_letters_parses():
    hare, lynx, rate = sp.symbols("hare lynx growth_rate", real=True)
    system = System({hare: rate * hare, lynx: -f(hare, lynx)}, parameters={rate: 0.5}, learned={f: MLP()})
    assert all(parses(row) for row in lines(sciml.export.latex(system, digits=None)))
    assert all(parses(row) for row in lines(sciml.export.latex(system)))


def test_latex_holds_values_to_the_digits_asked_for():
    system = System({x: -k * x}, parameters={k: 0.123456}, observed={"double": 2 * x})
    assert r"0.123\, x" in sciml.export.latex(system)
    assert r"0.12346\, x" in sciml.export.latex(system, digits=5)
    assert "k" not in sciml.export.latex(system)
    assert "0.123" not in sciml.export.latex(system, digits=None)
    assert r"k\, x" in sciml.export.latex(system, digits=None)


def test_latex_keeps_functions_to_be_learned():
    text = sciml.export.latex(System({x: -f(x).diff(x)}, learned={f: MLP()}))
    assert "f" in text
    assert "d" in text
