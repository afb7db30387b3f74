"""A System joined to measurements: everything that is known before a fit begins."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from sciml.errors import DataError, ModelError, quoted, suggestion
from sciml.measurement.episodes import episodes
from sciml.measurement.experiment import Experiment, column_names, read_experiments
from sciml.measurement.likelihood import AbstractLikelihood, likelihood_of
from sciml.measurement.smoothing import Curve, Sizes, smooth
from sciml.measurement.transitions import AbstractTransitions, Kalman
from sciml.solvers import AbstractSolver, Direct, Tsit5
from sciml.symbolic.cost import Cost, without_cost
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.distributions import DISTRIBUTIONS, AbstractDistribution, LogNormal, Normal
from sciml.symbolic.orthogonal import Orthogonal
from sciml.symbolic.penalty import Penalty
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Start:
    """A free initial value: of one state in one experiment."""

    experiment: int
    state: int
    parameter: Parameter
    scale: float


@dataclass(frozen=True)
class Measured:
    """The data of a `Problem`, which documents the fields; checked and completed when it is made."""

    system: System
    data: Any = None
    noise: Mapping[sp.Symbol | str, AbstractDistribution] | None = None
    _: KW_ONLY
    penalties: Sequence[Penalty | Orthogonal] = ()
    inputs: Any = None
    group: Any = None
    solver: AbstractSolver = field(default_factory=Tsit5)
    rtol: float = 1e-6
    atol: float = 1e-6
    gradients: Any = field(default_factory=Direct)
    max_steps: int = 10_000
    backend: str = "auto"
    transitions: AbstractTransitions | None = None
    cost: Any = None
    initial_states: Any = None
    experiments: tuple[Experiment, ...] = field(init=False, repr=False)
    likelihoods: dict[str, AbstractDistribution] = field(init=False, repr=False)
    levels: dict[str, str] = field(init=False, repr=False)
    declared: System = field(init=False, repr=False)

    def __post_init__(self):
        if not isinstance(self.system, System):
            raise ModelError(f"a Problem starts from a System, not from `{type(self.system).__name__}`.")
        if self.system.discrete:
            raise ModelError("the System is a map (`discrete=True`): maps are not fitted yet.")
        check_cost(self)
        check_stochastic(self)
        names = [str(symbol) for symbol in (*self.system.states, *self.system.observed)]
        if self.cost is None:
            levels = _level_columns(self.system, self.noise or {}, column_names(self.data))
            experiments = read_experiments(self.data, names, levels, self.system.inputs, self.inputs, self.group)
        else:
            cost = Cost.of(self.cost, without_cost(self.system))
            object.__setattr__(self, "cost", cost)
            object.__setattr__(self, "system", cost.joined(self.system))
            levels, experiments = {}, episodes(self.system, cost, self.initial_states)
        object.__setattr__(self, "experiments", experiments)
        noise = self.noise
        if self.transitions is not None and self.transitions.exact:
            if noise is not None:
                raise ModelError(
                    f"`{self.transitions!r}` is for states measured without noise. Use `Kalman()` with noise."
                )
            noise = {column: Normal(1.0) for column in experiments[0].columns}
        likelihoods, parameters = _declared_noise(self.system, noise, experiments, levels)
        object.__setattr__(self, "penalties", _listed(self.penalties))
        for penalty in self.inequalities:
            penalty.violation(self.system)
        for penalty in self.orthogonal:
            penalty.products(self.system)
        for experiment in experiments:
            for column, model in likelihoods.items():
                likelihood_of(model).check(experiment, column)
        positive = {name for name, model in likelihoods.items() if isinstance(model, LogNormal)}
        sizes = Sizes(self.system, experiments, positive)
        system = replace(sizes.with_scales(), parameters={**self.system.parameters, **parameters})
        object.__setattr__(self, "likelihoods", likelihoods)
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "declared", without_cost(self.system))
        object.__setattr__(self, "system", system)
        object.__setattr__(self, "_sizes", sizes)
        if self.backend not in ("auto", "native", "torch"):
            raise ModelError(f"backend {self.backend!r} is not known: use 'auto', 'native' or 'torch'.")
        if self.transitions is not None:
            self.transitions.check(self)
        self.starts  # noqa: B018  raises for missing initial values now, not in the middle of a fit

    @property
    def inequalities(self) -> tuple[Penalty, ...]:
        """The penalties that are inequalities."""
        return tuple(penalty for penalty in self.penalties if isinstance(penalty, Penalty))

    @property
    def orthogonal(self) -> tuple[Orthogonal, ...]:
        """The penalties that keep learned functions from what parameters can do."""
        return tuple(penalty for penalty in self.penalties if isinstance(penalty, Orthogonal))

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
        """For each state, whether its noise is log-normal, so that its gaps are measured in logarithms."""
        return tuple(isinstance(self.likelihoods.get(str(x)), LogNormal) for x in self.system.states)

    @property
    def nonnegative(self) -> tuple[bool, ...]:
        """For each state, whether its noise needs a positive mean, so that its starts have the lower bound 0."""
        noise = [self.likelihoods.get(str(x)) for x in self.system.states]
        return tuple(model is not None and model.positive for model in noise)

    @property
    def densities(self) -> tuple[AbstractLikelihood, ...]:
        """The likelihood of each column."""
        return tuple(likelihood_of(self.likelihoods[column]) for column in self.columns)

    @property
    def scales(self) -> tuple[sp.Expr, ...]:
        """Scale of each column in the System's own symbols, without what a column of the data multiplies it by."""
        observed = dict(self.system.observed)
        factors = {column: sp.Symbol(level, real=True) for column, level in self.levels.items()}
        return tuple(
            _without_column(self.likelihoods[c].scale, str(factors.get(c, ""))).subs(observed) for c in self.columns
        )

    @property
    def sizes(self) -> np.ndarray:
        """Typical size of each state: root mean square of its data, else of its initial value, else 1."""
        return np.array([self._sizes.values.get(str(x)) or _given_size(self.system, x) for x in self.system.states])

    @property
    def input_sizes(self) -> dict[str, float]:
        """Typical size of each input: root mean square at the measured times."""
        return {str(u): self._sizes.values[str(u)] for u in self.system.inputs}

    @property
    def rates(self) -> np.ndarray:
        """Typical rate of change of each state: root mean square slope of its smoothed data, else 1."""
        return np.array([self._sizes.rates.get(str(x), 1.0) for x in self.system.states])

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
        if (self.transitions is not None and self.transitions.exact) or str(state) in experiment.initial:
            return None
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
        if not self.nonnegative[self.system.states.index(state)]:
            return Parameter(known[0])
        # A count may start at zero, a mean cannot.
        return Parameter(known[0] or 0.5, bounds=(0.0, None))

    @property
    def individual(self) -> tuple[int, ...]:
        """Which parameters have a value of their own for each experiment."""
        parameters = self.system.parameters.values()
        return tuple(i for i, p in enumerate(parameters) if p.per_experiment and len(self.experiments) > 1)

    def curve(self, experiment: int, column: str) -> Curve:
        """Smoothing spline through one measured column."""
        measured = self.experiments[experiment]
        return smooth(measured.times, measured.column(column), isinstance(self.likelihoods[column], LogNormal))

    @property
    def noise_parameters(self) -> tuple[sp.Symbol, ...]:
        """Symbols of the noise levels that were not declared and are therefore fitted."""
        return tuple(m.scale for column, m in self.likelihoods.items() if str(m.scale) == f"noise_{column}")


def check_cost(measured: Measured) -> None:
    """Refuse a problem with neither measurements nor a cost, and what a cost cannot be joined to."""
    system = measured.system
    if measured.cost is None:
        if measured.initial_states is not None:
            raise ModelError(
                "`initial_states` go with a `cost`. Beside data, a state that is not in `System(initial=...)` starts at a "
                "fitted value."
            )
        if measured.data is None:
            raise ModelError(
                "a Problem needs something to fit by: measurements, `Problem(system, data)`, or a cost, "
                "`Problem(system, cost=sp.Integral(running, (t, 0, 10)) + terminal)`."
            )
        return
    if measured.data is not None:
        raise ModelError(
            "`data` and `cost` are both given: a Problem is fitted by one of them. Fit the unknown parts to the data first, "
            "and give `fit.system` with the policy to a Problem with the cost."
        )
    refused = [name for name in ("noise", "inputs", "group", "transitions") if getattr(measured, name)]
    refused += ["Orthogonal"] if any(isinstance(p, Orthogonal) for p in _listed(measured.penalties)) else []
    if refused:
        raise ModelError(
            f"{quoted(refused)} go with measurements, and this Problem has a cost instead: leave them out."
        )
    if system.noise or system.inputs:
        what = "noise" if system.noise else f"the inputs {quoted(system.inputs)}"
        raise ModelError(
            f"the System has {what}, which a cost cannot be taken over yet. Leave it out; an input can be given as a "
            "formula of time: `system.substitute({u: ...})`."
        )
    if not system.learned and all(parameter.fixed for parameter in system.parameters.values()):
        raise ModelError(
            "nothing can lower the cost: the System has no learned function, such as `learned={policy: MLP()}`, and no free "
            "`Parameter`."
        )


def check_stochastic(measured: Measured) -> None:
    """Refuse what a System with noise, or one without, cannot be joined to; the likelihood is `Kalman()` by default."""
    system, transitions = measured.system, measured.transitions
    if not system.noise:
        if transitions is not None:
            raise ModelError(f"`transitions={transitions!r}` is for stochastic Systems, and this one has no noise.")
        return
    if transitions is not None and not isinstance(transitions, AbstractTransitions):
        raise ModelError(f"`transitions={transitions!r}` is not known: use `Kalman()` or `TransitionDensity()`.")
    refused = [name for name in ("inputs", "events") if getattr(system, name)]
    refused += ["penalties"] if measured.penalties else []
    if refused or measured.backend == "native":
        what = quoted(refused or ["backend='native'"])
        raise ModelError(f"{what} cannot be joined to a stochastic System yet: leave it out, or the noise.")
    object.__setattr__(measured, "transitions", transitions or Kalman())


def _listed(penalties: Any) -> tuple[Penalty | Orthogonal, ...]:
    listed = (penalties,) if isinstance(penalties, Penalty | Orthogonal) else tuple(penalties)
    for penalty in listed:
        if not isinstance(penalty, Penalty | Orthogonal):
            raise ModelError(
                f"`penalties` holds `{penalty!r}`: give inequalities as `Penalty(x > 0, weight=100.0)`, or "
                "`Orthogonal(function)`."
            )
    return listed


def _level_columns(system: System, noise: Mapping, columns: set[str]) -> dict[str, str]:
    """Measured column -> the column of the data that multiplies its noise level."""
    own = {*map(str, (*system.states, *system.parameters, *system.observed)), str(system.time)}
    result = {}
    for name, model in noise.items():
        scale = model.scale if isinstance(model, AbstractDistribution) else None
        found = {str(s) for s in scale.free_symbols} & columns - own if scale is not None else set()
        if not found:
            continue
        level = sorted(found)[0]
        rest = _without_column(scale, level)
        if rest.has(sp.nan) or len(found) > 1 or level in map(str, rest.free_symbols):
            raise ModelError(
                f"the noise level `{scale}` of `{name}` holds the column `{level}` of the data: it may stand alone or as "
                f"a factor, such as `{type(model).__name__}(sigma * {level})`."
            )
        result[str(name)] = level
    return result


def _without_column(scale: sp.Expr, level: str) -> sp.Expr:
    """The scale divided by the column of that name; it keeps the name where that is no plain factor."""
    return sp.Mul(*(factor for factor in sp.Mul.make_args(scale) if str(factor) != level))


def _declared_noise(
    system: System, noise: Mapping | None, experiments: tuple[Experiment, ...], factors: Mapping[str, str]
) -> tuple[dict[str, AbstractDistribution], dict[sp.Symbol, Parameter]]:
    """Noise model per column, and the parameters that stand for levels left open."""
    columns = experiments[0].columns
    given = {str(key): model for key, model in (noise or {}).items()}
    if noise is None:
        given = {column: Normal() for column in columns}
    for name, model in given.items():
        if not isinstance(model, AbstractDistribution):
            raise ModelError(
                f"noise of `{name}` is {model!r}: give `Normal(...)`, or another of {quoted(DISTRIBUTIONS)}."
            )
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
            _check_spread(column, experiments)
            symbol = sp.Symbol(f"noise_{column}", real=True)
            levels[symbol] = Parameter(_first_level(model, experiments, column), bounds=(0, None))
            model = replace(model, scale=symbol)
        known = {*system.states, *system.observed, *system.parameters, system.time, *levels}
        unknown = {s for s in model.scale.free_symbols - known if str(s) != factors.get(column)}
        if unknown:
            name = str(sorted(unknown, key=str)[0])
            raise ModelError(
                f"`{name}` in the noise of `{column}` is not a parameter of the System. Add it to `parameters`."
                f"{suggestion(name, system.parameters)}"
            )
        result[column] = model
    return result, levels


def _first_level(model: AbstractDistribution, experiments: Sequence[Experiment], column: str) -> float:
    """Where the fit of a noise level starts: a tenth of the spread of the data, or 20 %, or k = 10 for counts."""
    if model.counts:
        return 10.0
    if isinstance(model, LogNormal):
        return 0.2
    return 0.1 * float(np.nanstd(np.concatenate([experiment.column(column) for experiment in experiments]))) or 1.0


def _check_spread(column: str, experiments: tuple[Experiment, ...]) -> None:
    values = np.concatenate([experiment.column(column) for experiment in experiments])
    values = values[np.isfinite(values)]
    if len(values) > 1 and np.ptp(values) == 0.0:
        warnings.warn(
            f"column `{column}` is {values[0]:g} at all of its {len(values)} times: where the model can stay there, its "
            f"fitted noise level falls to zero. Give the level, `noise={{{column}: Normal(...)}}`, or leave the column out.",
            stacklevel=5,
        )


def _given_size(system: System, state: sp.Symbol) -> float:
    given = system.initial.get(state)
    if isinstance(given, Parameter):
        return abs(given.value) or 1.0
    values = {symbol: parameter.value for symbol, parameter in system.parameters.items()}
    return abs(float(given.subs(values))) or 1.0 if given is not None else 1.0
