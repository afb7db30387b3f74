"""A Problem: what a fit minimizes, as a function of one flat vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sympy.core.function import AppliedUndef

from sciml.errors import ModelError
from sciml.measurement.experiment import Experiment
from sciml.measurement.loss import Loss
from sciml.measurement.measured import Measured
from sciml.symbolic.orthogonal import Orthogonal
from sciml.symbolic.penalty import Penalty
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Problem(Measured):
    r"""A System and measurements of it, or a cost: the negative log-posterior of everything unknown, or what to pay.

    .. math:: -\log p(\theta \mid y) = -\sum \log p(y_i \mid m_i(\theta), s_i) - \log p(\theta) + \text{const}

    Unknown are the System's free parameters, the weights of its networks, and those initial values that the System
    does not give: a state that is measured but has no `initial` starts, for each experiment, at a fitted value.

    With a `cost` in place of data, the sum of the costs of all trajectories takes the place of the first term:
    what is learned is a feedback, or a design.

    Args:
        system: The model.
        data: A DataFrame, or a list or dict of them (several experiments). Index: time, strictly increasing, in the
            model's unit. Columns: named like states or observables. NaN: not measured.
        inputs: Of a System with `inputs` whose values are not columns of the data: a DataFrame or dict of series with times
            of their own, for all experiments; or a list or dict of these, one for each.
        group: Column of one long DataFrame whose values tell its experiments apart.
        noise: State or observable -> `Normal`, `LogNormal`, `StudentT`, `Poisson` or `NegativeBinomial`. Left out,
            every column has normal noise whose level is fitted.
        penalties: Inequalities that the trajectories should keep: `[Penalty(x > 0, weight=100.0)]`; and `Orthogonal(f)`, for
            a learned function that should leave to the parameters what they can do.
        cost: Instead of data: a sum of integrals over time, whose limits are the horizon, and a price of the last state,
            `sp.Integral(running, (t, 0, 10)) + terminal`. Learned functions may occur.
        initial_states: The trajectories that a cost is summed over: `Box({x: (-1, 1)}, count=64)`, or a DataFrame with a row
            for each. States that are not named start as the System says.
        solver: Method for the differential equation.
        rtol, atol: Its tolerances.
        gradients: How gradients pass through it.
        max_steps: Of one trajectory; a trial that needs more counts as failed.
        transitions: Of a System with noise: how likely a series is. `Kalman()` (the default) for noisy, partial measurements,
            `TransitionDensity()` for exact ones, `MomentMatching()` for many repeats.
        backend: "auto" computes the loss natively where it can and by torch elsewhere (`problem.engine` says which and
            why); "native" and "torch" insist.

    Attributes:
        system: The System with the noise levels to be fitted added to its parameters, and scales of its networks
            taken from the data.
        experiments: The measurements as arrays.
        likelihoods: Noise model of every column, levels that were left open named `noise_COLUMN`.

    Raises:
        ModelError, DataError: What in the model, the data or the noise does not fit together.

    Example:
        >>> import numpy as np, pandas as pd, sympy as sp
        >>> from sciml import Normal, Parameter, Problem, System
        >>> x, k = sp.symbols("x k", real=True)
        >>> decay = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))})
        >>> t = np.linspace(0, 2, 9)
        >>> problem = Problem(decay, pd.DataFrame({"x": np.exp(-1.5 * t)}, index=t), noise={x: Normal(0.1)})
        >>> value, gradient = problem.value_and_gradient(problem.initial(seed=0))
        >>> gradient.shape
        (2,)
    """

    @property
    def engine(self) -> str:
        """What computes the loss: "native", or "torch" and why it is not native."""
        return self.loss.engine

    @cached_property
    def loss(self) -> Loss:
        """The negative log-posterior by single shooting."""
        return Loss(self)

    def initial(self, seed: int = 0) -> Float[np.ndarray, " theta"]:
        """Where a fit starts: declared values in free coordinates, random weights for untrained networks."""
        return self.loss.initial(seed)

    def value_and_gradient(self, vector: Float[np.ndarray, " theta"]) -> tuple[float, Float[np.ndarray, " theta"]]:
        """Negative log-posterior and its gradient; `inf` and zeros where the equations cannot be solved."""
        return self.loss.value_and_gradient(vector)

    def with_experiments(self, experiments: Sequence[Experiment]) -> Problem:
        """The same problem with other measurements of its columns, such as a part of them; scales are read off anew."""
        self.needs_measurements("a part of the experiments")
        own = self.noise_parameters
        noise = {k: replace(m, scale=None) if m.scale in own else m for k, m in self.likelihoods.items()}
        return replace(self, system=self.declared, noise=noise, **self._measurements(experiments))

    def with_values(self, values: Sequence[Float[np.ndarray, "time column"]]) -> Problem:
        """Other measured values of the same experiments, at the same times and with the same inputs."""
        return replace(self, **self._measurements([replace(e, values=v) for e, v in zip(self.experiments, values)]))

    def _measurements(self, experiments: Sequence[Experiment]) -> dict[str, Any]:
        """Experiments as the fields of a Problem that they come from."""
        frames = {}
        for experiment in experiments:
            frame = experiment.to_frame()
            for column, level in self.levels.items():
                factor = pd.Series(experiment.levels[:, experiment.columns.index(column)], index=frame.index)
                frame[level] = frame[level].fillna(factor) if level in frame else factor
            frames[experiment.name] = frame
        inputs = [experiment.signals for experiment in experiments] if self.system.inputs else None
        return {"data": frames, "inputs": inputs, "group": None}

    def with_system(self, system: System) -> Problem:
        """The same measurements and options for other equations, such as a discovered law.

        Noise levels that this problem added for itself are added anew; symbols in `noise` must be parameters of the
        new System, too. Penalties on functions that the new System does not learn go with these functions.

        Raises:
            ModelError: The cost calls a function that the new System does not learn: its equations do not tell what
                stands for it.
        """
        self._check_cost(system)
        own = self.noise_parameters
        kept = {symbol: p for symbol, p in system.parameters.items() if symbol not in own}
        gone = set(self.system.functions) - set(system.functions)
        penalties = [p for p in self.inequalities if not any(c.func in gone for c in p.condition.atoms(AppliedUndef))]
        left = [p.without([f.__name__ for f in gone]) for p in self.orthogonal]
        return self._replaced(replace(system, parameters=kept), [*penalties, *(p for p in left if p is not None)])

    def _check_cost(self, system: System) -> None:
        if self.cost is None:
            return
        calls = (self.cost.running + self.cost.terminal).atoms(AppliedUndef)
        for call in sorted(calls, key=str):
            if call.func not in system.functions:
                raise ModelError(
                    f"the cost calls `{call}`, and the new System does not learn `{call.func}`: its equations do not say "
                    "what stands for it in the cost. Pose the problem anew, with the closed form in the cost as well: "
                    f"`Problem(law, cost=cost.subs({call}, ...), initial_states=...)`."
                )

    def without_penalties(self) -> Problem:
        """The same problem with nothing but its likelihood and priors."""
        return self._replaced(self.declared, ())

    def _replaced(self, system: System, penalties: Sequence[Penalty | Orthogonal]) -> Problem:
        own = self.noise_parameters
        noise = {k: replace(m, scale=None) if m.scale in own else m for k, m in self.likelihoods.items()}
        return replace(self, system=system, noise=noise or None, penalties=penalties)

    def needs_measurements(self, what: str) -> None:
        """Raise if there are none, but a cost."""
        if self.cost is not None:
            raise ModelError(
                f"{what} needs measurements, and this Problem has a cost: a cost is no likelihood. What it came to is "
                "`fit.costs`."
            )
