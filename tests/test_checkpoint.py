"""Checkpoints: after a crash the same call goes on, and ends in the same digits."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy as sp

import sciml
from sciml import (
    LBFGS,
    Adam,
    Checkpoint,
    GrowingWindow,
    Holdout,
    LevenbergMarquardt,
    MultipleShooting,
    Normal,
    Parameter,
    Problem,
    SingleShooting,
    System,
)
from sciml.errors import DataError, ModelError
from sciml.fitting.checkpoint import Journal
from sciml.fitting.monitor import Monitor

x, k = sp.symbols("x k", real=True)
g = sp.Function("g")
TIMES = np.linspace(0, 2, 13)
DATA = pd.DataFrame({"x": 2.0 * np.exp(-1.5 * TIMES) + 0.02 * np.sin(9 * TIMES)}, index=TIMES)


@pytest.fixture(scope="module")
def problem():
    decay = System({x: -k * x}, parameters={k: Parameter(0.5, bounds=(0, None), prior=Normal(3.0))})
    return Problem(decay, DATA, noise={x: Normal(0.05)})


class Crash(BaseException):
    """Stands for the end of the process."""


def crashing(call, after):
    """Run a fit that ends without warning in its iteration of that number."""
    original, counted = Monitor.step, [0]

    def step(self, *arguments):
        original(self, *arguments)
        counted[0] += 1
        if counted[0] == after:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Monitor, "step", step)
        try:
            call()
        except Crash:
            return True
    return False


def same(one, other):
    """Whether two fits are the same in every digit."""
    return (
        one.vector.tobytes() == other.vector.tobytes()
        and one.history == other.history
        and (one.message, one.notes, one.evaluations, one.held_out)
        == (other.message, other.notes, other.evaluations, other.held_out)
    )


CALLS = {
    "Adam, L-BFGS": {"optimizers": [Adam(12), LBFGS(20)]},
    "scoring": {"optimizers": [LevenbergMarquardt(10)]},
    "multiple shooting": {"objective": MultipleShooting(3), "optimizers": [Adam(5), LBFGS(20)]},
    "growing window": {"objective": GrowingWindow(3), "optimizers": [Adam(5), LBFGS(10)]},
    "validation": {"optimizers": [Adam(30, rate=0.1)], "validate": Holdout(after=1.5, patience=5)},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("every", [0.0, 0.002])
def test_a_fit_that_crashes_again_and_again_ends_in_the_same_digits(problem, call, every, tmp_path):
    whole = sciml.fit(problem, **call, progress=False)
    here = Checkpoint(tmp_path / "fit.checkpoint", every=every)

    def again():
        return sciml.fit(problem, **call, checkpoint=here, progress=False)

    rounds = 0
    for iterations in (2, 6, 9, 11, 16, 22, 28):  # counted over replayed iterations, too
        rounds += crashing(again, iterations)
    assert rounds >= 2
    assert same(again(), whole)
    assert not here.path.exists()


def test_what_the_journal_holds_is_not_computed_again(problem, tmp_path, monkeypatch):
    here = Checkpoint(tmp_path / "fit.checkpoint", every=0.0)
    call = {"objective": SingleShooting(start=None), "optimizers": [LBFGS(30)], "progress": False}
    whole = sciml.fit(problem, **call)
    last = whole.history[-1].step
    assert crashing(lambda: sciml.fit(problem, **call, checkpoint=here), last)
    calls, original = [0], Problem.value_and_gradient

    def counted(self, vector):
        calls[0] += 1
        return original(self, vector)

    monkeypatch.setattr(Problem, "value_and_gradient", counted)
    assert same(sciml.fit(problem, **call, checkpoint=here), whole)
    audited = 7
    assert calls[0] - audited < 4 < whole.evaluations


def test_an_anchor_keeps_the_journal_of_a_long_stage_short(problem, tmp_path):
    here = Checkpoint(tmp_path / "fit.checkpoint", every=0.0)
    assert crashing(lambda: sciml.fit(problem, SingleShooting(None), [Adam(200)], checkpoint=here, progress=False), 150)
    assert here.path.stat().st_size < 20_000


def test_ctrl_c_leaves_a_checkpoint_and_the_next_call_goes_on(problem, tmp_path):
    here, call = Checkpoint(tmp_path / "fit.checkpoint"), {"optimizers": [Adam(20), LBFGS(20)], "progress": False}
    whole = sciml.fit(problem, **call)
    original, counted = Monitor.step, [0]

    def interrupted(self, *arguments):
        original(self, *arguments)
        counted[0] += 1
        if counted[0] == 15:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Monitor, "step", interrupted)
        part = sciml.fit(problem, **call, checkpoint=here)
    assert part.message.startswith("interrupted")
    assert here.path.exists()
    assert same(sciml.fit(problem, **call, checkpoint=here), whole)


def test_many_starts_have_a_checkpoint_each(problem, tmp_path):
    import joblib

    here, call = tmp_path / "fit.checkpoint", {"optimizers": [LBFGS(20)], "starts": 3, "progress": False}
    with joblib.parallel_config(n_jobs=1):
        whole = sciml.fit(problem, **call)
        steps = sum(len(each.history) for each in whole.starts[:2])
        assert crashing(lambda: sciml.fit(problem, **call, checkpoint=Checkpoint(here, every=0.0)), steps)
        assert len(list(tmp_path.iterdir())) >= 2
        again = sciml.fit(problem, **call, checkpoint=Checkpoint(here, every=0.0))
    assert all(same(one, other) for one, other in zip(again.starts, whole.starts, strict=True))
    assert not list(tmp_path.iterdir())


def test_a_journal_that_does_not_fit_is_not_believed():
    journal = Journal(Checkpoint("nowhere"))
    journal.record("value", np.array([1.0]), (2.0, np.array([3.0])))
    journal._replayed = 0
    assert journal.recall("value", np.array([1.0 + 1e-15])) is None
    assert journal.diverged
    assert not journal.entries


SCRIPT = """
import sys, time
from dataclasses import replace
sys.path.insert(0, {tests!r})
import sciml
from sciml import LBFGS, MLP, Adam, Checkpoint, Normal, Problem, System
from test_checkpoint import DATA, g, x

class Slow(LBFGS):
    def minimize(self, function, vector, monitor):
        def late(v, evaluate=function.evaluate):
            time.sleep(0.02)
            return evaluate(v)
        return super().minimize(replace(function, evaluate=late), vector, monitor)

def slowly(done):
    time.sleep(0.02)
    return 1.0 - done

problem = Problem(System({{x: g(x)}}, learned={{g: MLP((3,))}}), DATA, {{x: Normal(0.05)}}, backend="torch")
stages = [Adam(20, schedule=slowly), Slow(60)]
resumed = sciml.fit(problem, optimizers=stages, checkpoint=Checkpoint({place!r}, every=0.1), log={log!r})
whole = sciml.fit(problem, optimizers=stages)
print(resumed.vector.tobytes() == whole.vector.tobytes(), resumed.history == whole.history, len(whole.history) > 40)
"""


def test_a_killed_process_goes_on_to_the_same_digits(tmp_path):
    script, log, place = (tmp_path / name for name in ("script.py", "fit.log", "fit.checkpoint"))
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), place=str(place), log=str(log)))

    def started():
        return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)

    process = started()
    deadline = time.monotonic() + 120
    while not (log.exists() and "Slow, step" in log.read_text() and place.exists()):
        assert process.poll() is None, "the fit ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)  # so that some iterations are behind the last checkpoint
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert started().communicate()[0].split() == ["True", "True", "True"]
    assert not place.exists()
    assert log.read_text().count("Adam begins") == 1  # the second process found that stage finished


def test_the_log_tells_stages_iterations_and_ends(problem, tmp_path):
    sciml.fit(problem, optimizers=[LBFGS(20)], log=tmp_path / "fit.log", progress=False)
    text = (tmp_path / "fit.log").read_text()
    assert re.search(r"LBFGS begins, at most 20 steps\n.*LBFGS, step 1: loss [-\d.]+, gradient [\d.e-]+\n", text)
    assert re.search(r"LBFGS ends: convergence", text)


def test_another_call_is_refused_and_the_same_call_is_accepted(problem, tmp_path):
    here = Checkpoint(tmp_path / "fit.checkpoint", every=0.0)
    assert crashing(lambda: sciml.fit(problem, optimizers=[LBFGS(20)], checkpoint=here, progress=False), 3)
    for other in ({"optimizers": [LBFGS(21)]}, {"optimizers": [LBFGS(20)], "seed": 1}):
        with pytest.raises(DataError, match=r"is of another fit: .* Remove it to begin anew, or choose another path\."):
            sciml.fit(problem, **other, checkpoint=here, progress=False)
    assert sciml.fit(problem, optimizers=[LBFGS(20)], checkpoint=here, progress=False).converged


def test_slips_are_told(problem, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"`.*broken` cannot be read as a checkpoint"):
        sciml.fit(problem, checkpoint=Checkpoint(broken), progress=False)
    with pytest.raises(DataError, match=r"the folder `.*absent` does not exist: create it"):
        Checkpoint(tmp_path / "absent" / "fit")
    with pytest.raises(DataError, match=r"the folder `.*absent` does not exist.*log"):
        sciml.fit(problem, log=tmp_path / "absent" / "fit.log", progress=False)
    with pytest.raises(ModelError, match=r"`Checkpoint\(every=-1\)` must be a number of seconds"):
        Checkpoint("fit", every=-1)
    with pytest.raises(ModelError, match=r"`checkpoint='fit'`: say where and how often, such as `Checkpoint"):
        sciml.fit(problem, checkpoint="fit")
    assert Checkpoint(tmp_path / "fit", every=0).every == 0
