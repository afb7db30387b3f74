"""The loss as one native call: equations, likelihood, priors and their exact gradient in machine code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import nn

from sciml.engines import NATIVE
from sciml.errors import ModelError
from sciml.lowering.event_programs import event_kinds, event_programs
from sciml.lowering.native_backend import FIRST, jacobian_program
from sciml.lowering.native_model import native_model
from sciml.lowering.networks import architectures
from sciml.lowering.program import Program, lower
from sciml.measurement.coordinates import Coordinates, Prior, Transform
from sciml.measurement.measured import Measured
from sciml.measurement.projection import projections
from sciml.measurement.shots import Shot
from sciml.measurement.torch_evaluator import initial_expressions, measured_expressions
from sciml.native import loss as native
from sciml.native.meter import Meter, meter, scalar_seconds, seconds_of
from sciml.native.model import Model
from sciml.native.resets import EVENT
from sciml.native.scorer import Priors, Scorer
from sciml.native.solve import Integrator
from sciml.native.transforms import EXP, IDENTITY, LOGIT
from sciml.signals import Signals
from sciml.solvers import Direct, Rodas5P
from sciml.symbolic.distributions import LogNormal, Normal

MANY = 32
"""From this number of shots on they are spread over threads; fewer do not repay waking them."""


def compiled(problem: Measured, networks: Iterable[nn.Module]) -> Model:
    """Native code for everything in the loss.

    Raises:
        ModelError: What in the problem has no native form.
    """
    solver = problem.solver
    try:
        if not isinstance(solver, NATIVE) or solver.step is not None:
            raise ModelError(
                f"the solver {solver!r} is not native; adaptive `Tsit5()` and `Rodas5P()`, for example, are"
            )
        if not isinstance(problem.gradients, Direct):
            raise ModelError(f"gradients by {problem.gradients!r} are not native; `Direct()` is")
        reverse = [
            "field",
            "observables",
            "initial",
            "conditions",
            "resets",
            *(["jacobian"] if isinstance(solver, Rodas5P) else []),
        ]
        if problem.orthogonal and problem.system.events:
            raise ModelError("`Orthogonal` beside events is not native")
        events, states = event_kinds(problem.system), len(problem.system.states)
        return native_model(programs(problem), architectures(networks), states, reverse, events)
    except ModelError as error:
        if isinstance(solver, Rodas5P):
            name = type(solver).__name__
            raise ModelError(
                f"`{name}` is native only, and this problem cannot be computed natively: {error}."
            ) from error
        raise


def programs(problem: Measured) -> dict[str, Program]:
    """Right-hand side, measured quantities and initial states."""
    system = problem.system
    given = initial_expressions(problem)
    result = {
        "field": lower(system, system.equations.values()),
        "observables": lower(system, measured_expressions(problem)),
        **event_programs(system, differentiable=True),
    }
    if problem.solver.tableau.gamma > 0.0:
        result["jacobian"] = jacobian_program(system)
    if given != list(system.states):
        mixed = [x if e == x else FIRST * e + (1 - FIRST) * x for x, e in zip(system.states, given)]
        result["initial"] = lower(system, mixed)
    return result


def _table(problem: Measured, shot: Shot) -> np.ndarray:
    """The constant and the inputs of a shot."""
    signals = problem.experiments[shot.experiment].signals
    return np.array([[float(shot.first)]]) if signals is None else signals.table(float(shot.first))


class NativeEvaluator:
    """The loss of some shots, compiled.

    Args:
        problem: Equations and measurements.
        shots: Trajectories to solve.
        prices: For each shot, what a penalty's squared violation costs at each of its times.
        model: Native code for the problem, from `compiled`.
        coordinates: What is free.
        places: Where the value of each coordinate goes among the parameters and weights of each set in turn, and the
            starts of all shots.
        numbers: Values of parameters (one row per set), weights and starts where nothing is free.
    """

    def __init__(
        self,
        problem: Measured,
        shots: Sequence[Shot],
        prices: Sequence[np.ndarray],
        model: Model,
        coordinates: Coordinates,
        places: Int[np.ndarray, " theta"],
        numbers: tuple[np.ndarray, np.ndarray, np.ndarray],
    ):
        states = len(problem.system.states)
        self._problem, self._model, self._all = problem, model, coordinates
        free = self._coordinates(coordinates, places)
        weights = np.array([penalty.weight for penalty in problem.inequalities])
        self._projections, self._prices = projections(problem), np.concatenate(prices)
        # What an `Orthogonal` costs is written over before each evaluation, see `projection`.
        products = sum(one.outputs.stop - one.outputs.start for one in self._projections)
        priced = [np.hstack([price[:, None] * weights, np.zeros((len(price), products))]) for price in prices]
        if problem.cost is not None:
            priced = [np.column_stack([price, np.append(np.full(len(price) - 1, np.nan), 1.0)]) for price in priced]
        trajectories = [
            native.Shot(
                times=shot.times,
                data=np.hstack([shot.values, price]),
                levels=np.hstack([shot.levels, np.ones_like(price)]) if problem.levels else None,
                start=shot.times[0],
                free=k * states,
                inputs=_table(problem, shot),
                next=-1 if shot.last else k + 1,
                block=shot.experiment if problem.individual else 0,
            )
            for k, (shot, price) in enumerate(zip(shots, priced))
        ]
        count = len(problem.columns)
        columns = [
            native.Column(likelihood.native, k, count + k, likelihood.constant)
            for k, likelihood in enumerate(problem.densities)
        ]
        columns += [native.Column("penalty", 2 * count + k) for k in range(len(weights))]
        columns += [native.Column("cost", 2 * count + len(weights) + k) for k in range(products)]
        if problem.cost is not None:
            columns.append(native.Column("cost", 2 * count + len(weights)))
        self._continuity = 0.0
        self._loss = native.Loss(
            model,
            trajectories,
            columns,
            free,
            np.concatenate([*(np.concatenate([row, numbers[1]]) for row in numbers[0]), numbers[2].ravel()]),
            tableau=problem.solver.tableau,
            rtol=problem.rtol,
            atol=problem.atol,
            logarithmic=np.array(problem.positive),
            max_steps=problem.max_steps,
            parallel=len(shots) >= MANY,
            individual=problem.individual,
        )

    @property
    def ended(self) -> bool:
        """Whether a terminal event came before the last measurement at the vector that was tried last."""
        return bool((self._loss.shots["status"] == EVENT).any())

    def trajectory(
        self,
        parameters: np.ndarray,
        weights: np.ndarray,
        start: np.ndarray,
        times: np.ndarray,
        signals: Signals | None,
    ) -> Float[np.ndarray, "time state"] | None:
        """States over time from one initial state; None where they could not be computed."""
        problem = self._problem
        p = np.concatenate([parameters, weights])
        integrator = Integrator(self._model, problem.solver.tableau, problem.rtol, problem.atol)
        found = integrator(p, start, times, inputs=[] if signals is None else [signals.table()])
        return None if found.status.any() else found.states[0]

    def meter(self, vector: Float[np.ndarray, " theta"]) -> Meter | None:
        """What the parts of one evaluation take on one thread; penalties are priced by themselves."""
        first, projecting = len(self._problem.columns), 0.0
        if self._projections:
            self._project(vector)
            projecting = seconds_of(lambda count: [self._project(vector) for _ in range(count)])
        found = meter(self._loss, vector, range(first, self._loss.task.arrays["data"].shape[1]))
        if found is None:
            return None
        total, compared, priced = (x + projecting for x in (found.total, found.compared, found.priced))
        return replace(found, total=total, compared=compared, priced=priced)

    def _project(self, vector: Float[np.ndarray, " theta"]) -> bool:
        """Price the products of every `Orthogonal` at this vector; False where the equations cannot be solved."""
        outputs = 2 * len(self._problem.columns) + len(self._loss.columns) - len(self._problem.columns)
        found = self._loss.linearize(vector, np.zeros((len(self._prices), outputs), dtype=bool))
        if found is None or not np.isfinite(found[0]).all():
            return False
        shift = len(self._problem.columns)
        for one in self._projections:
            prices = one.prices(self._prices @ found[0][:, one.outputs])
            where = slice(one.outputs.start - shift, one.outputs.stop - shift)
            self._loss.task.arrays["data"][:, where] = self._prices[:, None] * prices
        return True

    def scalar_seconds(self, model: Model | None, role: str) -> dict[str, float]:
        """Seconds of one call of a routine's parts, of another model with the same parameters or of its own."""
        return scalar_seconds(self._model if model is None else model, role, self._loss)

    def scorer(self, limits: float = np.inf) -> Scorer:
        """Descents by scoring over some of the coordinates; free noise levels without a prior are profiled.

        Args:
            limits: Largest size of a prediction, in units of the largest measurement of its column.
        """
        coordinates, problem = self._all, self._problem
        if isinstance(problem.solver, Rodas5P):
            raise ModelError("`Rodas5P()` has no forward sensitivities: use `Kvaerno5()` in its place.")
        if self._projections:
            raise ModelError("scoring over some coordinates does not know `Orthogonal`: leave the penalty out.")
        if np.isfinite(coordinates.freedom).any():
            raise ModelError("priors with Student's t are not taken by scoring over some coordinates: use `Normal`.")
        free = {place: k for k, place in enumerate(self._loss.places)}
        symbols = {x: free.get(i, -1) for i, x in enumerate(problem.system.parameters)}
        noise = [symbols.get(scale, -1) for scale in problem.scales]
        closed = [isinstance(problem.likelihoods[column], Normal | LogNormal) for column in problem.columns]
        noise = [k if k >= 0 and c and coordinates.prior[k] == Prior.NONE else -1 for k, c in zip(noise, closed)]
        noise += [-1] * len(problem.penalties)
        most = [
            max(np.nanmax(np.abs(e.column(c))) for e in problem.experiments if e.measures(c)) for c in problem.columns
        ]
        bounds = np.concatenate([limits * np.array(most), np.full(len(most) + len(problem.penalties), np.inf)])
        priors = Priors(coordinates.prior, coordinates.center, coordinates.precision)
        return Scorer(self._loss, priors, noise, bounds)

    def linearize(
        self, vector: Float[np.ndarray, " theta"], wanted: Bool[np.ndarray, "row output"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Predictions of all rows, gaps, and the Jacobian of those wanted and of the gaps, by the free coordinates."""
        found = self._loss.linearize(vector, wanted)
        if found is None:
            return None
        predicted, gaps, jacobian = found
        units = np.where(self._problem.positive, 1.0, self._problem.sizes)
        jacobian[len(jacobian) - gaps.size :] /= np.tile(units, len(gaps))[:, None]
        return predicted, gaps / units, jacobian

    def _coordinates(self, coordinates: Coordinates, places: np.ndarray) -> native.Coordinates:
        """Transforms and those priors that are Gaussian in the free coordinates; NumPy adds the others."""
        cases = [coordinates.transform == code for code in Transform]
        zero, one = np.zeros(len(coordinates)), np.ones(len(coordinates))
        a = np.select(cases, [zero, coordinates.lower, coordinates.upper, coordinates.lower])
        b = np.select(cases, [coordinates.scale, one, -one, coordinates.upper - coordinates.lower])
        scaled = (coordinates.prior == Prior.VALUE) & (coordinates.transform == Transform.SCALED)
        scaled &= np.isinf(coordinates.freedom)
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
        if self._projections and not self._project(vector):
            return np.inf, np.zeros_like(vector)
        value, gradient = self._loss(vector)
        if len(self._others) and np.isfinite(value):
            values, slopes = self._other_priors.values(vector[self._others])
            penalty, derivative = self._other_priors.penalty(values)
            value += penalty
            gradient[self._others] += derivative * slopes
        return value, gradient
