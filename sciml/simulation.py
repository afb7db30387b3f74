"""Where equations meet solvers: simulate a System and read the result by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
import torch
from jaxtyping import Float

from sciml.engines import MAX_RESETS, by_torch, natively, reason_against
from sciml.errors import DataError, ModelError, SolveError, quoted
from sciml.iteration import iterate
from sciml.lowering.vector_field import VectorField, compile
from sciml.paths import stochastic_paths
from sciml.signals import Signals, read_signals
from sciml.solvers import AbstractSolver, Rodas5P, Status, Tsit5
from sciml.solvers.checks import checked_state, checked_times
from sciml.solvers.integrate import failure_message
from sciml.solvers.loop import Settings
from sciml.solvers.occurrences import Occurrences
from sciml.solvers.stochastic import AbstractStochasticSolver
from sciml.solvers.tolerance import Tolerance
from sciml.symbolic import checks
from sciml.symbolic.system import System


@dataclass(frozen=True, eq=False)
class Simulation:
    """A solution of a System, or many at once, by name.

    Attributes:
        field: What was simulated; with the values and weights it had then.
        times: Output times.
        states: States over time; of many trajectories, the first axis counts them.
        status: How each trajectory ended; its states are NaN behind a failure.
        backend: "native", or "torch" and why it was not native.
        parameters: Values of the parameters (the System's own order); a row per trajectory where they differ.
        occurrences: The events met, of a System that has any; `events` shows them by name.
        signals: The inputs, of a System that has any: one for all trajectories, or one for each.
        coverage: Of a fitted model: what tells where learned functions are asked for what they have not seen.
    """

    field: VectorField
    times: Float[np.ndarray, " time"]
    states: Float[np.ndarray, "*trajectory time state"]
    status: tuple[Status, ...] = (Status.SUCCESS,)
    backend: str = "native"
    parameters: Float[np.ndarray, "*trajectory parameter"] | None = None
    occurrences: Occurrences | None = None
    signals: tuple[Signals, ...] = ()
    coverage: Callable[[Simulation], pd.DataFrame | None] | None = None

    @property
    def outside(self) -> pd.DataFrame | None:
        """For each time and call of a learned function, whether its arguments are away from all that it saw in the fit.

        None where nothing is learned, or where the trajectory is not one of `fit.simulate`.
        """
        return None if self.coverage is None else self.coverage(self)

    @property
    def system(self) -> System:
        """The equations."""
        return self.field.system

    @cached_property
    def values(self) -> Float[np.ndarray, "*trajectory time column"]:
        """States, then observables."""
        if not self.system.observed:
            return self.states
        p = None if self.parameters is None else torch.as_tensor(self.parameters)
        if p is not None and p.ndim > 1:
            p = p[:, None]
        u = torch.as_tensor(np.stack([s(self.times) for s in self.signals])) if self.signals else None
        if u is not None and len(u) == 1:
            u = u[0]
        with torch.no_grad():
            return self.field.observe(torch.tensor(self.times)[:, None], torch.tensor(self.states), p, u).numpy()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns: states, then observables."""
        return tuple(str(symbol) for symbol in (*self.system.states, *self.system.observed))

    @property
    def events(self) -> pd.DataFrame:
        """One row for each event: its index in `system.events`, and the states before any reset; the index is time.

        Of many trajectories, the index is (trajectory, time).
        """
        names, time = [str(x) for x in self.system.states], str(self.system.time)
        if self.occurrences is None:
            return pd.DataFrame(columns=["event", *names], index=pd.Index([], name=time))
        met = self.occurrences
        times = pd.Index(met.times.numpy(), name=time)
        if self.states.ndim > 2:
            times = pd.MultiIndex.from_arrays([met.trajectory, times], names=["trajectory", time])
        return pd.DataFrame(met.states.numpy(), times, names).assign(event=met.event)[["event", *names]]

    def mean(self) -> pd.DataFrame:
        """States and observables over time, averaged over trajectories or paths."""
        return self._over_time(self._several().mean(axis=0))

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """Quantiles over trajectories or paths; the index is (level, time).

        Raises:
            DataError: There is only one trajectory, or a level lies outside of [0, 1].
        """
        if any(not 0 <= level <= 1 for level in levels):
            raise DataError(f"the quantiles {list(levels)} must lie between 0 and 1.")
        values = np.quantile(self._several(), levels, axis=0)
        return pd.concat({level: self._over_time(v) for level, v in zip(levels, values)}, names=["level"])

    def _several(self) -> Float[np.ndarray, "trajectory time column"]:
        if self.states.ndim < 3:
            raise DataError("there is one trajectory only: ask for several, `simulate(..., paths=1000)`.")
        return self.values

    def _over_time(self, values: Float[np.ndarray, "time column"]) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.times, name=str(self.system.time)), columns=self.names)

    def __getitem__(self, name: str | sp.Symbol) -> Float[np.ndarray, "*trajectory time"]:
        """One state or observable over time."""
        self.system.symbol(name)
        return self.values[..., self.names.index(str(name))]

    def to_frame(self) -> pd.DataFrame:
        """States and observables over time; the index is time, or (trajectory, time)."""
        time = pd.Index(self.times, name=str(self.system.time))
        if self.states.ndim == 2:
            return pd.DataFrame(self.values, index=time, columns=self.names)
        index = pd.MultiIndex.from_product([range(len(self.states)), time], names=["trajectory", time.name])
        return pd.DataFrame(self.values.reshape(len(index), -1), index=index, columns=self.names)


def simulate(
    system: System | VectorField,
    ts: Float[np.ndarray, " time"] | Sequence[float],
    *,
    initial: Mapping[sp.Symbol | str, float | Sequence[float]] | None = None,
    parameters: Mapping[sp.Symbol | str, float | Sequence[float]] | None = None,
    inputs: Any = None,
    paths: int | None = None,
    solver: AbstractSolver | AbstractStochasticSolver | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    max_steps: int = 100_000,
    throw: bool = True,
    seed: int = 0,
    backend: str = "auto",
) -> Simulation:
    r"""Solve a System's equations from its initial values.

    A list of values instead of a number, for an initial value or a parameter, makes as many trajectories, which run on
    all cores. In a loop, compile once: `field = sciml.compile(system)`, then `simulate(field, ...)`, whose overhead is some
    50 µs.

    Args:
        system: A System, or a compiled one with the values and weights it has now.
        ts: Output times in the model's unit, strictly monotone; the first is the initial time.
        initial: State -> value, or one value per trajectory, instead of the System's own.
        parameters: Parameter -> value, or one value per trajectory, instead of the System's own.
        inputs: Of a System with `inputs`: a DataFrame whose index is time and whose columns are named like them, or a dict
            of series and numbers; a list of these has one for each trajectory. A step ends where an input is not smooth.
        paths: Of a System with noise: how many, from each set of values.
        solver: Method; `Tsit5()` by default, for a System with noise `stochastic.EulerMaruyama(step=...)` with a thousandth
            of the time as its step.
        rtol, atol: Tolerances of one step.
        max_steps: Steps allowed per trajectory, the rejected ones included.
        throw: Raise when a trajectory fails. Otherwise `status` tells, and its states are NaN from there.
        seed: Of the random weights of networks that have none yet, and of Wiener processes.
        backend: "auto" computes natively where it can and by torch elsewhere (`simulation.backend` says which and why);
            "native" and "torch" insist. A new model compiles in about a second, the first one on a machine in ten.

    Returns:
        States and observables at the times; `.to_frame()` makes a DataFrame of them.

    Raises:
        ModelError: An unknown name, a missing initial value, or `paths` of a System without noise.
        DataError: Times that are not strictly monotone, lists of different lengths, or inputs that do not cover the times.
        SolveError: The solution left the finite numbers, or needed steps too small; time and state are named.

    Example:
        >>> import sympy as sp
        >>> x, k = sp.symbols("x k", real=True)
        >>> decay = System({x: -k * x}, parameters={k: 1.0}, initial={x: 2.0})
        >>> simulate(decay, [0.0, 1.0]).to_frame().round(4)
                  x
        t
        0.0  2.0000
        1.0  0.7358
        >>> simulate(decay, [0.0, 1.0], parameters={k: [1.0, 2.0]})["x"][:, -1].round(4)
        array([0.7358, 0.2707])
    """
    field = system if isinstance(system, VectorField) else compile(system, seed)
    if backend not in ("auto", "native", "torch"):
        raise ModelError(f"backend {backend!r} is not known: use 'auto', 'native' or 'torch'.")
    p, y0 = _values(field, initial or {}, parameters or {})
    times = _times(ts)
    if field.system.noise:
        found = {"paths": paths, "solver": solver, "seed": seed, "backend": backend, "throw": throw}
        states, status, engine, p = stochastic_paths(field, p, y0, times, **found)
        return Simulation(field, times, states, status, engine, p)
    if paths is not None:
        raise ModelError(
            f"`paths={paths}` is for stochastic Systems, and this one has no noise: `System(noise={{x: ...}})`."
        )
    if field.discrete:
        states, status = iterate(field.at(torch.as_tensor(p)), torch.as_tensor(y0), times, solver, throw)
        return Simulation(field, times, states, status, "torch (maps are iterated)", p)
    settings = Settings(solver or Tsit5(), Tolerance(rtol, atol), None, max_steps, None)
    signals = _signals(field.system, inputs, times, len(y0) if y0.ndim > 1 else 1)
    if len(signals) > 1 and y0.ndim == 1:
        y0 = np.broadcast_to(y0, (len(signals), len(y0))).copy()
    reason = "it was asked for" if backend == "torch" else reason_against(field, settings.solver)
    if not math.isfinite(y0.sum()):
        checked_state(torch.as_tensor(y0))
    if reason is not None and (backend == "native" or isinstance(settings.solver, Rodas5P)):
        raise ModelError(
            f"this cannot be simulated natively: {reason}. Use `backend='auto'`, and `Kvaerno5()` if it is stiff."
        )
    compute = natively if reason is None else by_torch
    states, status, failures, occurrences = compute(field, p, y0, times, settings, signals)
    if throw and failures:
        raise SolveError(failure_message(failures, len(np.atleast_2d(y0)), y0.ndim > 1, settings, MAX_RESETS))
    engine = "native" if reason is None else f"torch ({reason})"
    simulation = Simulation(field, times, states, status, engine, p, occurrences, signals)
    if field.system.observed and field.system.learned:
        # Now, before the weights change; parameters are kept as they are.
        simulation.values  # noqa: B018
    return simulation


def _signals(system: System, inputs: Any, times: np.ndarray, count: int) -> tuple[Signals, ...]:
    """The inputs of one or all trajectories, checked."""
    if not system.inputs:
        if inputs is not None:
            raise ModelError("`inputs` were given, but the System declares none: `System(..., inputs=[u])`.")
        return ()
    if inputs is None:
        raise DataError(
            f"the System has inputs, {quoted(system.inputs)}, and none are given. Write `inputs=` with a DataFrame whose "
            "index is time, or a dict of series and numbers."
        )
    span = float(times.min()), float(times.max())
    if isinstance(inputs, tuple) and all(isinstance(given, Signals) for given in inputs):
        return inputs
    if not isinstance(inputs, list | tuple):
        return (read_signals(inputs, system.inputs, span, "inputs"),)
    if count not in (1, len(inputs)) or not inputs:
        raise DataError(f"there are {len(inputs)} sets of inputs for {count} trajectories: give one for each, or one.")
    return tuple(read_signals(given, system.inputs, span, f"inputs[{i}]") for i, given in enumerate(inputs))


def _times(ts: Any) -> Float[np.ndarray, " time"]:
    """Output times, checked; quickly where nothing is wrong."""
    times = np.array(ts, dtype=float)
    if times.ndim == 1 and len(times) and math.isfinite(times[0]) and math.isfinite(times[-1]):
        growing = np.count_nonzero(times[1:] > times[:-1])
        if growing == len(times) - 1 or np.count_nonzero(times[1:] < times[:-1]) == len(times) - 1:
            return times
    return checked_times(torch.as_tensor(times), torch.zeros(1))[0]


def _values(field: VectorField, initial: Mapping, parameters: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Values of all parameters and initial states; rows, where some are given as lists."""
    system = field.system
    p = field.p.detach().numpy().copy()
    if not initial and not parameters:
        return p, field.initial_states(torch.from_numpy(p)).numpy()
    given = _by_symbol(parameters, system.parameters, "parameter")
    starts = _by_symbol(initial, system.equations, "state")
    lengths = {str(name): len(v) for name, v in (given | starts).items() if v.ndim}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{count} of `{name}`" for name, count in lengths.items())
        raise DataError(f"lists of values have different lengths: {text}. Give one value per trajectory, or a number.")
    batch = tuple(set(lengths.values()))
    if given:
        p = np.broadcast_to(p, (*(batch if any(v.ndim for v in given.values()) else ()), len(p))).copy()
        for i, name in enumerate(system.parameters):
            if name in given:
                p[..., i] = given[name]
    y0 = np.zeros(len(system.states))
    if len(starts) < len(system.states):
        y0 = field.initial_states(torch.as_tensor(p), starts).detach().numpy()
    y0 = np.broadcast_to(y0, (*batch, len(system.states))).copy()
    for i, name in enumerate(system.states):
        if name in starts:
            y0[..., i] = starts[name]
    return p, y0


def _by_symbol(values: Mapping, known: Mapping, role: str) -> dict[sp.Symbol, Float[np.ndarray, "*trajectory"]]:
    """Values under the System's own symbols; names are looked up together, as SymPy takes its time to print them."""
    table = {str(symbol): symbol for symbol in known} if any(name not in known for name in values) else {}
    return {
        name if name in known else table.get(str(name)) or checks.lookup(name, known, role): _numbers(name, value)
        for name, value in values.items()
    }


def _numbers(name: Any, value: Any) -> Float[np.ndarray, "*trajectory"]:
    """A number, or a list of them."""
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"the value of `{name}` is {value!r}, which is not a number or a list of numbers.") from error
    if numbers.ndim > 1 or not numbers.size:
        raise DataError(f"the values of `{name}` have shape {numbers.shape}: give a number, or one per trajectory.")
    if not np.isfinite(numbers).all():
        raise DataError(f"the value of `{name}` is `{numbers[~np.isfinite(numbers)][0]}`: give finite numbers.")
    return numbers


def along(
    field: VectorField,
    times: Float[np.ndarray, " time"],
    states: Float[np.ndarray, "time state"],
    parameters: Float[np.ndarray, " parameter"] | None = None,
    signals: tuple[Signals, ...] = (),
) -> Simulation:
    """A trajectory that was computed elsewhere, with the observables along it."""
    return Simulation(field, times, states, parameters=parameters, signals=signals)
