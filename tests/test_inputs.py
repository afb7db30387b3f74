"""Inputs and parameters per experiment: declared, simulated, fitted, discovered, saved, and refused with advice."""

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from test_engines import agree

import sciml
from sciml import (
    MLP,
    Dopri8,
    Event,
    Kvaerno5,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    Rodas5P,
    SparseRegression,
    System,
    Tsit5,
)
from sciml.errors import DataError, ModelError

t, x, v, u, w, k, c = sp.symbols("t x v u w k c", real=True)
f = sp.Function("f")
SOLVERS = [Tsit5(), Dopri8(), Kvaerno5(), Rodas5P()]


def oscillator(how="constant", **options) -> System:
    declared = {
        "parameters": {k: Parameter(2.0, bounds=(0, None)), c: Parameter(0.3, bounds=(0, None))},
        "initial": {x: 0.0, v: Parameter(0.1)},
        "inputs": {u: how},
    }
    return System({x: v, v: u - k * x - c * v}, **declared | options)


def signal(seed=0, count=12, end=6.0) -> pd.Series:
    return pd.Series(np.random.default_rng(seed).normal(size=count), index=np.linspace(0, end, count), name="u")


def measured(how="constant", stiffness=(2.2, 1.7), own=True, noise=0.01) -> tuple[System, dict[str, pd.DataFrame]]:
    """Two experiments with inputs, times and stiffnesses of their own."""
    rng = np.random.default_rng(1)
    declared = {k: Parameter(2.0, bounds=(0, None), per_experiment=own), c: Parameter(0.3, bounds=(0, None))}
    system = oscillator(how, parameters=declared)
    frames = {}
    for seed, (name, value) in enumerate(zip("AB", stiffness)):
        drive = signal(seed)
        times = np.unique(np.r_[drive.index, rng.uniform(0, 6, 20)])
        solved = sciml.simulate(system, times, inputs={u: drive}, parameters={k: value, c: 0.4}, initial={v: 0.2})
        frame = pd.DataFrame({"x": solved["x"] + noise * rng.normal(size=len(times))}, index=times)
        frames[name] = frame.assign(u=solved.signals[0](times)[:, 0])
    return system, frames


@pytest.mark.parametrize("how", ["constant", "linear", "cubic"])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_a_simulation_with_inputs_is_the_same_in_both_engines_and_in_scipy(how, solver):
    system, drive = oscillator(how), signal()
    options = {"inputs": {u: drive}, "solver": solver, "rtol": 1e-8, "atol": 1e-8}
    found = sciml.simulate(system, np.linspace(0, 6, 7), **options)
    assert found.backend == "native"
    if not isinstance(solver, Rodas5P):
        loose = 1e-6 if isinstance(solver, Kvaerno5) else 1e-9
        expected = sciml.simulate(system, np.linspace(0, 6, 7), backend="torch", **options)
        np.testing.assert_allclose(found.values, expected.values, atol=loose)
    state, u_of = np.array([0.0, 0.1]), found.signals[0]
    edges = [0.0, *u_of.jumps[u_of.jumps < 6.0], 6.0]
    for a, b in pairwise(edges):
        inner = np.linspace(a, b, 50)[:-1]
        polynomial = np.polynomial.Polynomial.fit(inner, u_of(inner)[:, 0], 3)
        solved = solve_ivp(lambda t, y, p=polynomial: [y[1], p(t) - 2 * y[0] - 0.3 * y[1]], (a, b), state,
                           rtol=1e-10, atol=1e-10)  # fmt: skip
        state = solved.y[:, -1]
    np.testing.assert_allclose(found.states[-1], state, atol=1e-6)


def test_backwards_in_time_a_simulation_with_inputs_returns_to_the_start():
    there = sciml.simulate(oscillator(), np.linspace(0, 6, 5), inputs={u: signal()}, rtol=1e-10, atol=1e-10)
    for backend in ("native", "torch"):
        back = sciml.simulate(oscillator(), np.linspace(6, 0, 5), inputs={u: signal()}, rtol=1e-10, atol=1e-10,
                              initial=dict(zip("xv", there.states[-1])), backend=backend)  # fmt: skip
        np.testing.assert_allclose(back.states[::-1], there.states, atol=1e-7)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_each_trajectory_has_inputs_of_its_own(backend):
    system = oscillator(observed={sp.Symbol("a", real=True): u - k * x})
    times = np.linspace(0, 6, 5)
    many = sciml.simulate(system, times, inputs=[{u: signal()}, {u: 1.0}], backend=backend)
    for i, drive in enumerate((signal(), 1.0)):
        one = sciml.simulate(system, times, inputs={u: drive}, backend=backend)
        np.testing.assert_allclose(many.values[i], one.values, rtol=1e-9, atol=1e-9)


def test_an_input_given_as_a_formula_is_the_input_sampled_finely():
    times = np.linspace(0, 6, 7)
    formula = oscillator().substitute({u: sp.sin(t)})
    assert not formula.inputs
    fine = np.linspace(0, 6, 400)
    sampled = sciml.simulate(oscillator("cubic"), times, inputs={u: pd.Series(np.sin(fine), fine)})
    np.testing.assert_allclose(sampled.states, sciml.simulate(formula, times).states, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_the_gradient_with_inputs_and_individual_parameters_matches_finite_differences(solver):
    system, frames = measured()
    problem = Problem(system, frames, {x: Normal(0.05)}, solver=solver, rtol=1e-8, atol=1e-8)
    assert problem.engine == "native"
    assert problem.loss.labels == ("c", "k[A]", "k[B]")
    theta = problem.initial() + 0.02
    value, gradient = problem.value_and_gradient(theta)
    if isinstance(solver, Tsit5):
        agree(problem)
    for i, slope in enumerate(gradient):
        step = 1e-5 * np.eye(len(theta))[i]
        difference = problem.value_and_gradient(theta + step)[0] - problem.value_and_gradient(theta - step)[0]
        assert slope == pytest.approx(difference / 2e-5, rel=1e-4, abs=1e-3 * abs(value))


@pytest.mark.parametrize("how", ["constant", "linear", "cubic"])
def test_a_hybrid_with_inputs_in_network_and_observable_is_the_same_in_both_engines(how):
    system = System(
        {x: v, v: f(x, u) - c * v + w},
        parameters={c: Parameter(0.3, per_experiment=True)},
        learned={f: MLP(hidden=5)},
        inputs={u: how, w: "linear"},
        observed={sp.Symbol("a", real=True): x + u * w},
        initial={x: Parameter(0.0), v: c},
    )
    rng = np.random.default_rng(0)
    data = [pd.DataFrame(rng.normal(size=(7, 4)), np.linspace(0, 2 + e, 7), ["x", "u", "w", "a"]) for e in range(3)]
    agree(Problem(system, data, {"x": Normal(0.1), "a": Normal(0.1)}, rtol=1e-8, atol=1e-8))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["constant", "linear", "cubic"]), st.integers(2, 15), st.integers(3, 9)
)
def test_both_engines_agree_on_random_grids_of_inputs_and_data(seed, how, samples, rows):
    rng = np.random.default_rng(seed)
    grid = np.cumsum(rng.uniform(0.01, 1, samples))
    times = np.sort(rng.uniform(grid[0], grid[-1], rows))
    times[rng.integers(rows)] = grid[rng.integers(samples)]  # data on a jump
    times = np.unique(times)
    data = pd.DataFrame({"x": rng.normal(size=len(times))}, index=times)
    drive = pd.DataFrame({"u": rng.normal(size=samples).round(1)}, index=grid)
    agree(Problem(oscillator(how), data, {x: Normal(0.5)}, inputs=drive, rtol=1e-7, atol=1e-7), 1e-9, 1e-7)


def test_a_fit_finds_every_value_of_an_individual_parameter_and_survives_saving(tmp_path):
    system, frames = measured()
    problem = Problem(system, frames, noise={x: Normal(0.01)})
    fit = sciml.fit(problem, progress=False)
    assert fit.parameters.loc["A", "k"] == pytest.approx(2.2, rel=0.02)
    assert fit.parameters.loc["B", "k"] == pytest.approx(1.7, rel=0.02)
    assert fit.estimates["k[B]"] == fit.parameters.loc["B", "k"]
    with pytest.raises(ModelError, match=r"`k` differs between experiments. Say which: `fit.system_of\(\"A\"\)`"):
        _ = fit.system
    again = sciml.load(fit.save(tmp_path / "fit.sciml"))
    assert again.loss == fit.loss
    assert again.system_of("B").parameters[k].value == fit.parameters.loc["B", "k"]
    own = sciml.simulate(fit.system_of("B"), frames["B"].index, inputs=frames["B"][["u"]])
    np.testing.assert_allclose(own["x"], fit.simulate(experiment="B")["x"], atol=1e-9)
    assert fit.residuals("B")["x"].std() < 0.02
    with pytest.raises(DataError, match="there is no experiment `C`"):
        fit.simulate(experiment="C")


def test_multiple_shooting_finds_the_same_individual_parameters():
    system, frames = measured()
    problem = Problem(system, frames, noise={x: Normal(0.01)})
    fits = [sciml.fit(problem, objective, progress=False) for objective in (None, MultipleShooting(intervals=3))]
    np.testing.assert_allclose(fits[1].parameters, fits[0].parameters, rtol=1e-3)


def test_a_law_with_an_input_is_discovered_and_refitted():
    rng = np.random.default_rng(0)
    true = System({x: -x + 0.5 * x * u}, initial={x: 2.0}, inputs={u: "constant"})
    drive = pd.Series(rng.choice([-1.0, 0.0, 1.5], 20), index=np.linspace(0, 8, 20))
    times = np.linspace(0, 8, 60)
    solved = sciml.simulate(true, times, inputs={u: drive})
    data = pd.DataFrame({"x": solved["x"] * (1 + 0.002 * rng.normal(size=60))}, index=times)
    model = System({x: f(x, u)}, learned={f: MLP(hidden=(8, 8))}, inputs={u: "constant"})
    fit = sciml.fit(Problem(model, data, {x: sciml.LogNormal(0.01)}, inputs={u: drive}), progress=False)
    law = sciml.discover(fit, SparseRegression(degree=2), progress=False)
    assert law.inputs == {u: "constant"}
    terms = {term.free_symbols & {x, u} == {x, u}: term for term in sp.Add.make_args(law.equations[x])}
    assert len(sp.Add.make_args(law.equations[x])) == 2
    assert terms[True].has(x * u) or terms[True].subs({x: 1, u: 1}).is_Symbol


def test_exports_take_inputs_as_arguments_and_formulas_in_their_place():
    assert "u" in sciml.export.latex(oscillator("linear"))
    as_argument, as_formula = {}, {}
    exec(sciml.export.python(oscillator()), as_argument)
    exec(sciml.export.python(oscillator().substitute({u: sp.sin(t)})), as_formula)
    assert as_argument["INPUTS"] == ("u",)
    assert as_argument["rhs"](1.0, [0.0, 0.0], [np.sin(1.0)])[1] == pytest.approx(np.sin(1.0))
    assert as_formula["rhs"](1.0, [0.0, 0.0])[1] == pytest.approx(np.sin(1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {u: "quadratic"}}, "the interpolation 'quadratic' of the input `u` is not known"),
        ({"inputs": "u"}, "`inputs='u'` is text"),
        ({"inputs": [k]}, "`k` is declared as parameter and as input"),
        ({"initial": {x: 2 * u}}, "the initial value of `x` depends on the input `u`"),
        ({"events": [Event(x - u)]}, r"the condition of `events\[0\]` depends on the input `u`, which may jump"),
        ({"inputs": []}, r"`u` in the equation of `v` is neither .* a measured signal into `inputs=\[u\]`"),
    ],
)
def test_wrong_declarations_of_inputs_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        oscillator(**change)
    oscillator(**{"inputs": [u]})


GRID = np.linspace(0, 6, 7)
GOOD = pd.DataFrame({"x": np.sin(GRID), "u": np.cos(GRID)}, index=GRID)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[["x"]], "the input `u` is not given for `data`. Add a column `u`"),
        (
            GOOD.assign(u=GOOD.u.where(GRID != 2)),
            "the input `u` of `data` is missing at time 2. Fill",
        ),
        (GOOD.assign(u=GOOD.u.where(GRID < 5)), r"`u` of `data` ends at 4, but it is needed up to 6.*`data.loc\[:4\]`"),
        (
            GOOD.assign(u=GOOD.u.where(GRID > 1)),
            r"`u` of `data` begins at 2, but it is needed from 0.*`data.loc\[2:\]`",
        ),
        (GOOD.assign(u=np.nan), "the input `u` of `data` holds no value at all"),
        (GOOD.assign(u="on"), "column `u` of `data`, input `u` holds text: 'on'"),
        (GOOD.rename(columns={"x": "xx"}), "column `xx` matches no state or observable or input"),
    ],
)
def test_wrong_columns_of_inputs_are_refused_with_advice(data, message):
    with pytest.raises(DataError, match=message):
        Problem(oscillator(), data)
    Problem(oscillator(), GOOD)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (None, DataError, "the System has inputs, `u`, and none are given"),
        ({"uu": 1.0}, DataError, "`uu` in the inputs of `inputs` is no input of the System. .* Did you mean `u`"),
        ({u: np.sin}, ModelError, "the input `u` is a function. For a formula write `system.substitute"),
        ({u: "1"}, DataError, "the input `u` of `inputs` is of type `str`"),
        ({u: signal(end=3.0)}, DataError, "ends at 3, but it is needed up to 6"),
        ({u: signal(count=1)}, DataError, "ends at 0, but it is needed up to 6"),
        ([{u: 1.0}, {u: signal(end=3.0)}], DataError, r"the input `u` of `inputs\[1\]` ends at 3"),
    ],
)
def test_wrong_inputs_of_a_simulation_are_refused_with_advice(inputs, error, message):
    with pytest.raises(error, match=message):
        sciml.simulate(oscillator(), GRID, inputs=inputs)
    sciml.simulate(oscillator(), GRID, inputs={u: signal()})


def test_inputs_without_a_declaration_are_refused():
    with pytest.raises(ModelError, match="`inputs` were given, but the System declares none"):
        sciml.simulate(oscillator().substitute({u: 0}), GRID, inputs={u: 1.0})
    with pytest.raises(ModelError, match="`inputs` were given, but the System declares none"):
        Problem(oscillator().substitute({u: 0}), GOOD[["x"]], inputs=GOOD[["u"]])
    with pytest.raises(DataError, match="`u` of `data` stands in the data and in `inputs`"):
        Problem(oscillator(), GOOD, inputs=GOOD[["u"]])
    with pytest.raises(ModelError, match="depends on the input `u`, whose rate of change the equations do not tell"):
        oscillator().time_derivative(v, 2)
    with pytest.raises(ModelError, match=r"the System has inputs, `u`: give their values"):
        sciml.compile(oscillator())(0.0, sciml.compile(oscillator()).initial)


def test_a_parameter_is_not_both_fixed_and_individual():
    with pytest.raises(ModelError, match="a parameter that is `fixed` has one value for all experiments"):
        Parameter(1.0, fixed=True, per_experiment=True)
    system, frames = measured(own=False)
    single = replace(Problem(system, frames["A"]), data=frames["A"])
    assert single.loss.labels[:2] == ("k", "c")


LONG = pd.DataFrame({"x": [1.0, 0.4, 0.1, 2.0, 0.8], "who": ["a", "a", "a", "b", "b"]}, index=[0.0, 1, 2, 0, 1])
DECAY = System({x: -k * x}, parameters={k: Parameter(1.0, per_experiment=True)})


def test_a_long_table_is_taken_apart_by_a_column():
    problem = Problem(DECAY, LONG, {x: Normal(0.1)}, group="who")
    frames = {"a": LONG[["x"]][:3], "b": LONG[["x"]][3:]}
    theta = problem.initial()
    assert problem.loss.labels == ("k[a]", "k[b]")
    assert problem.value_and_gradient(theta)[0] == Problem(DECAY, frames, {x: Normal(0.1)}).value_and_gradient(theta)[0]


@pytest.mark.parametrize(
    ("data", "group", "message"),
    [
        (LONG[:4], "who", "the group `b` of `who` has a single row, at time 0.0: .* Leave it out"),
        (LONG, "whom", "`group='whom'` is no column of the data. There are `x`, `who`. Did you mean `who`"),
        ([LONG], "who", "`group='who'` takes one long DataFrame apart"),
        (LONG.assign(who=LONG.who.where(LONG.x != 0.4)), "who", "column `who` is empty at time 1.0"),
        (LONG.set_axis([0.0, 1, 1, 0, 1]), "who", "the time `1` stands twice in `a`, with different values. Average"),
        (LONG.assign(x=[1.0, 0.4, 0.4, 2, 1]).set_axis([0.0, 1, 1, 0, 1]), "who", "with the same values. Drop the rep"),
    ],
)
def test_long_tables_that_cannot_be_meant_are_refused_with_advice(data, group, message):
    with pytest.raises(DataError, match=message):
        Problem(DECAY, data, group=group)
    Problem(DECAY, LONG, group="who")


def test_a_column_of_one_value_warns_where_its_noise_level_is_fitted():
    constant = LONG.assign(x=3.0)
    with pytest.warns(UserWarning, match="column `x` is 3 at all of its 5 times: where the model can stay there"):
        Problem(DECAY, constant, group="who")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Problem(DECAY, constant, {x: Normal(0.1)}, group="who")
        Problem(DECAY, LONG, group="who")
