"""Scoring, growing windows, many starts and held-out data."""

import gc
import os
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import (
    LBFGS,
    MLP,
    Adam,
    Automatic,
    DataError,
    GrowingWindow,
    Holdout,
    LevenbergMarquardt,
    LogNormal,
    ModelError,
    MultipleShooting,
    NegativeBinomial,
    Normal,
    Parameter,
    Penalty,
    Poisson,
    Problem,
    SingleShooting,
    SolveError,
    StudentT,
    System,
)
from sciml.fitting import schedules
from sciml.fitting.least_squares import damped_step
from sciml.fitting.starts import in_parallel, varied
from sciml.measurement.information import Information, information
from sciml.measurement.loss import Loss

x, v, k, w, a, sigma, t = sp.symbols("x v k w a sigma t", real=True)
f = sp.Function("f")
TIMES = np.linspace(0.0, 2.0, 9)
COUNTS = pd.DataFrame({"x": [40.0, 31.0, 26.0, np.nan, 12.0, 9.0, 9.0, 6.0, 1.0]}, index=TIMES)
NOISE = {
    "Normal": Normal(sigma),
    "LogNormal": LogNormal(sigma),
    "StudentT": StudentT(sigma, freedom=3.0),
    "Poisson": Poisson(),
    "NegativeBinomial": NegativeBinomial(10 * sigma),
    "a level of its own": Normal(),
}


def decay(noise, learned=False, **options):
    rates = {k: Parameter(0.9, bounds=(0, None)), sigma: Parameter(0.7, bounds=(0, None), prior=LogNormal(1.0))}
    known = System({x: -k * x}, parameters=rates)
    hybrid = System({x: -k * x + f(x)}, parameters=rates, learned={f: MLP(hidden=(3,))})
    return Problem(hybrid if learned else known, COUNTS, noise={x: noise}, rtol=1e-9, atol=1e-9, **options)


# The information matrix


@pytest.mark.parametrize("learned", [False, True], ids=["known", "learned"])
@pytest.mark.parametrize("intervals", [1, 3])
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_the_information_is_the_same_in_both_engines(noise, intervals, learned):
    problem = decay(noise, learned, penalties=Penalty(sp.Derivative(x, t) > -10, weight=0.1))
    losses = [Loss(replace(problem, backend=backend), intervals) for backend in ("native", "torch")]
    vector = losses[0].initial(seed=1)
    native, torch = (information(loss, vector, continuity=3.0).matrix for loss in losses)
    assert np.abs(native - torch).max() <= 1e-9 * np.abs(torch).max()


def test_the_information_of_exact_data_is_the_hessian():
    data = pd.DataFrame({"x": 2 * np.exp(-1.5 * TIMES)}, index=TIMES)
    model = System({x: -k * x}, parameters={k: Parameter(1.5, bounds=(0, None))})
    problem = Problem(model, data, noise={x: Normal(0.1)}, rtol=1e-11, atol=1e-11)
    vector = problem.initial()
    steps = 1e-5 * np.eye(2)
    columns = [problem.value_and_gradient(vector + s)[1] - problem.value_and_gradient(vector - s)[1] for s in steps]
    assert information(problem.loss, vector).matrix == pytest.approx(np.stack(columns) / 2e-5, rel=1e-6)


# Levenberg and Marquardt


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_scoring_ends_where_quasi_newton_does_in_fewer_evaluations(noise):
    fits = [
        sciml.fit(decay(noise), SingleShooting(None), [optimizer], progress=False)
        for optimizer in (LBFGS(tolerance=1e-14), LevenbergMarquardt(tolerance=1e-14))
    ]
    assert fits[1].loss == pytest.approx(fits[0].loss, abs=1e-6)
    assert fits[1].estimates == pytest.approx(fits[0].estimates, rel=1e-3)
    assert fits[1].converged


def test_scoring_converges_quadratically_without_noise():
    data = pd.DataFrame({"x": 2 * np.exp(-1.5 * TIMES)}, index=TIMES)
    model = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))}, initial={x: 2.0})
    problem = Problem(model, data, noise={x: Normal(0.1)}, rtol=1e-11, atol=1e-11)
    fit = sciml.fit(problem, SingleShooting(None), [LevenbergMarquardt(damping=1e-9)], progress=False)
    norms = np.array([record.gradient_norm for record in fit.history])
    assert fit.estimates["k"] == pytest.approx(1.5, rel=1e-8)
    assert len(norms) <= 8
    assert norms[2] < 0.05 * norms[1] < 0.05**2 * norms[0]


@pytest.mark.parametrize("rows", [3, 12])
def test_a_step_solves_its_equations_whether_data_or_unknowns_are_more(rows):
    draw = np.random.default_rng(0)
    known = Information(draw.normal(size=(rows, 7)), draw.uniform(0, 1, 7))
    gradient = draw.normal(size=7)
    step, gain = damped_step(known, gradient, 0.3)
    damped = known.matrix + 0.3 * np.diag(np.diag(known.matrix))
    assert step == pytest.approx(-np.linalg.solve(damped, gradient), rel=1e-10)
    assert gain == pytest.approx(-(gradient @ step + 0.5 * step @ known.matrix @ step), rel=1e-10)


def test_scoring_trains_a_network():
    problem = decay(Normal(1.0), learned=True)
    fit = sciml.fit(problem, SingleShooting(None), [LevenbergMarquardt(steps=50)], progress=False)
    assert fit.rmse < 2.0
    assert fit.history[-1].gradient_norm < 0.1 * fit.history[0].gradient_norm


@pytest.mark.parametrize("objective", [MultipleShooting(3, start=None), GrowingWindow(3, start=None)], ids=repr)
def test_scoring_serves_every_objective(objective):
    fit = sciml.fit(decay(Normal(1.0)), objective, [LevenbergMarquardt()], progress=False)
    single = sciml.fit(decay(Normal(1.0)), SingleShooting(None), [LevenbergMarquardt()], progress=False)
    assert fit.loss == pytest.approx(single.loss, abs=1e-6)


@pytest.mark.parametrize("schedule", [schedules.cosine, schedules.linear, schedules.constant, lambda done: 1 - done])
def test_adam_follows_its_schedule(schedule):
    fit = sciml.fit(decay(Normal(1.0)), SingleShooting(None), [Adam(200, 0.05, schedule)], progress=False)
    assert fit.loss < fit.history[0].loss - 1
    assert schedules.cosine(0.0) == schedules.linear(0.0) == schedules.constant(0.5) == 1
    assert schedules.cosine(1.0) == pytest.approx(0.01) == schedules.linear(1.0)


# Growing windows


def misleading():
    """x = cos(2.6 t), from a frequency whose valley is another one."""
    times = np.linspace(0, 20, 81)
    data = pd.DataFrame({"x": np.cos(2.6 * times)}, index=times)
    model = System({x: v, v: -(w**2) * x}, parameters={w: Parameter(1.5, bounds=(0, None))}, initial={x: 1.0, v: 0.0})
    return Problem(model, data, noise={x: Normal(0.1)})


def test_a_growing_window_and_the_default_find_a_frequency_that_single_shooting_misses():
    single = sciml.fit(misleading(), SingleShooting(), progress=False)
    growing = sciml.fit(misleading(), GrowingWindow(20, start=None), [LBFGS()], progress=False)
    default = sciml.fit(misleading(), progress=False)
    assert abs(single.estimates["w"] - 2.6) > 0.1
    assert growing.estimates["w"] == pytest.approx(2.6, rel=1e-4)
    assert default.estimates["w"] == pytest.approx(2.6, rel=1e-4)
    assert default.notes[-1].startswith("single shooting ended in a worse valley than ")


# Many starts


def two_valleys(**bounds):
    """x = sin(2.6 t)/2.6 over many periods: the loss has many valleys."""
    times = np.linspace(0, 12, 61)
    data = pd.DataFrame({"x": np.cos(2.6 * times)}, index=times)
    frequency = Parameter(1.2, **(bounds or {"bounds": (1.0, 4.0)}))
    model = System({x: v, v: -(w**2) * x}, parameters={w: frequency}, initial={x: 1.0, v: 0.0})
    return Problem(model, data, noise={x: Normal(0.1)})


def test_the_default_is_content_with_what_a_smooth_curve_leaves():
    model = System({x: -k * x}, parameters={k: Parameter(0.2)})
    noisy = pd.DataFrame({"x": 2 * np.exp(-TIMES) + 0.1 * np.sin(40 * TIMES)}, index=TIMES)
    fit = sciml.fit(Problem(model, noisy, noise={x: Normal(0.1)}), progress=False)
    assert {record.stage for record in fit.history} == {"Collocation", "LBFGS"}
    assert Automatic().explains(fit.problem, fit.vector)
    assert not Automatic().explains(fit.problem, fit.vector + 1.0)


def test_a_wrong_form_keeps_the_best_of_single_and_multiple_shooting():
    wrong = System({x: -k}, parameters={k: Parameter(0.2)}, initial={x: 2.0})
    data = pd.DataFrame({"x": 2 * np.exp(-3 * TIMES)}, index=TIMES)
    problem = Problem(wrong, data, noise={x: Normal(0.1)})
    single = sciml.fit(problem, SingleShooting(), progress=False)
    fit = sciml.fit(problem, progress=False)
    assert any("gaps" in record.stage for record in fit.history)
    assert fit.loss <= single.loss
    assert fit.estimates["k"] == pytest.approx(single.estimates["k"], rel=1e-4)


def test_many_starts_find_the_deepest_valley_and_keep_all():
    with joblib.parallel_config(n_jobs=1):
        fit = sciml.fit(two_valleys(), SingleShooting(None), [LBFGS()], starts=12)
    assert fit.estimates["w"] == pytest.approx(2.6, rel=1e-4)
    assert len(fit.starts) == 12
    losses = [one.loss for one in fit.starts]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 100
    assert fit.starts[0].loss == fit.loss
    assert {one.seed for one in fit.starts} == set(range(12))


def test_the_number_of_workers_changes_no_digit():
    vectors = []
    for workers in (1, 2):
        with joblib.parallel_config(n_jobs=workers):
            fit = sciml.fit(decay(Normal(1.0), learned=True), SingleShooting(None), [LBFGS(20)], starts=3, seed=5)
        vectors.append(np.stack([one.vector for one in sorted(fit.starts, key=lambda one: one.seed)]))
    assert np.array_equal(vectors[0], vectors[1])
    with joblib.parallel_config(n_jobs=2):
        frozen = in_parallel(lambda shared, seed: (os.getpid(), gc.get_freeze_count()), None, range(4))
    assert all(pid != os.getpid() and count > 10_000 for pid, count in frozen)  # libraries are spared collections there
    assert gc.get_freeze_count() == 0


def test_the_first_start_is_the_declared_one():
    alone = sciml.fit(two_valleys(), SingleShooting(None), [LBFGS()], progress=False)
    with joblib.parallel_config(n_jobs=1):
        fit = sciml.fit(two_valleys(), SingleShooting(None), [LBFGS()], starts=2)
    first = next(one for one in fit.starts if one.seed == 0)
    assert np.array_equal(first.vector, alone.vector)


@pytest.mark.parametrize(
    ("parameter", "center", "spread"),
    [
        (Parameter(1.5, bounds=(1.0, 4.0)), 2.5, 3 / 12**0.5),
        (Parameter(2.0, prior=Normal(0.3)), 2.0, 0.3),
        (Parameter(2.0), 2.0, 2.0),
    ],
    ids=["bounds", "prior", "nothing"],
)
def test_random_starts_are_spread_as_what_is_known(parameter, center, spread):
    model = System({x: -k * x}, parameters={k: parameter}, initial={x: 2.0})
    problem = Problem(model, COUNTS, noise={x: Normal(1.0)})
    values = [problem.loss.physical(varied(problem, seed))[0][0] for seed in range(400)]
    assert np.mean(values) == pytest.approx(center, abs=0.2 * spread)
    assert np.std(values) == pytest.approx(spread, rel=0.15)
    assert parameter.bounds[0] is None or 1.0 < min(values) < max(values) < 4.0


def test_a_prior_of_a_factor_is_drawn_in_logarithms():
    model = System(
        {x: -k * x}, parameters={k: Parameter(2.0, bounds=(0, None), prior=LogNormal(0.5))}, initial={x: 2.0}
    )
    problem = Problem(model, COUNTS, noise={x: Normal(1.0)})
    logarithms = np.log([problem.loss.physical(varied(problem, seed))[0][0] for seed in range(400)])
    assert np.mean(logarithms) == pytest.approx(np.log(2), abs=0.1)
    assert np.std(logarithms) == pytest.approx(0.5, rel=0.15)


def explosive(start, bounds=(None, None)):
    """x' = a x² from 1, which is infinite at 1/a: it has no solution to t = 2 for a > 0.5."""
    model = System({x: a * x**2}, parameters={a: Parameter(start, bounds=bounds)}, initial={x: 1.0})
    return Problem(model, pd.DataFrame({"x": 1 / (1 - 0.4 * TIMES)}, index=TIMES), noise={x: Normal(0.1)})


def test_a_failed_start_is_reported_and_not_fatal():
    with joblib.parallel_config(n_jobs=1):
        fit = sciml.fit(explosive(0.3), SingleShooting(None), [LBFGS(50)], starts=12)
    assert fit.estimates["a"] == pytest.approx(0.4, rel=1e-4)
    failed = 12 - len(fit.starts)
    assert failed > 0
    assert fit.notes[-1].startswith(f"{failed} of 12 starts failed. The first one: the equations could not be solved")


def test_starts_that_all_fail_end_in_one_clear_error():
    with (
        joblib.parallel_config(n_jobs=1),
        pytest.raises(SolveError, match=r"all 3 starts failed. The first one: the eq"),
    ):
        sciml.fit(explosive(3.0, bounds=(2.0, 5.0)), SingleShooting(None), [LBFGS(50)], starts=3)


# Held-out data


def noisy_line(seed=0):
    draw = np.random.default_rng(seed)
    times = np.linspace(0, 6, 25)
    return pd.DataFrame({"x": np.exp(-0.5 * times) + 0.1 * draw.normal(size=25)}, index=times)


def test_what_is_held_out_does_not_change_the_training_loss():
    data = noisy_line()
    model = System({x: f(x)}, learned={f: MLP(hidden=(4,))})
    found = []
    for tail in (1.0, 50.0):
        changed = data.copy()
        changed.loc[3.1:] *= tail
        training, held = Holdout(after=3.0).split(Problem(model, changed, noise={x: Normal(0.1)}))
        found.append(training.value_and_gradient(training.initial())[0])
        assert held[0].observations == 12
        assert training.observations == 13
    assert found[0] == found[1]


def test_validation_stops_early_and_keeps_the_vector_that_describes_held_out_data_best():
    problem = Problem(
        System({x: f(t)}, learned={f: MLP(hidden=(20,), decay=1e-4)}, time=t), noisy_line(), {x: Normal(0.03)}
    )
    holdout = Holdout(between=(2.0, 3.0), patience=60)
    fit = sciml.fit(problem, SingleShooting(None), [Adam(1500, 0.02), LBFGS(500)], validate=holdout, progress=False)
    full = sciml.fit(holdout.split(problem)[0], SingleShooting(None), [Adam(1500, 0.02), LBFGS(500)], progress=False)
    scorer = Loss(fit.problem, experiments=holdout.split(problem)[1], penalized=False)
    assert fit.held_out == pytest.approx(scorer.log_likelihood(fit.vector) / 5)
    assert fit.held_out >= scorer.log_likelihood(full.vector) / 5
    assert len(fit.history) < len(full.history)
    assert fit.loss >= full.loss


def test_of_a_held_out_experiment_only_the_first_row_is_fitted():
    data = {"one": noisy_line(0), "two": noisy_line(1)}
    model = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))})
    problem = Problem(model, data, noise={x: Normal(0.1)})
    fit = sciml.fit(problem, validate=Holdout(experiments=["two"]), progress=False)
    assert fit.problem.experiments[1].observations == 1
    assert fit.initial.loc["two", "x"] == pytest.approx(data["two"]["x"].iloc[0], abs=1e-4)
    assert fit.held_out is not None


WRONG = {
    "nothing to hold out": (lambda: Holdout(), ModelError, "`Holdout` was given nothing: give one of `after`"),
    "two things to hold out": (
        lambda: Holdout(after=1.0, between=(0, 1)),
        ModelError,
        "`Holdout` was given `after`, `between`: give one of",
    ),
    "no patience": (lambda: Holdout(after=1.0, patience=0), ModelError, r"`Holdout\(patience=0\)` must be a positive"),
    "a time behind all": (
        lambda: sciml.fit(decay(Normal(1.0)), validate=Holdout(after=2.0)),
        DataError,
        r"`Holdout\(after=2.0\)` holds nothing out: times run from 0 to 2",
    ),
    "a time before all": (
        lambda: sciml.fit(decay(Normal(1.0)), validate=Holdout(after=-1.0)),
        DataError,
        r"`Holdout\(after=-1.0\)` holds everything out",
    ),
    "an unknown experiment": (
        lambda: sciml.fit(decay(Normal(1.0)), validate=Holdout(experiments=["dat"])),
        DataError,
        "`Holdout` names the experiment `dat`. There are `data`. Did you mean `data`",
    ),
    "a number to validate on": (
        lambda: sciml.fit(decay(Normal(1.0)), validate=0.2),
        ModelError,
        r"`validate=0.2`: say what to hold out, such as `Holdout\(after=1913\)`",
    ),
    "no starts": (
        lambda: sciml.fit(decay(Normal(1.0)), starts=0),
        ModelError,
        "`starts=0` must be a whole number from 1",
    ),
    "no damping": (
        lambda: LevenbergMarquardt(damping=0),
        ModelError,
        r"`LevenbergMarquardt\(damping=0\)`: the damping",
    ),
    "a schedule by name": (
        lambda: Adam(schedule="cosine"),
        ModelError,
        r"`Adam\(schedule='cosine'\)`: give a function",
    ),
    "one window": (lambda: GrowingWindow(1), ModelError, r"`GrowingWindow\(windows=1\)` needs at least 2"),
}


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_choices_are_refused_with_advice(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def test_a_window_behind_the_first_rows_is_accepted():
    fit = sciml.fit(decay(Normal(1.0)), SingleShooting(None), [LBFGS(5)], validate=Holdout(after=1.9), progress=False)
    assert fit.held_out is not None
