"""Systems and declarations: what is accepted, what is refused and how it is said, and Systems as values."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import sympy as sp
import torch

from sciml.errors import ModelError
from sciml.lowering.vector_field import compile
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.distributions import LogNormal, Normal
from sciml.symbolic.system import System

x, y, v, k, alpha, sigma = sp.symbols("x y v k alpha sigma", real=True)
t = sp.Symbol("t", real=True)
f, g = sp.symbols("f g", cls=sp.Function)
positive, nonpositive, complex_x = sp.Symbol("z", positive=True), sp.Symbol("z", nonpositive=True), sp.Symbol("x")


def equations(rhs, **declarations):
    return lambda: System({x: rhs}, **declarations)


# What is wrong, a part of what is said about it, and the nearest thing that is right.
SYSTEMS = {
    "misspelt symbol": (
        equations(sp.Symbol("alhpa", real=True) * x, parameters={alpha: 1.0}),
        r"`alhpa` in the equation of `x` is neither a state nor a parameter. Did you mean `alpha`\?",
        equations(alpha * x, parameters={alpha: 1.0}),
    ),
    "undeclared constant": (
        equations(-k * x),
        r"A new constant goes into `parameters=\{k: \.\.\.\}`",
        equations(-k * x, parameters={k: 1.0}),
    ),
    "unknown function": (
        equations(f(x)),
        r"`f\(x\)` in the equation of `x` is an unknown function. Say how to learn it: `learned=\{f: MLP\(\)\}`",
        equations(f(x), learned={f: MLP()}),
    ),
    "misspelt function": (
        equations(sp.Function("forse")(x), learned={sp.Function("force"): MLP()}),
        r"`forse\(x\)` in the equation of `x` is an unknown function. Did you mean `force`\?",
        equations(sp.Function("force")(x), learned={sp.Function("force"): MLP()}),
    ),
    "unknown function of an observable": (
        equations(-x, observed={"power": f(x)}),
        r"`f\(x\)` in observable `power` is an unknown function",
        equations(-x, observed={"power": f(x)}, learned={f: MLP()}),
    ),
    "positive state": (
        lambda: System({positive: -positive}),
        r'state `z` is declared positive or negative.*sp.symbols\("z", real=True\)',
        equations(-x),
    ),
    "nonpositive state": (
        lambda: System({nonpositive: -nonpositive}),
        "state `z` is declared positive or negative",
        equations(-x),
    ),
    "state that is not real": (
        lambda: System({complex_x: -complex_x}),
        r'state `x` must be real: declare it by `sp.symbols\("x", real=True\)`',
        equations(-x),
    ),
    "the same name with other assumptions": (
        equations(-complex_x),
        "`x` in the equation of `x` has other assumptions than the declared `x`.*Create the symbol once",
        equations(-x),
    ),
    "text for a formula": (
        equations("-x"),
        "the equation of `x` is '-x': write it as a SymPy expression, not as text",
        equations(-x),
    ),
    "text for an initial value": (
        equations(-x, initial={x: "1"}),
        "the initial value of `x` is '1': write it as a SymPy expression",
        equations(-x, initial={x: 1}),
    ),
    "object for a formula": (equations(object()), "which is not a SymPy expression", equations(np.float64(2.0))),
    "condition for a formula": (
        equations(x > 0),
        "which is not a scalar expression",
        equations(sp.Piecewise((1, x > 0), (0, True))),
    ),
    "matrix for a formula": (equations(sp.Matrix([x])), "which is not a scalar expression", equations(x)),
    "infinite formula": (equations(x + sp.oo), "is not a finite real expression", equations(x + 10**9)),
    "complex formula": (equations(sp.I * x), "is not a finite real expression", equations(sp.sqrt(2) * x)),
    "no equation": (lambda: System({}), "needs at least one equation", equations(0)),
    "a list of equations": (
        lambda: System([sp.Eq(x, 1)]),
        r"`equations` is of type `list`.*System.from_equations",
        equations(1),
    ),
    "function of time as key": (
        lambda: System({f(t): -f(t)}),
        r"the key `f\(t\)` of `equations` is not a symbol.*`System.from_equations\(\[\.\.\.\]\)`",
        equations(-x),
    ),
    "declared twice": (
        equations(-k * x, parameters={k: 1.0}, observed={"k": x**2}),
        "`k` is declared as parameter and as observable. Rename one of them",
        equations(-k * x, parameters={k: 1.0}, observed={"square": x**2}),
    ),
    "state that is also a parameter": (
        equations(-x, parameters={x: 1.0}),
        "`x` is declared as state and as parameter",
        equations(-x, parameters={k: 1.0}),
    ),
    "time that is also a parameter": (
        equations(-x, parameters={t: 1.0}, time=t),
        "`t` is declared as time and as parameter",
        equations(-x * t, time=t),
    ),
    "name of a parameter as text": (
        equations(-k * x, parameters={"k": 1.0}),
        "the parameter `k` is not a symbol",
        equations(-k * x, parameters={k: 1.0}),
    ),
    "text for a parameter": (
        equations(-k * x, parameters={k: "1"}),
        r"parameter `k` is '1': give a `Parameter\(\.\.\.\)`, or a finite number",
        equations(-k * x, parameters={k: np.int64(1)}),
    ),
    "infinite parameter": (
        equations(-k * x, parameters={k: np.inf}),
        r"parameter `k` is inf: give a `Parameter\(\.\.\.\)`",
        equations(-k * x, parameters={k: sp.pi}),
    ),
    "complex parameter": (
        equations(-k * x, parameters={k: sp.I}),
        r"parameter `k` is I: give a `Parameter\(\.\.\.\)`",
        equations(-k * x, parameters={k: np.float32(1)}),
    ),
    "initial value of no state": (
        equations(-x, initial={"xx": 1.0}),
        r"`xx` is not a state. The system has `x`. Did you mean `x`\?",
        equations(-x, initial={"x": 1.0}),
    ),
    "initial value of unknown symbols": (
        equations(-alpha * x, parameters={alpha: 1.0}, initial={x: sp.Symbol("alpa")}),
        r"`alpa` in the initial value of `x` is not a parameter.*Did you mean `alpha`\?",
        equations(-alpha * x, parameters={alpha: 1.0}, initial={x: 2 * alpha}),
    ),
    "initial value from another state": (
        lambda: System({x: -x, v: -v}, initial={x: v}),
        "`v` in the initial value of `x` is not a parameter",
        lambda: System({x: -x, v: -v}, initial={x: Parameter(1.0)}),
    ),
    "noise of no state": (
        equations(-x, noise={y: 1.0}),
        "`y` is not a state. The system has `x`",
        equations(-x, noise={x: sp.sqrt(1 + x**2)}),
    ),
    "observable that is no name": (
        equations(-x, observed={x**2: x}),
        r"the observable `x\*\*2` is not a symbol",
        equations(-x, observed={"square": x**2}),
    ),
    "learned but unused": (
        equations(-x, learned={f: MLP()}),
        "`f` is declared in `learned` but occurs in no equation. Remove or use it",
        equations(-x + f(x), learned={f: MLP()}),
    ),
    "called function as key": (
        equations(f(x), learned={f(x): MLP()}),
        r'`f\(x\)` in `learned` is not an undefined function. Declare it by `sp.Function\("f"\)`',
        equations(f(x), learned={f: MLP()}),
    ),
    "one function with two arities": (
        lambda: System({x: f(x) + f(x, y), y: 0}, learned={f: MLP()}),
        "`f` are called with 1 and 2 arguments; one network needs one number of arguments",
        lambda: System({x: f(x, x) + f(x, y), y: 0}, learned={f: MLP()}),
    ),
    "one network with two arities": (
        lambda: System({x: f(x), y: g(x, y)}, learned={(f, g): MLP()}),
        "`f`, `g` are called with 1 and 2 arguments",
        lambda: System({x: f(x), y: g(x, y)}, learned={f: MLP(), g: MLP()}),
    ),
    "function learned twice": (
        lambda: System({x: f(x), y: g(x)}, learned={(f, g): MLP(), f: MLP()}),
        "`f` stands twice in `learned`",
        lambda: System({x: f(x), y: g(x)}, learned={(f, g): MLP()}),
    ),
    "number for a network": (
        equations(f(x), learned={f: 3}),
        r"`f` is to be learned by 3: give `MLP\(\)` or a torch module",
        equations(f(x), learned={f: torch.nn.Linear(1, 1)}),
    ),
    "factor that is no argument": (
        equations(f(x), learned={f: MLP(factors=(y,))}),
        r"factor `y` of `f` must be one of the arguments of `f\(x\)`",
        equations(f(x), learned={f: MLP(factors=x)}),
    ),
    "too many factors": (
        equations(f(x), learned={f: MLP(factors=(x, x))}),
        r"`factors=\(x, x\)` of the MLP for `f` needs 1 entries",
        equations(f(x), learned={f: MLP(factors=(None,))}),
    ),
    "too few input scales": (
        lambda: System({x: f(x, y), y: 0}, learned={f: MLP(input_scale=(2.0,))}),
        r"`input_scale=\(2.0,\)` of the MLP for `f` needs 2 entries",
        lambda: System({x: f(x, y), y: 0}, learned={f: MLP(input_scale=(2.0, 3.0))}),
    ),
}

DECLARATIONS = {
    "start above the bounds": (
        lambda: Parameter(3, bounds=(0, 2)),
        r"the start `3.0` does not lie between the bounds `\(0.0, 2.0\)`",
        lambda: Parameter(1, bounds=(0, 2)),
    ),
    "start on a bound": (
        lambda: Parameter(0, bounds=(0, None)),
        "A fit starts strictly inside them",
        lambda: Parameter(0, bounds=(0, None), fixed=True),
    ),
    "empty bounds": (
        lambda: Parameter(1, bounds=(2, 1)),
        r"bounds `\(2.0, 1.0\)` are empty: the lower one must be below the upper one",
        lambda: Parameter(1, bounds=(-np.inf, 2)),
    ),
    "one bound": (
        lambda: Parameter(1, bounds=5),
        "is not a number with a pair of bounds",
        lambda: Parameter(1, bounds=(None, 5)),
    ),
    "text for a value": (lambda: Parameter("a"), "is not a number with a pair of bounds", lambda: Parameter(1)),
    "value that is not finite": (lambda: Parameter(np.nan), "must start from a finite number", lambda: Parameter(-1)),
    "number for a prior": (
        lambda: Parameter(1, prior=3),
        r"`prior=3` is not a distribution around the value. Write `prior=Normal\(0.1\)`",
        lambda: Parameter(1, prior=Normal(3)),
    ),
    "prior without a scale": (
        lambda: Parameter(1, prior=Normal()),
        "is not a distribution around the value",
        lambda: Parameter(1, prior=LogNormal(1.0)),
    ),
    "prior of unknown scale": (
        lambda: Parameter(1, prior=Normal(sigma)),
        "the prior's scale `sigma` must be a number",
        lambda: Parameter(1, prior=Normal(sp.sqrt(2))),
    ),
    "log-normal prior of a negative value": (
        lambda: Parameter(-1, prior=LogNormal(1)),
        r"a LogNormal prior needs a positive value, not `-1.0`. Use `Normal\(\.\.\.\)`",
        lambda: Parameter(-1, prior=Normal(1)),
    ),
    "negative noise": (
        lambda: Normal(-1),
        r"`Normal\(-1\)`: the scale must be a positive number",
        lambda: Normal(1),
    ),
    "no noise": (lambda: LogNormal(0), r"`LogNormal\(0\)`: the scale", lambda: LogNormal(None)),
    "text for noise": (lambda: Normal("sigma"), r"`Normal\('sigma'\)`: the scale", lambda: Normal(sigma)),
    "misspelt activation": (
        lambda: MLP(activation="tahn"),
        r"activation `tahn` is not known. There are `tanh`.* Did you mean `tanh`\?",
        lambda: MLP(activation="tanh"),
    ),
    "layer without width": (
        lambda: MLP(hidden=(8, 0)),
        r"`hidden=\(8, 0\)` must hold positive whole numbers",
        lambda: MLP(hidden=()),
    ),
    "broken width": (
        lambda: MLP(hidden=3.5),
        r"`hidden=\(3.5,\)` must hold positive whole numbers",
        lambda: MLP(hidden=3),
    ),
    "negative decay": (
        lambda: MLP(decay=-1.0),
        "`decay=-1.0` must be zero or a positive number",
        lambda: MLP(decay=0.0),
    ),
    "text for decay": (
        lambda: MLP(decay="little"),
        "`decay=little` must be zero or a positive number",
        lambda: MLP(decay=1),
    ),
    "scale of zero": (
        lambda: MLP(input_scale=(1.0, 0.0)),
        "scale `0.0` of an MLP must be a positive number",
        lambda: MLP(input_scale=(1.0, 2.0)),
    ),
}


@pytest.mark.parametrize(("wrong", "message", "right"), SYSTEMS.values(), ids=SYSTEMS)
def test_a_wrong_system_is_refused_with_advice_and_its_neighbor_is_accepted(wrong, message, right):
    with pytest.raises(ModelError, match=message):
        wrong()
    assert isinstance(right(), System)


@pytest.mark.parametrize(("wrong", "message", "right"), DECLARATIONS.values(), ids=DECLARATIONS)
def test_a_wrong_declaration_is_refused_with_advice_and_its_neighbor_is_accepted(wrong, message, right):
    with pytest.raises(ModelError, match=message):
        wrong()
    right()


def test_a_missing_initial_value_is_named_when_it_is_needed():
    field = compile(System({x: v, v: -x}, initial={x: 1.0}))
    with pytest.raises(ModelError, match=r"`v` has no initial value. Give one in `System\(initial=\{v: \.\.\.\}\)`"):
        field.initial
    assert compile(field.system.with_initial({"v": 2})).initial.tolist() == [1.0, 2.0]


def test_short_forms_are_made_regular():
    system = System({x: 1}, parameters={k: 2}, learned={f: MLP(hidden=4)}, initial={"x": 3}, observed={"seen": f(x)})
    assert system.equations[x] is sp.Integer(1)
    assert system.parameters[k] == Parameter(2.0, fixed=True)
    assert system.learned == {(f,): MLP(hidden=(4,))}
    assert system.initial == {x: sp.Integer(3)}
    assert system.observed == {sp.Symbol("seen", real=True): f(x)}
    assert Parameter(1, bounds=(0, np.inf)).bounds == (0.0, None)


def test_an_undeclared_symbol_called_t_is_time():
    plain = sp.Symbol("t")
    assert System({x: -plain * x}).time == plain
    assert System({x: -x}).time == t
    assert System({x: -sp.Symbol("tau") * x}, time=sp.Symbol("tau")).time == sp.Symbol("tau")


def test_symbols_are_found_by_name_with_a_suggestion():
    system = System({x: -alpha * x}, parameters={alpha: 1.0}, observed={"square": x**2})
    assert system.symbol("alpha") is alpha
    assert system.symbol(x) is x
    with pytest.raises(ModelError, match=r"`sqare` is neither.*Did you mean `square`\?"):
        system.symbol("sqare")


def test_systems_are_values():
    def build():
        return System({x: f(x) - k * x}, parameters={k: Parameter(1.0)}, learned={f: MLP()}, initial={x: 1})

    assert build() == build()
    assert build() != build().with_parameters({k: 2.0})
    assert replace(build(), initial={x: 2}).initial == {x: 2}
    with pytest.raises(FrozenInstanceError):
        build().equations = {}
    with pytest.raises(ModelError, match="`q` in the equation of `x`"):
        replace(build(), equations={x: f(x) + sp.Symbol("q")})


def test_with_methods_replace_what_is_named_and_keep_the_rest():
    declared = Parameter(1.0, bounds=(0, 2), prior=Normal(0.5))
    system = System({x: f(x) - k * x}, parameters={k: declared, alpha: 3.0}, learned={f: MLP()}, initial={x: 1})
    changed = system.with_parameters({"k": 1.5, alpha: Parameter(4.0)})
    assert changed.parameters == {k: replace(declared, value=1.5), alpha: Parameter(4.0)}
    assert system.parameters[k] == declared
    assert system.with_initial({"x": k}).initial == {x: k}
    assert system.with_learned({f: MLP(hidden=3)}).learned == {(f,): MLP(hidden=(3,))}
    assert system.with_observed({"square": x**2}).observed == {sp.Symbol("square", real=True): x**2}
    for call, message in [
        (lambda: system.with_parameters({"kk": 1}), r"`kk` is not a parameter.*Did you mean `k`\?"),
        (lambda: system.with_parameters({k: 3.0}), "the start `3.0` does not lie between the bounds"),
        (lambda: system.with_initial({"y": 1}), "`y` is not a state"),
        (lambda: system.with_learned({g: MLP()}), "`g` is declared in `learned` but occurs in no equation"),
    ]:
        with pytest.raises(ModelError, match=message):
            call()


def test_substitute_replaces_parameters_everywhere():
    system = System({x: -k * x}, parameters={k: 1.0}, initial={x: k}, observed={"loss": k * x}, noise={x: k})
    changed = system.substitute({k: alpha**2}, parameters={alpha: Parameter(2.0)})
    assert changed == System(
        {x: -(alpha**2) * x},
        parameters={alpha: Parameter(2.0)},
        initial={x: alpha**2},
        observed={"loss": alpha**2 * x},
        noise={x: alpha**2},
    )
    assert system.substitute({k: 3}).equations == system.substitute({"k": 3}).equations == {x: -3 * x}


def test_substitute_carries_out_derivatives_of_learned_functions():
    system = System({x: v, v: -f(x).diff(x) + g(2 * x)}, learned={f: MLP(), g: MLP()})
    changed = system.substitute({f: lambda q: k * q**2 / 2, g: sp.Lambda(x, sp.sin(x))}, parameters={k: 1.0})
    assert changed == System({x: v, v: -k * x + sp.sin(2 * x)}, parameters={k: 1.0})


def test_substitute_carries_out_a_derivative_at_a_compound_argument():
    slope = f(x - v).diff(x)
    system = System({x: v, v: -slope}, learned={f: MLP()}).substitute({f: lambda q: q**3})
    assert sp.expand(system.equations[v] + 3 * (x - v) ** 2) == 0


@pytest.mark.parametrize(
    ("replacements", "message"),
    [
        ({sp.Symbol("kk", real=True): 1}, r"`kk` is not a parameter, input or learned function.*Did you mean `k`\?"),
        ({sp.Function("h"): lambda q: q}, "`h` is not a parameter, input or learned function"),
        ({f(x): x}, r"`f\(x\)` is not a parameter, input or learned function"),
        ({f: lambda q: q}, "`f`, `g` share one network: replace them together"),
        ({k: "alpha**2"}, "write it as a SymPy expression, not as text"),
        ({k: alpha}, "`alpha` in the equation of `x` is neither a state nor a parameter"),
    ],
    ids=["parameter", "function", "call", "half a network", "text", "undeclared"],
)
def test_substitute_refuses_what_it_cannot_replace(replacements, message):
    system = System({x: f(x) - k * x, y: g(x)}, parameters={k: 1.0}, learned={(f, g): MLP()})
    with pytest.raises(ModelError, match=message):
        system.substitute(replacements)


def test_the_jacobian_holds_the_derivatives_of_all_equations():
    system = System({x: v, v: -k * sp.sin(x) - f(x, v)}, parameters={k: 1.0}, learned={f: MLP()})
    assert system.jacobian() == sp.Matrix([[0, 1], [-k * sp.cos(x) - f(x, v).diff(x), -f(x, v).diff(v)]])


def test_time_derivatives_follow_the_equations():
    system = System({x: v, v: -f(x)}, learned={f: MLP()})
    assert system.time_derivative(x) == v
    assert system.time_derivative(x, order=2) == -f(x)
    assert system.time_derivative(x, order=3) == -v * f(x).diff(x)
    assert system.time_derivative(t * x + 1) == x + t * v
    assert system.time_derivative(x, order=0) == x


def test_time_derivatives_see_through_observables():
    E = sp.Symbol("E", real=True)
    system = System({x: v, v: -x}, observed={E: x**2 + v}, parameters={k: 1.0})
    assert sp.expand(system.time_derivative(k * E)) == 2 * k * x * v - k * x


@pytest.mark.parametrize(
    ("expression", "order", "message"),
    [
        (x, -1, "`order=-1` of a time derivative must be a whole number from 0"),
        (x, 1.5, "`order=1.5` of a time derivative must be a whole number from 0"),
        (x, True, "`order=True` of a time derivative must be a whole number from 0"),
        (k * x, 1, "`k` in the expression to differentiate is neither a state nor a parameter"),
        (sp.Function("g")(x), 1, r"`g\(x\)` in the expression to differentiate is an unknown function"),
        ("x", 1, "the expression to differentiate is 'x': write it as a SymPy expression"),
    ],
)
def test_what_cannot_be_differentiated_along_the_equations_is_named(expression, order, message):
    system = System({x: v, v: -x})
    assert system.time_derivative(x, 1) == v
    with pytest.raises(ModelError, match=message):
        system.time_derivative(expression, order)


def test_energy_is_conserved_along_hamiltonian_equations_symbolically():
    energy = v**2 / 2 + f(x)
    system = System({x: v, v: -f(x).diff(x)}, learned={f: MLP()})
    assert sp.simplify(system.time_derivative(energy)) == 0


def test_the_text_form_shows_the_equations():
    system = System({x: v, v: -(k**2) * f(x)}, parameters={k: 1.0}, learned={f: MLP()}, observed={"E": v**2 / 2})
    assert repr(system) == "System(x' = v, v' = -k**2*f(x))"
    latex = system._repr_latex_()
    assert latex.startswith(r"$\displaystyle \begin{aligned} \dot{x} &= v \\ \dot{v} &= ")
    assert r"E &= \frac{v^{2}}{2} \end{aligned}$" in latex


def test_calls_and_arity_are_those_that_the_user_wrote():
    system = System({x: f(x - v, v).diff(x) + f(x, v), v: 0}, learned={f: MLP()})
    assert system.calls(f) == {f(x, v)}
    assert system.arity((f,)) == 2
    assert system.functions == (f,)
