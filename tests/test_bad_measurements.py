"""What is wrong with measurements and models is told once, at the door, with what to do."""

import re
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import MLP, DataError, ModelError, Normal, Parameter, Penalty, Problem, SolveError, System
from sciml.fitting.plausibility import check_plausible
from sciml.measurement.smoothing import smooth

x, y, k, c, u, q = sp.symbols("x y k c u q", real=True)
f = sp.Function("f")
POSITIVE = Parameter(1.0, bounds=(0, None))
DECAY = System({x: -k * x}, parameters={k: POSITIVE})
DRIVEN = System({x: u - k * x}, parameters={k: POSITIVE}, inputs=[u])
TIMES = np.array([0.0, 1.0, 2.0, 3.0])
GOOD = pd.DataFrame({"x": [1.0, 0.6, 0.35, 0.2]}, index=TIMES)
SIGNAL = pd.DataFrame({"u": [0.0, 1.0]}, index=[0.0, 3.0])
BAD = {
    "a time twice, values that differ": (
        lambda: Problem(DECAY, GOOD.set_index(pd.Index([0.0, 1.0, 1.0, 3.0]))),
        r"the time `1` stands twice in `data`, with different values. Average repeated measurements",
    ),
    "an input that stops": (
        lambda: Problem(DRIVEN, GOOD, inputs=SIGNAL.set_index(pd.Index([0.0, 2.0]))),
        r"the input `u` of `data` ends at 2, but it is needed up to 3. Give its value there, or leave out what lies behind",
    ),
    "a group of one row": (
        lambda: Problem(DECAY, GOOD.assign(site=["a", "a", "a", "b"]), group="site"),
        r'the group `b` of `site` has a single row, at time 3.0: .* `data\[data\["site"\] != \'b\'\]`',
    ),
}


@pytest.mark.parametrize(("make", "text"), BAD.values(), ids=BAD)
def test_bad_measurements_say_what_to_do(make, text):
    with pytest.raises(DataError, match=text):
        make()


def test_their_accepted_neighbors_are_accepted():
    Problem(DECAY, GOOD)
    Problem(DRIVEN, GOOD, inputs=SIGNAL)
    assert len(Problem(DECAY, GOOD.assign(site=["a", "a", "b", "b"]), group="site").experiments) == 2


def test_a_penalty_on_an_unknown_symbol_names_it():
    with pytest.raises(
        ModelError, match=r"`q` in the penalty `q > 0` is neither a state, an observable nor a parameter"
    ):
        Problem(DECAY, GOOD, penalties=[Penalty(q > 0)])


def test_starts_that_all_fail_are_told_with_the_reason_of_the_first():
    blown = System({x: k * x**2}, parameters={k: Parameter(50.0, bounds=(40, 60))}, initial={x: 1.0})
    problem = Problem(blown, GOOD, max_steps=200)
    text = r"all 2 starts failed. The first one: the equations could not be solved at any vector .* closer `bounds` or"
    with joblib.parallel_config(n_jobs=1), pytest.raises(SolveError, match=text):
        sciml.fit(problem, starts=2, progress=False)


def test_a_column_that_never_changes_is_told():
    with pytest.warns(UserWarning, match="column `x` is 1 at all of its 4 times"):
        Problem(DECAY, pd.DataFrame({"x": np.ones(4)}, index=TIMES))


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (
            3.2e7,
            r"change every state by more than 2e\+07 times its size from one row to the next. Is time, from 0 to",
        ),
        (365, r"change every state by more than 3e\+02 times its size .* A year has 365 days or 3.2e7 seconds"),
        (1 / 365, r"move no state by more than \de-0\d of how far it moved in the data"),
        (1 / 3.2e7, r"move no state by more than \de-0\d of how far .* start the parameters nearer"),
    ],
)
def test_another_unit_of_time_is_told(factor, text):
    with pytest.warns(UserWarning, match=text):
        check_plausible(Problem(DECAY, GOOD.set_index(TIMES * factor)))


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_units_of_time_that_fit_are_not_told(factor):
    partly = System({x: -k * x, y: k * y}, parameters={k: POSITIVE}, initial={y: 1.0})
    learned = System({x: f(x)}, learned={f: MLP(hidden=4)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_plausible(Problem(DECAY, GOOD.set_index(TIMES * factor)))
        check_plausible(Problem(partly, GOOD.set_index(TIMES * 1e9)))  # `y` was not measured: nothing can be told
        check_plausible(Problem(learned, GOOD.set_index(TIMES * 1e9)))  # a network takes its scale from the data


def test_a_parameter_without_effect_is_named():
    idle = System({x: -k * x}, parameters={k: POSITIVE, c: POSITIVE})
    with pytest.warns(UserWarning, match=r"`c` has no effect on anything that was measured.*drop it from `parameters`"):
        check_plausible(Problem(idle, GOOD))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_plausible(Problem(idle, GOOD, noise={x: Normal(c)}))
        check_plausible(Problem(System({x: -k * x}, parameters={k: POSITIVE, c: POSITIVE}, initial={x: c}), GOOD))


def test_parameters_that_only_count_together_are_named_after_the_fit():
    both = System({x: -k * c * x}, parameters={k: POSITIVE, c: POSITIVE})
    notes = sciml.fit(Problem(both, GOOD, {x: Normal(0.02)}), progress=False).notes
    assert len(notes) == 1
    assert notes[0].startswith("`k`, `c` are not determined one by one: the data leave the direction (k ∝ e^(")
    assert "Fix one of them, or state a prior." in notes[0]
    assert sciml.fit(Problem(DECAY, GOOD, {x: Normal(0.02)}), progress=False).notes == ()


def test_parameters_of_which_only_the_sum_counts_are_named_after_the_fit():
    both = System({x: -(k + c) * x}, parameters={k: Parameter(0.2), c: Parameter(0.1)})
    (note,) = sciml.fit(Problem(both, GOOD, {x: Normal(0.02)}), progress=False).notes
    assert re.match(
        r"`k`, `c` are .* the direction \(k (\+ s, c -|- s, c \+) s\) open and fix only `(c \+ k|k \+ c)`\.", note
    )


@pytest.mark.parametrize("factor", [1e-12, 1 / 3.2e7, 3.2e7, 1e12])
def test_curves_through_data_do_not_depend_on_the_unit_of_time(factor):
    times = np.linspace(0, 4, 21)
    values = np.exp(-1.5 * times) + 0.01 * np.random.default_rng(0).standard_normal(21)
    for t, v in ((times, values), (times[:3], values[:3])):
        level, change = smooth(t, v)(t)
        other, slope = smooth(t * factor, v)(t * factor)
        assert other == pytest.approx(level, rel=1e-8)
        assert slope * factor == pytest.approx(change, rel=1e-6)
