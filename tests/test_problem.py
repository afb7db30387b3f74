"""Problems: what data and noise are accepted, and the negative log-posterior with its gradient."""

import numpy as np
import pandas as pd
import pytest
import sympy as sp
from hypothesis import strategies as st
from scipy import stats

from sciml import models
from sciml.errors import DataError, ModelError
from sciml.measurement.loss import Loss
from sciml.measurement.problem import Problem
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.distributions import LogNormal, Normal
from sciml.symbolic.system import System

hare, lynx, birth, death, sigma, x, v, k = sp.symbols("hare lynx birth death sigma x v k", real=True)


t = sp.Symbol("t", real=True)


eaten, born, f = sp.symbols("eaten born f", cls=sp.Function)


TIGHT = {"rtol": 1e-11, "atol": 1e-11, "backend": "torch"}


TIMES = np.linspace(0.0, 2.0, 9)


def decay(**declarations):
    return System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))}, **declarations)


def frame(index=TIMES, **columns):
    columns = columns or {"x": 2 * np.exp(-1.5 * np.asarray(index, dtype=float))}
    return pd.DataFrame(columns, index=index)


def predators(**declarations):
    return System(
        {hare: birth * hare - eaten(hare, lynx), lynx: born(hare, lynx) - death * lynx},
        parameters={
            birth: Parameter(0.6, bounds=(0, 2)),
            death: Parameter(0.8, bounds=(0, None), prior=LogNormal(0.5)),
            sigma: Parameter(0.2, bounds=(0, 1)),
        },
        learned={(eaten, born): MLP(hidden=(2,), decay=0.5)},
        **declarations,
    )


def pelts(seed=0, rows=5, gaps=()):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {"hare": rng.lognormal(0.5, 0.3, rows), "lynx": rng.lognormal(0.0, 0.3, rows)}, index=np.arange(rows) / 4
    )
    for row, column in gaps:
        data.loc[data.index[row], column] = np.nan
    return data


def missing(*rows):
    values = 2 * np.exp(-TIMES)
    values[list(rows)] = np.nan
    return values


def problem(data, system=None, noise=None):
    return lambda: Problem(system or decay(), data, noise)


# What is wrong, a part of what is said about it, and the nearest thing that is right.
DATA = {
    "misspelt column": (
        problem(frame(hair=TIMES), System({hare: 0, lynx: 0})),
        r"column `hair` matches no state or observable. The system has `hare`, `lynx`. Did you mean `hare`\?",
        problem(frame(hare=TIMES, lynx=TIMES), System({hare: 0, lynx: 0})),
    ),
    "text": (
        problem(frame(x=["1.0"] * 4 + ["n/a"] * 5)),
        "column `x` of `data` holds text: 'n/a' at time 1.0. Give numbers, and NaN for a gap",
        problem(frame(x=["1.0"] * 4 + [None] * 5)),
    ),
    "infinite value": (
        problem(frame(x=[np.inf, *TIMES[1:]])),
        "column `x` of `data` is infinite at 0.0. Use NaN for a gap",
        problem(frame(x=[np.nan, *TIMES[1:]])),
    ),
    "only gaps": (
        problem(frame(x=missing(*range(9)))),
        "column `x` holds no value at all, only gaps. Drop it",
        problem(frame(x=missing(*range(8)))),
    ),
    "times out of order": (
        problem(frame(x=[1.0, 2.0, 3.0], index=[0.0, 2.0, 1.0])),
        r"times in `data` are not sorted: 2 is followed by 1. Use `data.sort_index\(\)`",
        problem(frame(x=[1.0, 2.0, 3.0], index=[0, 1, 2])),
    ),
    "a time twice": (
        problem(frame(x=[1.0, 2.0, 3.0], index=[0.0, 1.0, 1.0])),
        "the time `1` stands twice in `data`, with different values. Average repeated measurements",
        problem(frame(x=[1.0, 2.0, 3.0], index=[-1.0, 0.0, 1.0])),
    ),
    "unknown time": (
        problem(frame(x=[1.0, 2.0, 3.0], index=[0.0, np.nan, 2.0])),
        "the time in row 1 of `data` is `nan`. Drop the row or give its time",
        problem(frame(x=[1.0, 2.0, 3.0], index=[0.0, 1e-9, 2.0])),
    ),
    "dates": (
        problem(frame(x=[1.0, 2.0], index=pd.to_datetime(["2024-01-01", "2024-01-02"]))),
        r"must hold numbers, not `datetime64.*`: convert dates to numbers, such as days",
        problem(frame(x=[1.0, 2.0], index=[0, 1])),
    ),
    "names for times": (
        problem(frame(x=[1.0, 2.0], index=["a", "b"])),
        "the index of `data` is time and must hold numbers",
        problem(frame(x=[1.0, 2.0], index=np.array([0, 1], dtype=np.float32))),
    ),
    "one row": (
        problem(frame(x=[1.0], index=[0.0])),
        "`data` has 1 rows, 1 columns: at least 2 and 1 are needed",
        problem(frame(x=[1.0, 2.0], index=[0.0, 1.0])),
    ),
    "no column": (problem(frame().drop(columns="x")), "`data` has 9 rows, 0 columns", problem(frame())),
    "a column twice": (
        problem(pd.concat([frame(), frame()], axis=1)),
        "column `x` of `data` stands twice",
        problem(frame()),
    ),
    "an array": (
        problem(np.ones((3, 1))),
        "data of type `ndarray` cannot be read: give a pandas DataFrame",
        problem([frame()]),
    ),
    "a list of arrays": (problem([np.ones(3)]), "data of type `list` cannot be read", problem({"first": frame()})),
    "no experiment": (problem([]), "data of type `list` cannot be read", problem((frame(), frame()))),
    "a bad second experiment": (
        problem({"good": frame(), "bad": frame(index=-TIMES)}),
        "times in `bad` are not sorted",
        problem({"good": frame(), "too": frame(index=TIMES - 5)}),
    ),
    "zero under multiplicative noise": (
        problem(frame(x=[1.0, 0.0], index=[0.0, 1.0]), noise={x: LogNormal()}),
        r"column `x` of `data` is 0 at time 1; LogNormal noise needs positive values. Use `Normal\(\.\.\.\)`, or NaN",
        problem(frame(x=[1.0, 0.0], index=[0.0, 1.0]), noise={x: Normal()}),
    ),
    "noise of a column that is not there": (
        problem(pelts()[["hare"]], System({hare: 0, lynx: 0}, initial={lynx: 1}), {"hare": Normal(), lynx: Normal()}),
        "`noise` names `lynx`, but no column of the data is called so",
        problem(pelts()[["hare"]], System({hare: 0, lynx: 0}, initial={lynx: 1}), {"hare": Normal()}),
    ),
}


MODELS = {
    "no System": (
        problem(frame(), system={x: -x}),
        "a Problem starts from a System, not from `dict`",
        problem(frame()),
    ),
    "column without noise": (
        problem(pelts(), System({hare: 0, lynx: 0}), {hare: Normal(0.1)}),
        r"column `lynx` has no noise model. Add `noise=\{lynx: Normal\(\.\.\.\)\}`",
        problem(pelts(), System({hare: 0, lynx: 0}), {hare: Normal(0.1), "lynx": LogNormal()}),
    ),
    "noise that is a number": (
        problem(frame(), noise={x: 0.1}),
        r"noise of `x` is 0.1: give `Normal\(\.\.\.\)`, or another of `Normal`, `LogNormal`, `StudentT`",
        problem(frame(), noise={x: Normal(0.1)}),
    ),
    "noise of no quantity": (
        problem(frame(), noise={x: Normal(0.1), "y": Normal(0.1)}),
        "`y` is neither a state, an observable, a parameter nor an input. The system has `x`",
        problem(frame(), noise={"x": Normal(0.1)}),
    ),
    "undeclared noise level": (
        problem(frame(), noise={x: Normal(sigma)}),
        "`sigma` in the noise of `x` is not a parameter of the System. Add it to `parameters`",
        problem(frame(), noise={x: Normal(k / 10)}),
    ),
    "missing initial value": (
        problem(frame(), System({x: v, v: -x})),
        r"`v` has no initial value and `data` does not measure it. Give one: `System\(initial=\{v: 1.0\}\)`",
        problem(frame(), System({x: v, v: -x}, initial={v: Parameter(0.5)})),
    ),
    "missing initial value of one experiment": (
        problem([pelts(), pelts()[["hare"]]], System({hare: 0, lynx: 0})),
        "`lynx` has no initial value and `experiment 1` does not measure it",
        problem([pelts(), pelts()], System({hare: 0, lynx: 0})),
    ),
    "unknown backend": (
        lambda: Problem(decay(), frame(), backend="jax"),
        "backend 'jax' is not known",
        lambda: Problem(decay(), frame(), backend="torch"),
    ),
}


@pytest.mark.parametrize(("wrong", "message", "right"), DATA.values(), ids=DATA)
def test_wrong_data_are_refused_with_advice_and_their_neighbors_are_accepted(wrong, message, right):
    with pytest.raises(DataError, match=message):
        wrong()
    assert right().observations > 0


@pytest.mark.parametrize(("wrong", "message", "right"), MODELS.values(), ids=MODELS)
def test_what_does_not_fit_the_data_is_refused_with_advice_and_its_neighbor_is_accepted(wrong, message, right):
    with pytest.raises(ModelError, match=message):
        wrong()
    right()


def test_more_intervals_than_rows_are_refused():
    with pytest.raises(DataError, match="`intervals=9` are more than `data` with 9 rows can be cut into: at most 8"):
        Loss(problem(frame())(), intervals=9)
    assert len(Loss(problem(frame())(), intervals=8).shots) == 8


def test_the_data_of_the_user_are_left_alone():
    data = pelts(gaps=[(2, "hare")])
    before = data.copy()
    Problem(predators(), data).value_and_gradient(Problem(predators(), data).initial())
    pd.testing.assert_frame_equal(data, before)


def evaluate(data, system=None, noise=None):
    problem = Problem(system or predators(), data, noise, backend="torch")
    return problem.value_and_gradient(problem.initial(seed=1))


LEVELS = {hare: LogNormal(sigma), lynx: Normal(0.3)}


SCALED = predators().with_learned({(eaten, born): MLP(hidden=(2,), input_scale=(1, 1), output_scale=(1, 1))})


def test_missing_rows_do_not_change_the_loss():
    data = pelts()
    extended = data.reindex([*data.index[:3], 0.6, *data.index[3:], 9.5])
    # Steps end at output times, so the two solves differ by their errors.
    options = {"system": SCALED, "data": data, "noise": LEVELS, "rtol": 1e-10, "atol": 1e-10, "backend": "torch"}
    dense, sparse = Problem(**options), Problem(**{**options, "data": extended})
    vector = dense.initial(seed=1)
    value, gradient = dense.value_and_gradient(vector)
    other, other_gradient = sparse.value_and_gradient(vector)
    assert other == pytest.approx(value, rel=1e-8)
    assert other_gradient == pytest.approx(gradient, rel=1e-6, abs=1e-7)


def test_a_gap_in_one_column_drops_exactly_one_term():
    system = decay(initial={x: 2}, observed={"twice": 2 * x})
    noise = {"x": Normal(0.2), "twice": Normal(0.4)}
    data = frame(x=2 * np.exp(-TIMES), twice=5 * np.exp(-TIMES))
    full, _ = evaluate(data, system, noise)
    data.loc[0.5, "twice"] = np.nan
    gap, _ = evaluate(data, system, noise)
    term = stats.norm.logpdf(5 * np.exp(-0.5), 4 * np.exp(-0.5), 0.4)
    assert gap - full == pytest.approx(term, abs=1e-5)


def test_the_order_of_columns_is_irrelevant():
    data = pelts(gaps=[(1, "lynx")])
    value, gradient = evaluate(data, noise=LEVELS)
    swapped, swapped_gradient = evaluate(data[["lynx", "hare"]], noise={lynx: LEVELS[lynx], hare: LEVELS[hare]})
    assert swapped == value
    assert swapped_gradient == pytest.approx(gradient, abs=0)


def test_experiments_may_measure_different_columns():
    system = SCALED.with_initial({hare: 1.5, lynx: 1.0})
    both, one = pelts(seed=1), pelts(seed=2)[["hare"]]
    together, _ = evaluate([both, one], system, LEVELS)
    alone, _ = evaluate(both, system, LEVELS)
    padded, _ = evaluate([both, one.assign(lynx=np.nan)], system, LEVELS)
    other = Problem(system, one, {hare: LEVELS[hare]}, backend="torch")
    vector = other.initial(seed=1)
    likelihood = other.loss.log_likelihood(vector)
    assert together == padded
    assert together == pytest.approx(alone - likelihood, rel=1e-6)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_the_loss_is_minus_the_logarithm_of_the_posterior_density(backend):
    system = decay(initial={x: 2}).with_parameters({k: Parameter(1.2, bounds=(0, None), prior=Normal(0.3))})
    data = frame(index=np.array([0.0, 0.5, 2.0]), x=[1.9, 1.0, 0.2])
    means = 2 * np.exp(-1.7 * data.index.to_numpy())
    prior = 0.5 * ((1.7 - 1.2) / 0.3) ** 2
    for noise, density in [
        (Normal(0.3), stats.norm.logpdf(data["x"], means, 0.3)),
        (LogNormal(0.3), stats.lognorm.logpdf(data["x"], s=0.3, scale=means)),
    ]:
        problem = Problem(system, data, {x: noise}, rtol=1e-10, atol=1e-10, backend=backend)
        vector = problem.loss.coordinates.free(np.array([1.7]))
        assert problem.loss.value_and_gradient(vector)[0] == pytest.approx(prior - density.sum(), rel=1e-8)
        assert problem.loss.log_likelihood(vector) == pytest.approx(density.sum(), rel=1e-8)


def check_gradient(function, vector, step=1e-3, rel=1e-6):
    """Gradient against central differences of fourth order, along some directions in which every coordinate moves."""
    value, gradient = function(vector)
    assert np.isfinite(value)
    assert (gradient != 0).all()
    for direction in np.random.default_rng(9).normal(size=(3, len(vector))):
        values = [function(vector + j * step * direction)[0] for j in (-2, -1, 1, 2)]
        difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        assert gradient @ direction == pytest.approx(difference, rel=rel, abs=rel * np.linalg.norm(gradient))


def oscillator():
    """Initial values and a noise level that are expressions of parameters; the velocity is seen through an energy."""
    return System(
        {x: v, v: -(k**2) * x - f(v)},
        parameters={k: Parameter(1.3, bounds=(None, 3)), sigma: Parameter(0.2)},
        learned={f: MLP(hidden=(2,), input_scale=(1,), output_scale=(0.5,))},
        initial={x: sp.sqrt(1 + k**2), v: Parameter(0.4, bounds=(-1, None), prior=Normal(0.3))},
        observed={"energy": (v**2 + k**2 * x**2) / 2 + sp.cos(t)},
    )


def oscillations(rows=6, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=rows), "energy": 1 + rng.random(rows)}, index=np.linspace(0.3, 1.5, rows))


GRADIENTS = {
    "parameters, weights, initial values and noise": lambda **o: Problem(predators(), pelts(), LEVELS, **o),
    "fitted noise levels": lambda **o: Problem(
        models.lotka_volterra(1.0, 0.5, 0.8, 0.4, prey=1.5),
        pelts().rename(columns={"hare": "x", "lynx": "y"}),
        {"x": Normal(), "y": LogNormal()},
        **o,
    ),
    "several experiments with gaps": lambda **o: Problem(
        predators(),
        {"a": pelts(seed=1, gaps=[(0, "hare"), (3, "lynx")]), "b": pelts(seed=2, rows=4)},
        {hare: LogNormal(sigma), lynx: LogNormal(2 * sigma)},
        **o,
    ),
    "observables and initial expressions": lambda **o: Problem(
        oscillator(), oscillations(), {x: Normal(sigma), "energy": LogNormal(sigma * k)}, **o
    ),
    "fixed parameters": lambda **o: Problem(
        models.pendulum(damping=0.1).with_initial({"theta": Parameter(0.9), "omega": 0.2}),
        pd.DataFrame({"theta": [0.8, 0.2, -0.5]}, index=[0.0, 0.4, 0.7]),
        **o,
    ),
}


@pytest.mark.parametrize("build", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_match_finite_differences(build):
    problem = build(**TIGHT)
    vector = problem.initial(seed=2)
    vector = vector + np.random.default_rng(3).normal(scale=0.1, size=len(vector))
    check_gradient(problem.value_and_gradient, vector)


@pytest.mark.parametrize("build", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("intervals", [1, 2])
def test_the_native_engine_agrees_with_torch(build, intervals):
    losses = [Loss(build(rtol=1e-9, atol=1e-9, backend=backend), intervals) for backend in ("torch", "native")]
    vector = losses[0].initial(seed=2)
    vector = vector + np.random.default_rng(3).normal(scale=0.1, size=len(vector))
    (value, gradient), (native, native_gradient) = (loss.value_and_gradient(vector, 7.0) for loss in losses)
    scale = np.abs(gradient).max()
    assert native == pytest.approx(value, rel=1e-7)
    assert native_gradient == pytest.approx(gradient, abs=1e-6 * scale)


def test_starts_come_from_the_data_only_where_the_system_gives_none():
    problem = Problem(oscillator(), oscillations())
    assert [(start.state, start.parameter.value) for start in problem.starts] == [(1, 0.4)]
    data = pelts(gaps=[(0, "hare")])
    problem = Problem(predators(), data, {hare: LogNormal(), lynx: Normal()})
    assert [start.parameter.bounds for start in problem.starts] == [(0.0, None), (None, None)]
    assert [start.parameter.value for start in problem.starts] == [data["hare"].iloc[1], data["lynx"].iloc[0]]
    assert problem.loss.initial_states(problem.initial()).shape == (1, 2)


def test_the_first_vector_holds_the_declared_values():
    problem = Problem(predators(), pelts(), LEVELS)
    parameters, weights, starts = problem.loss.physical(problem.initial(seed=4))
    assert parameters[0] == pytest.approx([0.6, 0.8, 0.2])
    assert starts == pytest.approx(pelts().to_numpy()[:1])
    assert len(weights) == 2 * 2 + 2 + 2 * 2 + 2
    assert problem.initial(seed=4) == pytest.approx(problem.initial(seed=4), abs=0)
    assert not np.allclose(problem.initial(seed=4), problem.initial(seed=5))


def test_another_system_takes_the_place_of_the_first():
    problem = Problem(decay(), frame())
    logistic = System({x: -k * x * (1 - x)}, parameters={k: 1.0, **dict.fromkeys(problem.noise_parameters, 0.1)})
    other = problem.with_system(logistic)
    assert other.system.equations == {x: -k * x * (1 - x)}
    assert other.noise_parameters == problem.noise_parameters
    assert other.with_system(problem.system).value_and_gradient(problem.initial())[0] == pytest.approx(
        problem.value_and_gradient(problem.initial())[0]
    )


finite = st.floats(-50, 50)


spans = st.floats(0.1, 50)


@st.composite
def parameters(draw):
    """A parameter of any kind of bounds, and another value inside them."""
    lower = draw(st.none() | finite)
    upper = draw(st.none() | (finite if lower is None else spans.map(lambda width: lower + width)))
    if lower is not None and upper is not None:
        inside = st.floats(0.01, 0.99).map(lambda part: lower + part * (upper - lower))
    elif lower is not None:
        inside = spans.map(lambda width: lower + width)
    else:
        inside = finite if upper is None else spans.map(lambda width: upper - width)
    value, other = draw(inside), draw(inside)
    priors = [st.none(), spans.map(Normal)] + ([spans.map(LogNormal)] if value > 0.01 else [])
    return Parameter(value, bounds=(lower, upper), prior=draw(st.one_of(priors))), other
