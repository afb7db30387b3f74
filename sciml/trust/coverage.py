"""Which region of its inputs each learned function has seen during a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import sympy as sp
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from sciml.simulation import Simulation
from sciml.symbolic.system import System

REACH = 0.1
"""A point counts as seen if a visited one is as near, in units of the ranges that were visited."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The inputs that one call of a learned function was given along the fitted trajectories.

    Attributes:
        call: As the user wrote it.
        points: The inputs, a row each.
    """

    call: str
    arguments: tuple[str, ...]
    points: Float[np.ndarray, "point argument"]

    @property
    def low(self) -> Float[np.ndarray, " argument"]:
        """Smallest inputs."""
        return self.points.min(axis=0)

    @property
    def high(self) -> Float[np.ndarray, " argument"]:
        """Largest inputs."""
        return self.points.max(axis=0)

    @cached_property
    def _tree(self) -> tuple[np.ndarray, cKDTree]:
        width = np.where(self.high > self.low, self.high - self.low, np.maximum(np.abs(self.high), 1e-300))
        return width, cKDTree(self.points / width)

    def covers(self, points: Float[np.ndarray, "point argument"], reach: float = REACH) -> Bool[np.ndarray, " point"]:
        """Whether each point is near one that was visited."""
        width, tree = self._tree
        finite = np.isfinite(points).all(axis=1)
        found = np.zeros(len(points), dtype=bool)
        found[finite] = tree.query(points[finite] / width)[0] <= reach * np.sqrt(points.shape[1])
        return found

    @property
    def share(self) -> float:
        """How much of the box between smallest and largest inputs is near a visited point."""
        box = np.random.default_rng(0).uniform(self.low, self.high, (2000, len(self.low)))
        return float(self.covers(box).mean())

    def __str__(self) -> str:
        ranges = [f"{a} from {x:.4g} to {y:.4g}" for a, x, y in zip(self.arguments, self.low, self.high)]
        rest = "" if len(ranges) == 1 else f"; {self.share:.0%} of that box is near a visited point"
        return f"`{self.call}` has seen {', '.join(ranges)}{rest}"


@dataclass(frozen=True, eq=False)
class Coverage:
    """What all learned functions of a fit have seen.

    Attributes:
        seen: One entry for each call in the equations.
    """

    system: System
    seen: tuple[Seen, ...]

    @classmethod
    def of(cls, simulations: Sequence[Simulation]) -> Coverage:
        """That of trajectories of one System."""
        system = simulations[0].system
        parts = [_arguments(simulation) for simulation in simulations]
        calls = list(parts[0])
        seen = []
        for call in calls:
            points = np.concatenate([part[call] for part in parts])
            seen.append(Seen(str(call), tuple(map(str, call.args)), points[np.isfinite(points).all(axis=1)]))
        return cls(system, tuple(seen))

    def outside(self, simulation: Simulation) -> pd.DataFrame:
        """For each time and call, whether a trajectory asks the function for what it has not seen."""
        arguments = {str(call): points for call, points in _arguments(simulation).items()}
        columns = {seen.call: ~seen.covers(arguments[seen.call]) for seen in self.seen}
        return pd.DataFrame(columns, index=pd.Index(simulation.times, name=str(self.system.time)))


def _arguments(simulation: Simulation) -> dict[sp.Expr, np.ndarray]:
    """For each call of a learned function, its arguments along a trajectory."""
    system, times = simulation.system, simulation.times
    inputs = simulation.signals[0](times) if simulation.signals else np.zeros((len(times), 0))
    values = simulation.field.p.detach().numpy() if simulation.parameters is None else simulation.parameters
    symbols = [*system.states, system.time, *system.inputs, *system.parameters]
    columns = [*simulation.states.T, times, *inputs.T, *values]
    found = {}
    for function in system.functions:
        for call in sorted(system.calls(function), key=str):
            rows = [sp.lambdify(symbols, argument)(*columns) for argument in call.args]
            found[call] = np.stack([np.broadcast_to(np.asarray(row, dtype=float), times.shape) for row in rows], axis=1)
    return found
