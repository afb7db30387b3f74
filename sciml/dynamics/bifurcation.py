"""What a system settles on as a parameter changes: the data of a bifurcation diagram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
from jaxtyping import Float

from sciml.dynamics.evolution import Analyzed, Evolution, Map, names_of
from sciml.dynamics.sections import poincare_section, surface_of
from sciml.errors import DataError, ModelError, SolveError
from sciml.event import Event
from sciml.lowering.vector_field import VectorField, compile, trained_system
from sciml.simulation import simulate
from sciml.symbolic import checks
from sciml.symbolic.system import System


def bifurcation_sweep(
    analyzed: System | VectorField | Callable[[float], Analyzed],
    parameter: sp.Symbol | str,
    values: Sequence[float],
    *,
    transient: float,
    duration: float,
    section: sp.Expr | Callable[[Any, Any], Any] | None = None,
    direction: str = "falling",
    y0: Any = None,
    decimals: int | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-7,
) -> pd.DataFrame:
    r"""What a system settles on, for each value of a parameter: the data of a bifurcation diagram.

    A map shows its states after the transient; a flow its passages through a section, by default the maxima of its first
    state, :math:`\dot y_1 = 0` falling. Every value starts from the same state, so of several attractors one is seen.

    Args:
        analyzed: A System (flow or map) or its compiled field; or a function from the parameter's value to whatever can
            be analyzed, such as `lambda g: Map(lambda x: torch.tanh(g * x))`.
        parameter: Which parameter is varied; for a function its name in the table.
        values: Its values.
        transient: Time, or steps, that are not shown.
        duration: Time, or steps, that are.
        section: Surface of a flow: an expression of states that passes through zero, or for a torch callable a function
            `(t, y)`; its maxima are those of the first state when None.
        direction: In which it passes.
        y0: Initial state, by name for a System, whose own it is when None.
        decimals: Round states to this many decimals and drop repetitions, which leaves one row for each branch.
        rtol, atol: Tolerances of a flow.

    Returns:
        One row for each state shown: the parameter, then the states. A value whose trajectory escapes has none.

    Raises:
        ModelError: The parameter is not one of the System's, or the section not an expression of its states.
        DataError: The values are not finite numbers, or a torch callable has no `y0`.

    Example:
        >>> from sciml import models
        >>> frame = bifurcation_sweep(models.logistic_map(), "r", [2.8, 3.2], transient=500, duration=64, decimals=4)
        >>> frame.groupby("r")["x"].apply(list).to_dict()
        {2.8: [0.6429], 3.2: [0.513, 0.7995]}
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise DataError(f"`values` of `{parameter}` must be a list of finite numbers.")
    if not (duration > 0 and transient >= 0):
        raise DataError(f"`duration={duration}` must be positive and `transient={transient}` not negative.")
    if isinstance(analyzed, Map):
        raise ModelError("a `Map` has no parameters: give a function of one, `lambda a: Map(lambda y: ...)`.")
    settling = _Settling(transient, duration, section, direction, y0, rtol, atol)
    if isinstance(analyzed, System | VectorField):
        frame = settling.of_system(analyzed, parameter, numbers)
    else:
        rows = [settling.of_one(analyzed(value)).assign(**{str(parameter): value}) for value in numbers.tolist()]
        frame = pd.concat(rows, ignore_index=True)
        frame = frame[[str(parameter), *frame.columns.drop(str(parameter))]]
    if decimals is not None:
        frame = frame.round(dict.fromkeys(frame.columns[1:], decimals)).drop_duplicates()
    return frame.sort_values(list(frame.columns), ignore_index=True)


@dataclass(frozen=True)
class _Settling:
    """How long to wait, how long to look, and at what."""

    transient: float
    duration: float
    section: Any
    direction: str
    y0: Any
    rtol: float
    atol: float

    def of_system(
        self, analyzed: System | VectorField, parameter: sp.Symbol | str, values: Float[np.ndarray, " value"]
    ) -> pd.DataFrame:
        """All values of a System's parameter, side by side."""
        system = trained_system(compile(analyzed) if isinstance(analyzed, System) else analyzed)
        symbol = checks.lookup(parameter, system.parameters, "parameter")
        names = [str(x) for x in system.states]
        varied = {"initial": self.y0, "parameters": {symbol: values}, "throw": False}
        if system.discrete:
            steps = self._steps()
            path = simulate(system, [0, *steps] if steps[0] else steps, **varied).states[:, -len(steps) :]
            frame = pd.DataFrame(path.reshape(-1, len(names)), columns=names)
            frame.insert(0, str(symbol), np.repeat(values, len(steps)))
            return frame.dropna()
        condition = next(iter(system.equations.values())) if self.section is None else self.section
        watched = replace(system, observed={}, events=[Event(surface_of(condition, system), direction=self.direction)])
        times = [0.0, self.transient + self.duration]
        met = simulate(watched, times, rtol=self.rtol, atol=self.atol, **varied).events.reset_index()
        met = met[met[str(system.time)] >= self.transient]
        frame = met[names].copy()
        frame.insert(0, str(symbol), values[met["trajectory"].to_numpy()])
        return frame

    def of_one(self, analyzed: Analyzed) -> pd.DataFrame:
        """One map or flow."""
        evolution = Evolution.of(analyzed)
        row = evolution.starts(self.y0)[0]
        if evolution.discrete:
            steps = self._steps()
            try:
                path = Map(evolution.function, counted=True).path(row, steps[-1])[steps.start :]
            except SolveError:  # it escaped: no rows, as of a System
                path = row.reshape(1, -1)[:0]
            return pd.DataFrame(path.numpy(), columns=list(names_of(evolution, len(row))))
        section = self.section or (lambda t, y: evolution.function(t, y)[..., 0])
        found = poincare_section(
            analyzed,
            section,
            row,
            duration=self.duration,
            transient=self.transient,
            direction=self.direction,
            rtol=self.rtol,
            atol=self.atol,
        )
        return found.reset_index(drop=True)

    def _steps(self) -> range:
        return range(int(self.transient), int(self.transient) + int(self.duration))
