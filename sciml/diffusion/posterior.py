"""Simulation-based inference: the posterior of a System's parameters by a conditional diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor, nn

from sciml.diffusion.denoiser import Denoiser
from sciml.diffusion.networks import ScoreMLP
from sciml.diffusion.processes import EDM
from sciml.diffusion.samplers import AbstractSampler, Heun, sample
from sciml.diffusion.training import train
from sciml.errors import DataError, ModelError, SolveError, quoted, suggestion
from sciml.lowering.vector_field import compile
from sciml.simulation import simulate
from sciml.symbolic.system import System

Summary = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Prior:
    """Independent prior distributions of parameters.

    Args:
        marginals: Parameter -> a frozen distribution of `scipy.stats`, such as `stats.lognorm(0.5)`.

    Raises:
        ModelError: A prior that cannot be drawn from.
    """

    marginals: Mapping[sp.Symbol | str, Any]

    def __post_init__(self):
        for name, marginal in self.marginals.items():
            if not (hasattr(marginal, "ppf") and hasattr(marginal, "cdf")):
                raise ModelError(
                    f"the prior of `{name}` is {marginal!r}: give a frozen distribution of scipy, such as "
                    "`scipy.stats.lognorm(0.5)` or `scipy.stats.uniform(0, 2)`."
                )

    def sample(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "draw parameter"]:
        """Draws."""
        return np.column_stack([marginal.rvs(count, random_state=rng) for marginal in self.marginals.values()])

    def to_normal(self, values: Float[np.ndarray, "draw parameter"]) -> np.ndarray:
        """Values in coordinates in which the prior is standard normal."""
        columns = [m.cdf(values[:, i]) for i, m in enumerate(self.marginals.values())]
        return stats.norm.ppf(np.clip(np.column_stack(columns), 1e-12, 1 - 1e-12))

    def from_normal(self, coordinates: Float[np.ndarray, "draw parameter"]) -> np.ndarray:
        """The inverse of `to_normal`; values never leave the prior's support."""
        chances = stats.norm.cdf(coordinates)
        return np.column_stack([m.ppf(chances[:, i]) for i, m in enumerate(self.marginals.values())])


@dataclass(frozen=True, eq=False)
class Posterior:
    """An amortized posterior: trained once, it answers for any measurements of the same kind in a second.

    Attributes:
        prior: What was known before.
        score: The conditional score, in coordinates in which the prior is standard normal.
        observe: One simulated or measured table (time, column) to the vector that the network sees, before scaling.
        center, scale: Of that vector.
        simulator: Draws of measurements for given parameters.
        columns: Names of what is measured.
        simulations: How many were used.
    """

    prior: Prior
    score: Denoiser
    observe: Summary
    center: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]
    simulator: Callable[[np.ndarray, np.random.Generator], np.ndarray] = field(repr=False)
    columns: tuple[str, ...] = ()
    simulations: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(map(str, self.prior.marginals))

    def features(self, tables: Float[np.ndarray, "draw time column"]) -> Float[Tensor, " draw feature"]:
        """What the network sees of measurements."""
        seen = np.stack([np.ravel(self.observe(table)) for table in tables])
        return torch.as_tensor((seen - self.center) / self.scale, dtype=torch.float32)

    def sample(
        self,
        data: pd.DataFrame | Float[np.ndarray, "time column"],
        draws: int = 1000,
        *,
        sampler: AbstractSampler = Heun(20),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> pd.DataFrame:
        """Draws from the posterior given measurements.

        Args:
            data: Measurements at the times and of the columns that were simulated.
            draws: How many.
            sampler, seed: See `sample`.

        Raises:
            DataError: Other columns or another number of times, or values that are not finite.
        """
        table = self._table(data)
        condition = self.features(table[None])
        process = self.score.process
        found = sample(process, self.score.given(condition), (draws, len(self.names)), sampler=sampler, seed=seed)
        return pd.DataFrame(self.prior.from_normal(found.double().numpy()), columns=list(self.names))

    def intervals(self, data: Any, level: float = 0.9, draws: int = 4000, seed: int = 0) -> pd.DataFrame:
        """Median and equal-tailed interval of each parameter."""
        if not 0 < level < 1:
            raise DataError(f"`level={level}` must lie between 0 and 1.")
        found = self.sample(data, draws, seed=seed)
        ends = found.quantile([0.5, 0.5 - level / 2, 0.5 + level / 2]).T
        return ends.set_axis(["median", "lower", "upper"], axis=1)

    def calibration(self, repeats: int = 200, draws: int = 99, *, seed: int = 1) -> Calibration:
        """Ranks of true parameters among posterior draws, for parameters drawn from the prior; uniform if all is well.

        Args:
            repeats: Simulated measurements.
            draws: From each posterior.
            seed: Of both.

        Reference:
            Talts, Betancourt, Simpson, Vehtari, Gelman (2018), arXiv:1804.06788.
        """
        rng = np.random.default_rng([seed, 2])
        truth, tables = _finite(self.prior, self.simulator, repeats, rng)
        condition = self.features(tables).repeat_interleave(draws, dim=0)
        process = self.score.process
        shape = (repeats * draws, len(self.names))
        found = sample(process, self.score.given(condition), shape, sampler=Heun(15), seed=seed).double().numpy()
        inner = self.prior.to_normal(truth)
        ranks = (found.reshape(repeats, draws, -1) < inner[:, None]).sum(axis=1)
        return Calibration(self.names, ranks, draws)

    def _table(self, data: Any) -> np.ndarray:
        if isinstance(data, pd.DataFrame):
            missing = [c for c in self.columns if c not in data]
            if missing:
                raise DataError(f"column {quoted(missing)} is missing in the data. Expected {quoted(self.columns)}.")
            data = data[list(self.columns)].to_numpy()
        table = np.asarray(data, dtype=float)
        shape = self.simulator(self.prior.sample(1, np.random.default_rng(0)), np.random.default_rng(0)).shape[1:]
        if table.shape != shape:
            raise DataError(f"the data have shape {table.shape}; the posterior was learned for {shape} (time, column).")
        if not np.isfinite(table).all():
            raise DataError(
                "the data hold gaps: an amortized posterior is for complete series. Simulate with the gaps left out."
            )
        return table


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of simulation-based calibration.

    Attributes:
        names: The parameters.
        ranks: How many draws lie below the truth, of each repeat and parameter.
        draws: Draws of each repeat.
    """

    names: tuple[str, ...]
    ranks: np.ndarray
    draws: int

    def p_values(self, seed: int = 0) -> dict[str, float]:
        """Of Kolmogorov and Smirnov's test that the ranks are uniform; below 0.05 the posterior is miscalibrated."""
        rng = np.random.default_rng(seed)
        # Ranks are whole numbers: spread evenly over their cells they are continuous, as the test needs.
        spread = (self.ranks + rng.uniform(size=self.ranks.shape)) / (self.draws + 1)
        return {name: float(stats.kstest(spread[:, i], "uniform").pvalue) for i, name in enumerate(self.names)}


def posterior(
    system: System,
    prior: Mapping[sp.Symbol | str, Any],
    times: Sequence[float],
    *,
    noise: Mapping[sp.Symbol | str, Callable[[np.ndarray, np.random.Generator], np.ndarray]],
    simulations: int = 10_000,
    observe: Summary | None = None,
    network: nn.Module | None = None,
    steps: int = 5000,
    batch: int = 256,
    rate: float = 1e-3,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Posterior:
    r"""Learn the posterior of a System's parameters from its own simulations, stochastic Systems included.

    Parameters are drawn from the prior, measurements are simulated, and a diffusion model learns
    :math:`\nabla \log p_t(\theta \mid y)`: amortized over all y, exact in the limit of many simulations and a wide network.
    No likelihood is evaluated, so it serves where there is none. Check it by `calibration()`; where few simulations are to
    be had, or the data are unlike any simulated ones, it is too wide or wrong, which only a likelihood tells.

    Args:
        system: The equations; parameters not in the prior keep their values.
        prior: Parameter -> a frozen distribution of `scipy.stats`.
        times: Of measurements, the first being the initial time.
        noise: State or observable that is measured -> function of the exact values (draw, time) and a generator, giving
            measured ones.
        simulations: How many.
        observe: One table (time, column) to the vector that the network sees; by default all of it.
        network: Takes `(x, level, condition)`; by default a `ScoreMLP`.
        steps, batch, rate, checkpoint: Of the training.
        seed: Of everything random.
        progress: Show a bar.

    Returns:
        The posterior for any measurements.

    Raises:
        ModelError: A prior or noise of something that the System does not have.
        SolveError: More than half of the simulations failed.

    Example:
        >>> from scipy import stats
        >>> x, k = sp.symbols("x k", real=True)
        >>> decay = System({x: -k * x}, parameters={k: 1.0}, initial={x: 1.0})
        >>> noisy = lambda exact, rng: exact + 0.1 * rng.normal(size=exact.shape)
        >>> found = posterior(decay, {k: stats.uniform(0, 2)}, [0.0, 1.0], noise={x: noisy}, simulations=50, steps=5)
        >>> found.sample(np.array([[1.0], [0.4]]), 3).shape
        (3, 1)

    Reference:
        Sharrock, Simons, Liu, Beaumont (2022), arXiv:2210.04872.
    """
    for name in prior:
        if str(name) not in map(str, system.parameters):
            raise ModelError(
                f"`{name}` in the prior is not a parameter. The System has {quoted(system.parameters)}."
                f"{suggestion(name, system.parameters)}"
            )
    columns = tuple(str(system.symbol(name)) for name in noise)
    if not columns:
        raise ModelError("`noise` is empty: say what is measured, `noise={x: lambda exact, rng: ...}`.")
    if simulations < 10:
        raise DataError(f"`simulations={simulations}` are too few to learn from: give hundreds or more.")
    given = Prior({str(name): marginal for name, marginal in prior.items()})
    compiled, grid = compile(system), np.asarray(times, dtype=float)

    def simulator(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        named = {name: values[:, i] for i, name in enumerate(given.marginals)}
        seeded = int(rng.integers(2**31))
        exact = simulate(compiled, grid, parameters=named, throw=False, seed=seeded, rtol=1e-5, atol=1e-6)
        measured = [distort(exact[name], rng) for name, distort in zip(columns, noise.values())]
        return np.stack(measured, axis=-1)

    rng = np.random.default_rng([seed, 1])
    parameters, tables = _finite(given, simulator, simulations, rng)
    seen = np.stack([np.ravel((observe or _all)(table)) for table in tables])
    center, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-12 * (1 + np.abs(center)), scale, 1.0)
    size = len(given.marginals)
    torch_seed = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = network or ScoreMLP(size, hidden=128, layers=3, features=seen.shape[1])
    torch.random.set_rng_state(torch_seed)
    trained = train(
        EDM(start=0.01, end=20.0),
        network,
        torch.as_tensor(given.to_normal(parameters), dtype=torch.float32),
        condition=torch.as_tensor((seen - center) / scale, dtype=torch.float32),
        drop=0.0,
        steps=steps,
        batch=batch,
        rate=rate,
        checkpoint=checkpoint,
        seed=seed,
        progress=progress,
    )
    return Posterior(given, trained.score, observe or _all, center, scale, simulator, columns, len(parameters))


def _all(table: np.ndarray) -> np.ndarray:
    return table.ravel()


def _finite(prior: Prior, simulator, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """So many parameters with measurements that are finite; others are drawn anew."""
    kept_parameters, kept_tables, drawn, kept = [], [], 0, 0
    while kept < count:
        values = prior.sample(count, rng)
        tables = simulator(values, rng)
        good = np.isfinite(tables).all(axis=(1, 2))
        drawn, kept = drawn + count, kept + int(good.sum())
        if kept < 0.5 * drawn:
            raise SolveError(
                f"{drawn - kept} of {drawn} simulations from the prior failed. Narrow the prior to values that the equations "
                "can be solved at."
            )
        kept_parameters.append(values[good])
        kept_tables.append(tables[good])
    return np.concatenate(kept_parameters)[:count], np.concatenate(kept_tables)[:count]
