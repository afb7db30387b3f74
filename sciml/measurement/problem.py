"""A System joined to measurements: what a fit minimizes, as a function of one flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Float

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.measurement.experiment import Experiment, read_experiments
from sciml.measurement.likelihood import check_values
from sciml.measurement.loss import Loss
from sciml.measurement.native_evaluator import reason_against
from sciml.measurement.smoothing import Curve, Sizes, smooth
from sciml.solvers import AbstractExplicit, Direct, Tsit5
from sciml.symbolic.declarations import LogNormal, Normal, Parameter
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Start:
    """A free initial value: of one state in one experiment."""

    experiment: int
    state: int
    parameter: Parameter
    scale: float


@dataclass(frozen=True)
class Problem:
    r"""A System and measurements of it: the negative log-posterior of everything unknown.

    .. math:: -\log p(\theta \mid y) = -\sum \log p(y_i \mid m_i(\theta), s_i) - \log p(\theta) + \text{const}

    Unknown are the System's free parameters, the weights of its networks, and those initial values that the System
    does not give: a state that is measured but has no `initial` starts, for each experiment, at a fitted value.

    Args:
        system: The model.
        data: A DataFrame, or a list or dict of them (several experiments). Index: time, strictly increasing, in the
            model's unit. Columns: named like states or observables. NaN: not measured.
        noise: State or observable -> `Normal(s)` or `LogNormal(s)`. Left out, every column has normal noise whose
            level is fitted.
        solver: Method for the differential equation.
        rtol, atol: Its tolerances.
        gradients: How gradients pass through it.
        max_steps: Of one trajectory; a trial that needs more counts as failed.
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

    system: System
    data: Any
    noise: Mapping[sp.Symbol | str, Normal | LogNormal] | None = None
    _: KW_ONLY
    solver: AbstractExplicit = field(default_factory=Tsit5)
    rtol: float = 1e-6
    atol: float = 1e-6
    gradients: Any = field(default_factory=Direct)
    max_steps: int = 10_000
    backend: str = "auto"
    experiments: tuple[Experiment, ...] = field(init=False, repr=False)
    likelihoods: dict[str, Normal | LogNormal] = field(init=False, repr=False)

    def __post_init__(self):
        if not isinstance(self.system, System):
            raise ModelError(f"a Problem starts from a System, not from `{type(self.system).__name__}`.")
        if self.system.noise:
            raise ModelError(
                f"{quoted(self.system.noise)} has a diffusion term: stochastic systems are not fitted yet."
            )
        names = [str(symbol) for symbol in (*self.system.states, *self.system.observed)]
        experiments = read_experiments(self.data, names)
        object.__setattr__(self, "experiments", experiments)
        likelihoods, parameters = _declared_noise(self.system, self.noise, experiments)
        for experiment in experiments:
            for column, model in likelihoods.items():
                check_values(model, experiment, column)
        positive = {name for name, model in likelihoods.items() if isinstance(model, LogNormal)}
        sizes = Sizes(self.system, experiments, positive)
        system = replace(sizes.with_scales(), parameters={**self.system.parameters, **parameters})
        object.__setattr__(self, "likelihoods", likelihoods)
        object.__setattr__(self, "system", system)
        object.__setattr__(self, "_sizes", sizes)
        if self.backend not in ("auto", "native", "torch"):
            raise ModelError(f"backend {self.backend!r} is not known: use 'auto', 'native' or 'torch'.")
        self.starts  # noqa: B018  raises for missing initial values now, not in the middle of a fit

    @property
    def columns(self) -> tuple[str, ...]:
        """What was measured."""
        return self.experiments[0].columns

    @property
    def observations(self) -> int:
        """Number of measured values."""
        return sum(experiment.observations for experiment in self.experiments)

    @property
    def positive(self) -> tuple[bool, ...]:
        """For each state, whether its noise is log-normal, so that its starts are fitted in logarithms."""
        return tuple(isinstance(self.likelihoods.get(str(x)), LogNormal) for x in self.system.states)

    @property
    def sizes(self) -> np.ndarray:
        """Typical size of each state: root mean square of its data, else of its initial value, else 1."""
        return np.array([self._sizes.values.get(str(x)) or _given_size(self.system, x) for x in self.system.states])

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """The initial values that are fitted, experiment by experiment."""
        return tuple(
            Start(e, i, parameter, size)
            for e, experiment in enumerate(self.experiments)
            for i, (x, size) in enumerate(zip(self.system.states, self.sizes))
            if (parameter := self._start(x, experiment)) is not None
        )

    def _start(self, state: sp.Symbol, experiment: Experiment) -> Parameter | None:
        given = self.system.initial.get(state)
        if isinstance(given, Parameter):
            return None if given.fixed else given
        if given is not None:
            return None
        values = experiment.column(str(state)) if str(state) in self.columns else np.array([])
        known = values[np.isfinite(values)]
        if not len(known):
            raise ModelError(
                f"`{state}` has no initial value and `{experiment.name}` does not measure it. Give one: "
                f"`System(initial={{{state}: 1.0}})`, or `{state}: Parameter(1.0)` to have it fitted."
            )
        lower = 0.0 if isinstance(self.likelihoods.get(str(state)), LogNormal) else None
        return Parameter(known[0], bounds=(lower, None))

    def curve(self, experiment: int, column: str) -> Curve:
        """Smoothing spline through one measured column."""
        measured = self.experiments[experiment]
        return smooth(measured.times, measured.column(column), isinstance(self.likelihoods[column], LogNormal))

    @cached_property
    def engine(self) -> str:
        """What computes the loss: "native", or "torch" and why it is not native."""
        if self.backend == "torch":
            return "torch"
        reason = reason_against(self)
        if reason is None:
            return "native"
        if self.backend == "native":
            raise ModelError(f"this problem cannot be computed natively: {reason}. Use `backend='auto'`.")
        return f"torch ({reason})"

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

    def with_system(self, system: System) -> Problem:
        """The same measurements and options for other equations, such as a discovered law.

        Noise levels that this problem added for itself are added anew; symbols in `noise` must be parameters of the
        new System, too.
        """
        own = self.noise_parameters
        noise = {k: replace(m, scale=None) if m.scale in own else m for k, m in self.likelihoods.items()}
        kept = {symbol: p for symbol, p in system.parameters.items() if symbol not in own}
        return replace(self, system=replace(system, parameters=kept), noise=noise)

    @property
    def noise_parameters(self) -> tuple[sp.Symbol, ...]:
        """Symbols of the noise levels that were not declared and are therefore fitted."""
        return tuple(m.scale for column, m in self.likelihoods.items() if str(m.scale) == f"noise_{column}")


def _declared_noise(system: System, noise: Mapping | None, experiments: tuple[Experiment, ...]):
    """Noise model per column, and the parameters that stand for levels left open."""
    columns = experiments[0].columns
    given = {str(key): model for key, model in (noise or {}).items()}
    if noise is None:
        given = {column: Normal() for column in columns}
    for name, model in given.items():
        if not isinstance(model, Normal | LogNormal):
            raise ModelError(f"noise of `{name}` is {model!r}: give `Normal(...)` or `LogNormal(...)`.")
        if name not in columns:
            system.symbol(name)
            raise DataError(
                f"`noise` names `{name}`, but no column of the data is called so.{suggestion(name, columns)}"
            )
    missing = [column for column in columns if column not in given]
    if missing:
        raise ModelError(
            f"column {quoted(missing)} has no noise model. Add `noise={{{missing[0]}: Normal(...)}}`, or leave the "
            "column out of the data."
        )
    levels: dict[sp.Symbol, Parameter] = {}
    result = {}
    for column in columns:
        model = given[column]
        if model.scale is None:
            symbol = sp.Symbol(f"noise_{column}", real=True)
            spread = np.nanstd(np.concatenate([experiment.column(column) for experiment in experiments]))
            start = 0.2 if isinstance(model, LogNormal) else 0.1 * spread or 1.0
            levels[symbol] = Parameter(start, bounds=(0, None))
            model = replace(model, scale=symbol)
        unknown = model.scale.free_symbols - set(system.parameters) - set(levels)
        if unknown:
            name = str(sorted(unknown, key=str)[0])
            raise ModelError(
                f"`{name}` in the noise of `{column}` is not a parameter of the System. Add it to `parameters`."
                f"{suggestion(name, system.parameters)}"
            )
        result[column] = model
    return result, levels


def _given_size(system: System, state: sp.Symbol) -> float:
    given = system.initial.get(state)
    if isinstance(given, Parameter):
        return abs(given.value) or 1.0
    values = {symbol: parameter.value for symbol, parameter in system.parameters.items()}
    return abs(float(given.subs(values))) or 1.0 if given is not None else 1.0
