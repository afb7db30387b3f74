"""Learned scores: training, checkpoints, conditions, and training in two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mixtures import Mixture, sliced_wasserstein
from torch import nn

from sciml import DataError, ModelError, SolveError
from sciml.diffusion import (
    EDM,
    VP,
    ClassifierFree,
    EDMWeighting,
    Heun,
    LikelihoodWeighting,
    ScoreMLP,
    UNet,
    VarianceWeighting,
    log_density,
    sample,
    train,
)

PROCESS = EDM(start=0.01, end=20.0)
MODES = Mixture(PROCESS, torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).double(), torch.tensor([1.0, 3.0]).double(), 0.3)
DATA = MODES.sample(2000, 0).float()
LABELS = (DATA[:, 0] > 0).long()


def network(**options) -> ScoreMLP:
    torch.manual_seed(0)
    return ScoreMLP(2, hidden=32, layers=2, **options)


@pytest.fixture(scope="module")
def conditional():
    """A score of two classes, learned in a few seconds."""
    return train(PROCESS, network(classes=2), DATA, condition=LABELS, steps=1500, batch=256, rate=4e-3, progress=False)


@pytest.mark.parametrize("weighting", [VarianceWeighting(), LikelihoodWeighting(), EDMWeighting()], ids=str)
@pytest.mark.parametrize("process", [VP(), PROCESS], ids=lambda p: type(p).__name__)
def test_every_weighting_has_the_true_score_as_its_minimum(process, weighting):
    modes = Mixture(process, MODES.means, MODES.weights, MODES.std)
    x = modes.sample(40_000, 1)
    torch.manual_seed(0)
    levels = weighting.draw(process, len(x), x)[:, None]
    t = process.time(levels)
    mean = process.mean(t)
    noisy = x + levels * torch.randn_like(x)
    denoised = noisy + levels**2 * mean * modes(mean * noisy, t)
    weight = weighting.weight(process, levels, 1.0)
    losses = [float((weight * (f * (denoised - noisy) + noisy - x) ** 2).mean()) for f in (0.97, 1.0, 1.03)]
    assert losses[1] < min(losses[0], losses[2])


def test_likelihood_weighting_draws_levels_by_the_square_of_the_diffusion():
    torch.manual_seed(0)
    levels = LikelihoodWeighting().draw(PROCESS, 4000, torch.zeros(1).double()).log()
    assert float(levels.mean()) == pytest.approx(
        (torch.tensor(0.01).log() + torch.tensor(20.0).log()).item() / 2, abs=0.01
    )
    assert float(levels.std()) == pytest.approx(float(torch.tensor(2000.0).log()) / 12**0.5, rel=0.01)


def test_a_learned_score_samples_its_classes_and_all_data(conditional):
    score = conditional.score
    assert conditional.losses[-1] < 0.8 * conditional.losses[0]
    everything = sample(PROCESS, score, (2000, 2), sampler=Heun(15))
    assert sliced_wasserstein(everything.double(), MODES.sample(2000, 5)) < 0.12
    right = sample(PROCESS, score.given(1), (500, 2), sampler=Heun(15))
    assert right.mean(dim=0).tolist() == pytest.approx([1.0, 0.5], abs=0.1)
    mixed = sample(PROCESS, score.given([0, 1]), (2, 2), sampler=Heun(15))
    assert mixed[0, 0] < 0 < mixed[1, 0]
    guided = sample(PROCESS, ClassifierFree(score, 1, scale=2.0), (500, 2), sampler=Heun(15))
    assert guided[:, 0].mean() > right[:, 0].mean() - 0.02


def test_the_density_of_a_learned_score_is_near_the_true_one(conditional):
    x = MODES.sample(60, 6)
    found = log_density(PROCESS, conditional.score, x.float(), rtol=1e-4, atol=1e-4)
    assert float((found - MODES.log_density(x, PROCESS.start)).mean().abs()) < 0.15


class Killed(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_numbers(tmp_path):
    options = {"condition": LABELS, "steps": 40, "batch": 64, "every": 10, "progress": False}
    whole = train(PROCESS, network(classes=2), DATA, **options)
    calls = []

    def killer(x):
        calls.append(0)
        if len(calls) == 26:
            raise Killed
        return x

    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        train(PROCESS, network(classes=2), DATA, augment=killer, checkpoint=path, **options)
    calls = [0] * 100
    resumed = train(PROCESS, network(classes=2), DATA, augment=killer, checkpoint=path, **options)
    assert len(calls) == 100 + 20
    assert resumed.losses == whole.losses
    for a, b in zip(resumed.score.parameters(), whole.score.parameters()):
        assert torch.equal(a, b)
    with pytest.raises(DataError, match=r"is of a run with `steps=40`; this one has `steps=50`"):
        train(PROCESS, network(classes=2), DATA, checkpoint=path, **{**options, "steps": 50})
    with pytest.raises(DataError, match="holds another network"):
        train(PROCESS, ScoreMLP(2, hidden=16, classes=2), DATA, checkpoint=path, **options)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        train(PROCESS, network(classes=2), DATA, checkpoint=path, **options)


def spoiled(steps):
    """An augmentation that spoils some batches."""
    count = iter(range(10**6))
    return lambda x: x * float("nan") if next(count) in steps else x


def test_batches_of_nan_are_skipped_and_counted_up_to_a_limit():
    options = {"steps": 30, "batch": 32, "progress": False}
    found = train(PROCESS, network(), DATA, augment=spoiled({3, 4, 20}), max_skipped=3, **options)
    assert found.skipped == 3
    assert all(torch.isfinite(p).all() for p in found.score.parameters())
    with pytest.raises(SolveError, match=r"4 batches had a loss or gradient that is not finite, by step 21"):
        train(PROCESS, network(), DATA, augment=spoiled({3, 4, 20, 21}), max_skipped=3, **options)


def test_training_leaves_the_network_and_torchs_random_numbers_alone():
    own = network()
    before = [p.clone() for p in own.parameters()]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(PROCESS, own, DATA, steps=3, batch=8, progress=False)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(before, own.parameters()))


class Wrong(nn.Module):
    def forward(self, x, level):
        return x[:, :1]


IMAGES = torch.rand(20, 1, 8, 8)
BAD = [
    (
        lambda: train(PROCESS, Wrong(), DATA),
        "the network returns (2, 1) for samples of (2, 2). Expected the same shape.",
    ),
    (lambda: train(PROCESS, ScoreMLP(3, hidden=8), DATA), "cannot be called with (x, level) for samples of (2,)"),
    (lambda: train(PROCESS, nn.Linear(2, 2), DATA), "cannot be called with (x, level) for samples of (2,)"),
    (lambda: train(PROCESS, network(classes=2), DATA, condition=LABELS + 1), "holds the label 2. Expected 0 to 1"),
    (lambda: train(PROCESS, network(classes=2), DATA, condition=LABELS[:5]), "`condition` has 5 rows for 2000 samples"),
    (lambda: train(PROCESS, network(classes=2), DATA, condition=DATA), "Expected whole numbers, one a sample"),
    (
        lambda: train(PROCESS, network(features=3), DATA, condition=DATA),
        "has shape (2000, 2). Expected (3,) or (sample, 3)",
    ),
    (lambda: train(PROCESS, network(), DATA, condition=LABELS), "the network takes none. Make it with `classes=`"),
    (lambda: network(classes=2, features=2), "either a label (`classes=`) or a vector (`features=`)"),
    (lambda: network(classes=0), "`classes=0` must be a positive number"),
    (lambda: train(PROCESS, network(), DATA * float("nan")), "not finite, in 2000 of 2000 samples"),
    (
        lambda: train(PROCESS, network(), DATA[0]),
        "`data` has shape (2,), torch.float32. Expected a floating point tensor",
    ),
    (lambda: train(PROCESS, network(), DATA, steps=0), "`steps=0` of the training must be positive"),
    (lambda: EDMWeighting(width=0.0), "`width=0.0` of the noise levels"),
    (lambda: UNet(width=12), "`width=12` of the U-Net must be a multiple of 8"),
    (lambda: UNet(width=8)(torch.zeros(1, 1, 7, 8), torch.zeros(1)), "the U-Net got (1, 1, 7, 8)"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises((ModelError, DataError)) as error:
        call()
    assert message in str(error.value)


def test_conditions_of_a_learned_score_are_checked(conditional):
    score = conditional.score
    for wrong, message in (
        (2, "holds the label 2. Expected 0 to 1"),
        (0.5, "Expected whole numbers"),
        (None, "is None"),
    ):
        with pytest.raises((DataError, ModelError), match=message):
            score.given(wrong)
    with pytest.raises(DataError, match="3 conditions for 2 samples"):
        sample(PROCESS, score.given([0, 1, 0]), (2, 2))
    free = train(PROCESS, network(), DATA, steps=2, batch=8, progress=False).score
    with pytest.raises(ModelError, match="learned without a condition"):
        ClassifierFree(free, 1)


def test_a_unet_learns_images_with_a_vector_for_condition():
    torch.manual_seed(0)
    net = UNet(1, width=8, features=2)
    found = train(PROCESS, net, IMAGES, condition=torch.rand(20, 2), steps=3, batch=4, progress=False)
    assert sample(PROCESS, found.score.given([0.1, 0.2]), (2, 1, 8, 8), sampler=Heun(3)).shape == (2, 1, 8, 8)


SCRIPT = """
import os, sys, torch
from torch import distributed
sys.path.insert(0, {tests!r})
distributed.init_process_group("gloo")
torch.set_num_threads(1)
from test_diffusion_training import DATA, LABELS, PROCESS, network, train
found = train(PROCESS, network(classes=2), DATA, condition=LABELS, steps=30, batch=64, checkpoint={path!r},
              every=30, progress=False)
own = torch.cat([p.flatten() for p in found.score.parameters()])
both = [torch.empty_like(own) for _ in range(2)]
distributed.all_gather(both, own)
assert torch.equal(*both), "the two processes hold different weights"
if distributed.get_rank() == 0:
    print("LOSS", found.losses[0], found.losses[-1])
distributed.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # torch's own threads now and then abort a process that takes itself down
"""


def test_two_processes_train_one_network(tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "run.safetensors"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), path=str(path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    first, last = map(float, run.stdout.split("LOSS")[1].split())
    assert last < first
    assert path.exists()
