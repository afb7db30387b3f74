"""Where equations meet solvers: simulate a System and read the result by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError, SolveError, quoted
from sciml.lowering.native_backend import native_model
from sciml.lowering.networks import architectures, weights_of
from sciml.lowering.program import lower
from sciml.lowering.slopes import jacobian_expressions
from sciml.lowering.vector_field import VectorField, compile, trained_system
from sciml.native.model import Model
from sciml.native.solve import solve as native_solve
from sciml.solvers import AbstractImplicit, AbstractSolver, Solution, Stats, Status, Tsit5, solve
from sciml.solvers.checks import checked_state, checked_times
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System


@dataclass(frozen=True)
class Simulation:
    """A solution of a System, by name.

    Attributes:
        system: What was simulated.
        solution: Times, states, status and statistics, as solvers give them.
        observed: Values of the System's observables over time, (time, observable).
    """

    system: System
    solution: Solution
    observed: Float[Tensor, "time observable"]

    @property
    def times(self) -> Float[np.ndarray, " time"]:
        return self.solution.ts.detach().cpu().numpy()

    @property
    def values(self) -> Float[np.ndarray, "time column"]:
        """States, then observables."""
        return torch.cat([self.solution.ys, self.observed], -1).detach().cpu().numpy()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns: states, then observables."""
        return tuple(str(symbol) for symbol in (*self.system.states, *self.system.observed))

    def __getitem__(self, name: str | sp.Symbol) -> Float[np.ndarray, " time"]:
        """One state or observable over time."""
        self.system.symbol(name)
        return self.values[:, self.names.index(str(name))]

    def to_frame(self) -> pd.DataFrame:
        """States and observables over time; the index is time."""
        return pd.DataFrame(self.values, index=pd.Index(self.times, name=str(self.system.time)), columns=self.names)


def simulate(
    system: System | VectorField,
    ts: Float[np.ndarray, " time"] | Sequence[float],
    *,
    initial: Mapping[sp.Symbol | str, float] | None = None,
    parameters: Mapping[sp.Symbol | str, float] | None = None,
    solver: AbstractSolver | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    max_steps: int = 100_000,
    seed: int = 0,
    backend: str = "auto",
) -> Simulation:
    r"""Solve a System's equations from its initial values.

    Args:
        system: A System, or a compiled one with the values and weights it has now.
        ts: Output times in the model's unit, strictly monotone; the first is the initial time.
        initial: State -> value, instead of the System's own.
        parameters: Parameter -> value, instead of the System's own.
        solver: Method; `Tsit5()` by default.
        rtol, atol: Tolerances of one step.
        max_steps: Steps allowed, the rejected ones included.
        seed: Of the random weights of networks that have none yet.
        backend: "native" compiles the model first, which takes a second or two when it is new; "torch" does not; "auto"
            compiles only for `Kvaerno3` and `Kvaerno5`, which are hundreds of times faster that way.

    Returns:
        States and observables at the times; `.to_frame()` makes a DataFrame of them.

    Raises:
        ModelError: An unknown name, a missing initial value, or diffusion terms (`noise`), which are not solved yet.
        DataError: Times that are not strictly monotone.
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
    """
    model = trained_system(system) if isinstance(system, VectorField) else system
    if parameters:
        model = model.with_parameters({name: _number(name, value) for name, value in parameters.items()})
    if initial:
        model = model.with_initial({name: _number(name, value) for name, value in initial.items()})
    if model.noise:
        raise ModelError(
            f"{quoted(model.noise)} has a diffusion term: stochastic systems are not solved yet. For the deterministic "
            "part use `dataclasses.replace(system, noise={})`."
        )
    field = compile(model, seed)
    times = torch.tensor(np.asarray(ts, dtype=float))
    solver = solver or Tsit5()
    if backend not in ("auto", "native", "torch"):
        raise ModelError(f"backend {backend!r} is not known: use 'auto', 'native' or 'torch'.")
    stiff = isinstance(solver, AbstractImplicit) and solver.adaptive
    if backend == "native" or (backend == "auto" and stiff and _compiles(field)):
        return along(field, times.numpy(), _native_states(field, times, solver, rtol, atol, max_steps))
    with torch.no_grad():
        y0 = field.initial
        solution = solve(field, y0, times, solver=solver, rtol=rtol, atol=atol, max_steps=max_steps)
        everything = field.observe(times.unsqueeze(-1), solution.ys)
    return Simulation(model, solution, everything[:, len(model.states) :])


def _native_states(
    field: VectorField, times: Float[Tensor, " time"], solver: AbstractSolver, rtol: float, atol: float, max_steps: int
) -> Float[np.ndarray, "time state"]:
    """States of a compiled model over time.

    Raises:
        ModelError: The model or the method has no native form.
        SolveError: The trajectory failed.
    """
    if solver.step is not None:
        raise ModelError(f"the solver {solver!r} is not native; adaptive `Tsit5()` and `Kvaerno5()`, for example, are.")
    model = _native_model(field, stiff=isinstance(solver, AbstractImplicit))
    y0 = checked_state(field.initial.detach())
    checked_times(times, y0)
    p = np.concatenate([field.p.detach().numpy(), *(weights_of(network) for network in field.networks)])
    options = {"tableau": solver.tableau, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    found = native_solve(model, p, y0.numpy(), times.numpy(), **options)
    if found.status.any():
        raise SolveError(
            f"the solution stopped at t = {found.reached[0]:.6g} after {found.steps[0]} steps with "
            f"`{type(solver).__name__}`: the steps became too small or too many, or the numbers not finite."
        )
    return found.states[0]


def _native_model(field: VectorField, stiff: bool) -> Model:
    programs = {"field": field.program}
    if stiff:
        programs["jacobian"] = lower(field.system, jacobian_expressions(field.system))
    return native_model(programs, architectures(field.networks), free=0)


def _compiles(field: VectorField) -> bool:
    """Whether a stiff solve of this model has a native form; torch takes what has none."""
    try:
        _native_model(field, stiff=True)
    except ModelError:
        return False
    return True


def along(field: VectorField, times: Float[np.ndarray, " time"], states: Float[np.ndarray, "time state"]) -> Simulation:
    """A trajectory that was computed elsewhere, with the observables along it."""
    ts, ys = torch.tensor(times, dtype=torch.float64), torch.tensor(states)
    with torch.no_grad():
        everything = field.observe(ts.unsqueeze(-1), ys)
    solution = Solution(ts, ys, (Status.SUCCESS,), Stats((0,), (0,), 0))
    return Simulation(field.system, solution, everything[:, len(field.system.states) :])


def _number(name: Any, value: Any) -> float | Parameter:
    if isinstance(value, Parameter):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"the value of `{name}` is {value!r}, which is not a number.") from error
    if not np.isfinite(number):
        raise DataError(f"the value of `{name}` is `{number}`: give a finite number.")
    return number
