"""The loss as one native call: equations, likelihood, priors and their exact gradient in machine code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import nn

from sciml.errors import ModelError
from sciml.lowering.native_backend import jacobian_expressions, native_model
from sciml.lowering.networks import architectures
from sciml.lowering.program import Program, lower, slot
from sciml.measurement.coordinates import Coordinates, Prior, Transform
from sciml.measurement.measured import Measured
from sciml.measurement.shots import Shot
from sciml.measurement.torch_evaluator import initial_expressions, measured_expressions
from sciml.native import loss as native
from sciml.native.solve import solve
from sciml.native.transforms import EXP, IDENTITY, LOGIT
from sciml.solvers import Direct, Dopri5, Dopri8, Kvaerno5, Tsit5
from sciml.symbolic.declarations import LogNormal

FIRST = slot("u", 0)
"""1 for a shot that starts at its experiment's initial value, 0 for one that starts at a node."""

MANY = 32
"""From this number of shots on they are spread over threads; fewer do not repay waking them."""


def reason_against(problem: Measured, networks: Iterable[nn.Module]) -> str | None:
    """Why the native engine cannot take this problem, or None."""
    reason = _reason(problem, networks)
    if reason is not None and isinstance(problem.solver, Kvaerno5):
        raise ModelError(f"`Kvaerno5` is native only for now, and this problem cannot be computed natively: {reason}.")
    return reason


def _reason(problem: Measured, networks: Iterable[nn.Module]) -> str | None:
    if problem.system.events:
        return "`System(events=...)` is not native"
    if not isinstance(problem.solver, Tsit5 | Dopri5 | Dopri8 | Kvaerno5) or problem.solver.step is not None:
        return f"the solver {problem.solver!r} is not native; `Tsit5()`, `Dopri5()`, `Dopri8()` and `Kvaerno5()` are"
    if not isinstance(problem.gradients, Direct):
        return f"gradients by {problem.gradients!r} are not native; `Direct()` is"
    try:
        native_model(programs(problem), architectures(networks), free=len(problem.system.states))
    except ModelError as error:
        return str(error)
    return None


def programs(problem: Measured) -> dict[str, Program]:
    """Right-hand side, measured quantities and initial states."""
    system = problem.system
    given = initial_expressions(problem)
    result = {
        "field": lower(system, system.equations.values()),
        "observables": lower(system, measured_expressions(problem)),
    }
    if isinstance(problem.solver, Kvaerno5):
        result["jacobian"] = lower(system, jacobian_expressions(system))
    if given != list(system.states):
        mixed = [x if e == x else FIRST * e + (1 - FIRST) * x for x, e in zip(system.states, given)]
        result["initial"] = lower(system, mixed)
    return result


class NativeEvaluator:
    """The loss of some shots, compiled.

    Args:
        problem: Equations and measurements.
        shots: Trajectories to solve.
        networks: Their learned terms, for widths and activations.
        coordinates: What is free.
        places: Where the value of each coordinate goes among all parameters, all weights, and the starts of all shots.
        numbers: Values of these three where nothing is free.
    """

    def __init__(
        self,
        problem: Measured,
        shots: Sequence[Shot],
        networks: Iterable[nn.Module],
        coordinates: Coordinates,
        places: Int[np.ndarray, " theta"],
        numbers: tuple[np.ndarray, np.ndarray, np.ndarray],
    ):
        states = len(problem.system.states)
        model = native_model(programs(problem), architectures(networks), free=states)
        self._problem, self._model = problem, model
        free = self._coordinates(coordinates, places)
        trajectories = [
            native.Shot(
                times=shot.times,
                data=shot.values,
                start=shot.times[0],
                free=k * states,
                inputs=np.array([float(shot.first)]),
                next=-1 if shot.last else k + 1,
            )
            for k, shot in enumerate(shots)
        ]
        count = len(problem.columns)
        columns = [
            native.Column("lognormal" if isinstance(problem.likelihoods[c], LogNormal) else "normal", k, count + k)
            for k, c in enumerate(problem.columns)
        ]
        self._continuity = 0.0
        self._loss = native.Loss(
            model,
            trajectories,
            columns,
            free,
            np.concatenate([part.ravel() for part in numbers]),
            tableau=problem.solver.tableau,
            rtol=problem.rtol,
            atol=problem.atol,
            logarithmic=np.array(problem.positive),
            max_steps=problem.max_steps,
            parallel=len(shots) >= MANY,
        )

    def trajectory(
        self, parameters: np.ndarray, weights: np.ndarray, start: np.ndarray, times: np.ndarray
    ) -> Float[np.ndarray, "time state"] | None:
        """States over time from one initial state; None where they could not be computed."""
        problem = self._problem
        p = np.concatenate([parameters, weights])
        options = {"rtol": problem.rtol, "atol": problem.atol, "tableau": problem.solver.tableau}
        found = solve(self._model, p, start, times, inputs=np.ones(1), **options)
        return None if found.status.any() else found.states[0]

    def _coordinates(self, coordinates: Coordinates, places: np.ndarray) -> native.Coordinates:
        """Transforms and those priors that are Gaussian in the free coordinates; NumPy adds the others."""
        cases = [coordinates.transform == code for code in Transform]
        zero, one = np.zeros(len(coordinates)), np.ones(len(coordinates))
        a = np.select(cases, [zero, coordinates.lower, coordinates.upper, coordinates.lower])
        b = np.select(cases, [coordinates.scale, one, -one, coordinates.upper - coordinates.lower])
        scaled = (coordinates.prior == Prior.VALUE) & (coordinates.transform == Transform.SCALED)
        logarithmic = (coordinates.prior == Prior.LOGARITHM) & (coordinates.transform == Transform.ABOVE)
        logarithmic &= coordinates.lower == 0.0
        gaussian = scaled | logarithmic
        self._others = np.flatnonzero((coordinates.prior != Prior.NONE) & ~gaussian)
        self._other_priors = coordinates.at(self._others)
        unit = np.where(scaled, coordinates.scale, 1.0)
        return native.Coordinates(
            places=places,
            codes=np.select(cases, [IDENTITY, EXP, EXP, LOGIT]),
            a=a,
            b=b,
            mean=np.where(gaussian, coordinates.center / unit, 0.0),
            precision=np.where(gaussian, coordinates.precision * unit**2, 0.0),
        )

    def __call__(self, vector: Float[np.ndarray, " theta"], continuity: float) -> tuple[float, np.ndarray]:
        """Value and gradient; `inf` and zeros where the equations cannot be solved."""
        if continuity != self._continuity:
            self._continuity = continuity
            self._loss.set_continuity(continuity * np.where(self._problem.positive, 1.0, self._problem.sizes**-2.0))
        value, gradient = self._loss(vector)
        if len(self._others) and np.isfinite(value):
            values, slopes = self._other_priors.values(vector[self._others])
            penalty, derivative = self._other_priors.penalty(values)
            value += penalty
            gradient[self._others] += derivative * slopes
        return value, gradient
