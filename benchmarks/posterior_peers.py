"""Posteriors from simulations: the conditional diffusion of `sciml.posterior` beside NPE and NPSE of the package sbi.

The Lotka-Volterra model of `examples/posterior.py`: four rates with log-normal priors, ten noisy measurements of both
species. All learn from the same simulations, in coordinates in which the prior is standard normal, and for the same
processor time on one thread (NPE stops by its own rule if that is earlier). For each of several data sets, drawn from the
prior, their draws are told apart from those of a long Markov chain by a classifier: C2ST, 0.5 at best and 1 at worst. The
last column is what two halves of the chain score.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _peers import installed

from sciml.scripts import machine, options, report

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import posterior as example

Draws = Callable[[np.ndarray, int], np.ndarray]


def ours(found) -> Draws:
    """Draws in coordinates in which the prior is normal, for a measured table."""
    return lambda table, count: found.prior.to_normal(found.sample(table, count).to_numpy())


def peer(
    name: str, found, theta: torch.Tensor, seen: torch.Tensor, budget: float, seed: int
) -> tuple[Draws, float, int]:
    """The same by a method of sbi; the seconds and epochs of its training."""
    from sbi.inference import NPE, NPSE
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(seed)
    prior = torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4))
    writer = SummaryWriter(tempfile.mkdtemp())  # sbi would write into the present folder
    method = {"NPE": NPE, "NPSE": NPSE}[name](prior=prior, summary_writer=writer, show_progress_bars=False)
    method.append_simulations(theta, seen)
    begun, epochs = time.process_time(), 0
    while time.process_time() - begun < budget:
        epochs += 5
        estimator = method.train(max_num_epochs=epochs, resume_training=epochs > 5)
        if method.epoch < epochs:  # stopped by its own rule
            break
    spent, learned = time.process_time() - begun, method.build_posterior(estimator)

    def draws(table: np.ndarray, count: int) -> np.ndarray:
        return learned.sample((count,), x=found.features(table[None])[0], show_progress_bars=False).numpy()

    return draws, spent, epochs


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sets", type=int, default=4, metavar="N", help="how many data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick, seed = arguments.quick, arguments.seed
    sets, count = (1, 100) if quick else (arguments.sets, 2000)
    simulations = 200 if quick else 10_000
    begun = time.process_time()
    found = example.learned(simulations, 20 if quick else 6000, seed)
    budget = time.process_time() - begun
    rng = np.random.default_rng([seed, 1])  # as `sciml.posterior` draws them
    values = found.prior.sample(simulations, rng)
    tables = found.simulator(values, rng)
    good = np.isfinite(tables).all(axis=(1, 2))
    theta = torch.as_tensor(found.prior.to_normal(values[good]), dtype=torch.float32)
    seen = found.features(tables[good])
    methods, rows = {"diffusion": ours(found)}, {"diffusion": {"method": "sciml.posterior", "training s (CPU)": budget}}
    for name in ("NPE", "NPSE") if installed("sbi") else ():
        methods[name], spent, epochs = peer(name, found, theta, seen, 2.0 if quick else budget, seed)
        rows[name] = {"method": f"sbi {name}, {epochs} epochs", "training s (CPU)": spent}
    rows["chain"] = {"method": "two halves of the chain"}
    truths = found.prior.sample(sets, np.random.default_rng([seed, 3]))
    for k, truth in enumerate(truths):
        data, chain, _ = example.reference(truth, seed + k, count)
        exact = found.prior.to_normal(chain)
        for name, draws in methods.items():
            rows[name][f"C2ST {k}"] = example.c2st(draws(data.to_numpy(), count), exact, seed)
        rows["chain"][f"C2ST {k}"] = example.c2st(exact[::2], exact[1::2], seed)
    for row in rows.values():
        row["mean"] = float(np.mean([row[f"C2ST {k}"] for k in range(sets)]))
    report(list(rows.values()), arguments, machine("torch", "sbi"))


if __name__ == "__main__":
    main()
