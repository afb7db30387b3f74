"""What a fit knows: the best vector found, and everything that can be asked of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from sciml.errors import ModelError, quoted, suggestion
from sciml.fitting.monitor import Record, Stage
from sciml.fitting.report import Report, report
from sciml.fitting.saving import FIT_FIELDS, save
from sciml.lowering.vector_field import VectorField, compile, trained_system
from sciml.measurement.likelihood import likelihood_of
from sciml.measurement.prediction import load, number_of, output_times, predict
from sciml.measurement.problem import Problem
from sciml.simulation import Simulation
from sciml.symbolic.cost import without_cost
from sciml.symbolic.system import System
from sciml.trust.audit import Audit
from sciml.trust.coverage import Coverage
from sciml.uncertainty.chains import Chains, sample
from sciml.uncertainty.curvature import AbstractCurvature
from sciml.uncertainty.ensemble import Ensemble, bootstrap
from sciml.uncertainty.laplace import Laplace, laplace
from sciml.uncertainty.profile import Profile, profile


@dataclass(frozen=True)
class Fit:
    """A problem with the best vector found.

    Attributes:
        problem: What was fitted.
        vector: Free coordinates of everything unknown, as `problem.value_and_gradient` takes them.
        converged: Whether the last stage stopped because nothing more was to be gained.
        message: Why it stopped.
        history: One record per iteration: stage, step, loss, gradient norm.
        notes: What happened on the way that a user should know.
        evaluations: How often the loss and its gradient were computed.
        seconds: Wall time.
        seed: Of the random weights and of the start.
        starts: With many starts, all fits that succeeded, best first.
        held_out: Under validation, mean log-density of a held-out value (without priors), otherwise None.
        stages: What each stage took.
        audit: The gradient against finite differences at the start; None where the equations could not be solved there.
    """

    problem: Problem
    vector: Float[np.ndarray, " theta"]
    converged: bool
    message: str
    history: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()
    evaluations: int = 0
    seconds: float = 0.0
    seed: int = 0
    starts: tuple[Fit, ...] = field(default=(), repr=False)
    held_out: float | None = None
    stages: tuple[Stage, ...] = ()
    audit: Audit | None = None

    @property
    def backend(self) -> str:
        """What computed the loss: "native", or "torch" and why it was not native."""
        return self.problem.engine

    @cached_property
    def loss(self) -> float:
        """Negative log-posterior at the vector."""
        return self.problem.value_and_gradient(self.vector)[0]

    @cached_property
    def costs(self) -> pd.Series:
        """Of a problem with a cost: what the trajectory from each initial state costs.

        Raises:
            ModelError: The problem has measurements instead.
        """
        if self.problem.cost is None:
            raise ModelError("`costs` are of a Problem with a `cost`; this one was fitted to measurements.")
        names = [experiment.name for experiment in self.problem.experiments]
        return pd.Series(self.problem.loss.costs(self.vector), index=names, name="cost")

    @cached_property
    def log_likelihood(self) -> float:
        """Logarithm of the density of the measurements, without priors."""
        self.problem.needs_measurements("`log_likelihood`")
        return self.problem.loss.log_likelihood(self.vector)

    @property
    def estimates(self) -> dict[str, float]:
        """Fitted value of every free parameter, noise levels included; `k[A]` is that of experiment `A` alone."""
        values, _ = self.problem.loss.coordinates.values(self.vector)
        return {name: float(value) for name, value in zip(self.problem.loss.labels, values)}

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """Value of every parameter in every experiment, fixed ones included; rows are experiments."""
        names = [experiment.name for experiment in self.problem.experiments]
        values, _, _ = self.problem.loss.physical(self.vector)
        columns = [str(x) for x in self.problem.system.parameters]
        return pd.DataFrame(np.tile(values, (len(names) // len(values), 1)), index=names, columns=columns)

    @cached_property
    def field(self) -> VectorField:
        """The right-hand side with fitted parameters and weights, as a torch module.

        Parameters that differ between experiments have the values of the first one.
        """
        return load(compile(self.problem.system), self.problem, self.vector)

    @cached_property
    def initial(self) -> pd.DataFrame:
        """Initial state of every experiment, given or fitted; rows are experiments, columns states."""
        rows = self.problem.loss.initial_states(self.vector)
        return pd.DataFrame(
            rows,
            index=[experiment.name for experiment in self.problem.experiments],
            columns=[str(x) for x in self.problem.system.states],
        )

    @cached_property
    def system(self) -> System:
        """The System with estimates filled in: parameters, weights, and (of a single experiment) initial values.

        Noise levels that the problem added for itself are left out.

        Raises:
            ModelError: Parameters differ between experiments, so that there is no one System; see `system_of`.
        """
        if self.problem.individual:
            names = [list(self.problem.system.parameters)[i] for i in self.problem.individual]
            first = self.problem.experiments[0].name
            raise ModelError(f'{quoted(names)} differs between experiments. Say which: `fit.system_of("{first}")`.')
        return self.system_of(0) if len(self.problem.experiments) == 1 else self._filled(0)

    def system_of(self, experiment: int | str) -> System:
        """The System of one experiment, its parameters and initial values filled in.

        Args:
            experiment: Its number, or its name.
        """
        number = number_of(self.problem, experiment)
        system = self._filled(number)
        start = self.initial.iloc[number]
        return system.with_initial({x: float(start[str(x)]) for x in system.states})

    def _filled(self, number: int) -> System:
        values = self.parameters.iloc[number]
        system = without_cost(trained_system(self.field)).with_parameters({x: float(values[x]) for x in values.index})
        own = self.problem.noise_parameters
        kept = {x: replace(p, per_experiment=False) for x, p in system.parameters.items() if x not in own}
        return replace(system, parameters=kept)

    def simulate(self, ts: Sequence[float] | None = None, experiment: int | str = 0) -> Simulation:
        """The fitted model's trajectory; a warning tells where it leaves, behind the data, what networks have seen.

        Args:
            ts: Output times, the first being the experiment's first; by default its measured times.
            experiment: Which experiment's initial values, parameters and inputs to take: its number, or its name.

        Raises:
            DataError: The times start elsewhere, the inputs end before them, or there is no such experiment.
        """
        number = number_of(self.problem, experiment)
        times = output_times(self.problem, ts, number)
        found = predict(self.field, self.problem, self.vector, times, number)
        if not self.problem.system.learned:
            return found
        found = replace(found, coverage=self._outside)
        if times.max() > self.problem.experiments[number].times[-1]:
            self._warn_outside(found)
        return found

    def _warn_outside(self, simulation: Simulation) -> None:
        """Say from when on a trajectory that goes on behind the data asks a network for what it has not seen."""
        outside = simulation.outside
        if outside is None or not outside.to_numpy().any():
            return
        here = list(outside.columns[outside.to_numpy().any(axis=0)])
        first = outside.index[outside.to_numpy().any(axis=1)][0]
        warnings.warn(
            f"from t = {first:g} on the trajectory asks {quoted(here)} for what it has not seen in the fit, which ended at "
            f"t = {max(e.times[-1] for e in self.problem.experiments):g}: from there the network extrapolates. "
            "`simulation.outside` marks all such times.",
            stacklevel=3,
        )

    def _outside(self, simulation: Simulation) -> pd.DataFrame | None:
        return None if self.coverage is None else self.coverage.outside(simulation)

    @cached_property
    def coverage(self) -> Coverage | None:
        """Which inputs the learned functions have seen along the fitted trajectories; None where nothing is learned."""
        if not self.problem.system.learned:
            return None
        return Coverage.of([self._visited(e) for e in range(len(self.problem.experiments))])

    def _visited(self, experiment: int) -> Simulation:
        times = self.problem.experiments[experiment].times
        fine = np.linspace(times[0], times[-1], max(200, 2 * len(times)))
        return predict(self.field, self.problem, self.vector, fine, experiment)

    def report(self, profiles: bool = True) -> Report:
        """What speaks for and against believing the fit: gradient, coverage, confounding, cost.

        Args:
            profiles: Whether to look for parameters that networks can imitate: second derivatives and a profile for each.
        """
        return report(self, profiles)

    @torch.no_grad()
    def rates(
        self, times: Float[np.ndarray, " time"], states: Float[np.ndarray, "time state"], experiment: int = 0
    ) -> np.ndarray:
        """The fitted right-hand side of an experiment at given times and states, (time, state)."""
        signals = self.problem.experiments[experiment].signals
        u = None if signals is None else torch.as_tensor(signals(times))
        p = torch.tensor(self.parameters.iloc[experiment].to_numpy())
        return self.field(torch.as_tensor(times)[:, None], torch.as_tensor(states), p, u).numpy()

    def learned_values(self, function: Any, arguments: Float[np.ndarray, "point argument"]) -> np.ndarray:
        """A learned function at given arguments, with its factor and scales.

        Args:
            function: The undefined function, or its name.
            arguments: One row per point, one column per argument.
        """
        for group in self.problem.system.learned:
            names = [f.__name__ for f in group]
            if str(function) in names:
                points = np.asarray(arguments, dtype=float)
                if points.ndim < 2 or points.shape[-1] != self.problem.system.arity(group):
                    raise ModelError(
                        f"the arguments of `{function}` have shape {points.shape}; needed is a row for each point and "
                        f"a column for each argument: (points, {self.problem.system.arity(group)})."
                    )
                with torch.no_grad():
                    values = self.field.learned_values(group, torch.tensor(points))
                return values[..., names.index(str(function))].numpy()
        known = [f.__name__ for f in self.problem.system.functions]
        raise ModelError(
            f"`{function}` is not a learned function. There are {quoted(known)}.{suggestion(function, known)}"
        )

    def predicted(
        self, ts: Sequence[float] | None = None, experiment: int | str = 0
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The model's value of every measured column over time, and the scale of the noise around it.

        Where a column of the data multiplies the noise level, that is done at the measured times, `ts=None`; elsewhere
        the scale is the level before it is multiplied.
        """
        self.problem.needs_measurements("what is predicted of measurements")
        number = number_of(self.problem, experiment)
        simulation, measured = self.simulate(ts, number), self.problem.experiments[number]
        means, scales = self.problem.loss.measure(self.vector, simulation.times, simulation.states, number)
        scales = scales * measured.levels if ts is None else scales
        index = pd.Index(simulation.times, name=str(self.problem.system.time))
        columns = list(measured.columns)
        return pd.DataFrame(means, index=index, columns=columns), pd.DataFrame(scales, index=index, columns=columns)

    def residuals(self, experiment: int | str = 0) -> pd.DataFrame:
        """Measured minus modeled, of logarithms where the noise is log-normal; NaN where nothing was measured."""
        measured = self.problem.experiments[number_of(self.problem, experiment)]
        means, _ = self.predicted(experiment=experiment)
        return pd.DataFrame(
            {name: self._likelihood(name).residuals(measured.column(name), means[name].to_numpy()) for name in means},
            index=means.index,
        )

    def normalized_residuals(self, experiment: int | str = 0, seed: int = 0) -> pd.DataFrame:
        """Residuals that are standard normal if the model is right, whatever the noise; NaN where nothing was measured.

        Args:
            experiment: Which.
            seed: Of the draws that counts need, see `AbstractLikelihood.quantile_residuals`.
        """
        measured = self.problem.experiments[number_of(self.problem, experiment)]
        means, scales = self.predicted(experiment=experiment)
        draw = np.random.default_rng(seed)
        columns = {
            name: self._likelihood(name).quantile_residuals(
                measured.column(name), means[name].to_numpy(), scales[name].to_numpy(), draw
            )
            for name in means
        }
        return pd.DataFrame(columns, index=means.index)

    def _likelihood(self, column: str):
        return likelihood_of(self.problem.likelihoods[column])

    @property
    def rmse(self) -> float:
        """Root mean square of all residuals (of logarithms where the noise is log-normal)."""
        parts = [self.residuals(e).to_numpy().ravel() for e in range(len(self.problem.experiments))]
        return float(np.sqrt(np.nanmean(np.concatenate(parts) ** 2)))

    def laplace(self, curvature: AbstractCurvature | None = None) -> Laplace:
        """The posterior as a Gaussian around the fit: intervals, bands, and what the data leave open.

        Args:
            curvature: `ExactHessian()`, or `GaussNewton()`.
        """
        return self._laplace if curvature is None else laplace(self.problem, self.vector, curvature)

    @cached_property
    def _laplace(self) -> Laplace:
        return laplace(self.problem, self.vector)

    def profile(self, name: Any, level: float = 0.9) -> Profile:
        """Interval of one parameter or initial value from its likelihood, the rest fitted anew along it.

        Args:
            name: As in `fit.laplace().intervals()`.
            level: Probability.
        """
        return profile(self._laplace, str(name), level)

    def bootstrap(self, samples: int = 100, *, seed: int = 0, jobs: int = -1) -> Ensemble:
        """Fits to new noise around this one.

        Args:
            samples: How many.
            seed: Of the noise.
            jobs: Processes, as joblib counts them.
        """
        return bootstrap(self._laplace, samples, seed, jobs)

    def sample(self, draws: int = 1000, *, tune: int = 500, chains: int = 4, seed: int = 0) -> Chains:
        """Draws from the posterior of a law without networks, by the no-U-turn sampler; needs nutpie.

        Args:
            draws, tune: Per chain, kept and for adaptation.
            chains: How many.
            seed: Of all of them.
        """
        return sample(self._laplace, draws, tune, chains, seed)

    def save(self, path: str | Path) -> Path:
        """Write the fit to one file, safe to share; see `sciml.load`."""
        summary = {name: getattr(self, name) for name in FIT_FIELDS}
        return save(path, self.problem, self.vector, summary, self.notes, self.history)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {value:.6g}" for name, value in self.estimates.items())
        state = "converged" if self.converged else f"not converged: {self.message}"
        return f"Fit({values}; loss = {self.loss:.6g}; {state})"
