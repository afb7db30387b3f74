"""The negative log-posterior over shots, as a function of one flat vector of free coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciml.errors import ModelError
from sciml.lowering.networks import build_network, decayed, weights_of
from sciml.lowering.vector_field import compile
from sciml.measurement.coordinates import Coordinates
from sciml.measurement.experiment import Experiment
from sciml.measurement.measured import Measured
from sciml.measurement.native_evaluator import NativeEvaluator, compiled
from sciml.measurement.shots import cut
from sciml.measurement.stochastic_evaluator import StochasticEvaluator
from sciml.measurement.torch_evaluator import Rates, TorchEvaluator
from sciml.native.scorer import Scorer
from sciml.solvers import Rodas5P
from sciml.symbolic.declarations import MLP, Parameter


class Loss:
    r"""Negative log-posterior, plus a price for gaps between consecutive shots.

    .. math:: L(\theta) = -\log p(y \mid \theta) - \log p(\theta)
              + \tfrac{\rho}{2} \sum_k \left\| (x_k(t_{k+1}) - x_{k+1}) / s \right\|^2

    The vector holds, in this order: free parameters that all experiments share, those that each experiment has of its own
    (one after another, the experiments of each together), weights of the networks, free initial values, and (with more
    than one interval) the states at the inner nodes. Its beginning is thus the vector of single shooting.

    Args:
        problem: The System and the measurements.
        intervals: Number of shots per experiment.
        experiments: Other measurements of the same experiments, such as those that were held out.
        penalized: Whether penalties count.
    """

    def __init__(
        self,
        problem: Measured,
        intervals: int = 1,
        experiments: Sequence[Experiment] | None = None,
        penalized: bool = True,
    ):
        self.problem = problem
        experiments = problem.experiments if experiments is None else experiments
        shots = cut(experiments, intervals)
        if problem.penalties:
            shots = tuple(shot.refined(max(penalty.points for penalty in problem.penalties)) for shot in shots)
        self.shots = shots
        durations = [experiment.times[-1] - experiment.times[0] for experiment in experiments]
        self.prices = [penalized * shot.weights / durations[shot.experiment] for shot in shots]
        system = problem.system
        self.field = compile(system)
        declared = list(system.parameters.values())
        count = len(problem.experiments)
        individual = list(problem.individual)
        shared = [i for i, p in enumerate(declared) if not p.fixed and i not in individual]
        self._values = np.tile([p.value for p in declared], (count if individual else 1, 1))
        # Where the values of the free parameters go: which sets, and which column.
        self._sets = np.array([0] * len(shared) + [e for _ in individual for e in range(count)], int)
        self._free = np.array(shared + [i for i in individual for _ in range(count)], int)
        self._shared = np.array(shared, int)
        networks = list(zip(system.learned.values(), self.field.networks))
        weights = [Coordinates.of_weights(self._decay(mlp, network)) for mlp, network in networks]
        first = {shot.experiment: k for k, shot in enumerate(self.shots) if shot.first}
        inner = [k for k, shot in enumerate(self.shots) if not shot.first]
        states = len(system.states)
        self._rows = np.array(
            [first[s.experiment] for s in problem.starts] + [k for k in inner for _ in range(states)], int
        )
        self._columns = np.array([s.state for s in problem.starts] + [i for _ in inner for i in range(states)], int)
        parts = [
            Coordinates.of_parameters(declared[i] for i in self._free),
            *weights,
            Coordinates.of_parameters([s.parameter for s in problem.starts], [s.scale for s in problem.starts]),
            Coordinates.of_parameters(self._nodes(), list(problem.sizes) * len(inner)),
        ]
        self.coordinates = Coordinates.joined(parts)
        self._given = np.zeros((len(self.shots), states))
        for k in first.values():
            for name, value in problem.experiments[self.shots[k].experiment].initial.items():
                self._given[k, self.field.names.index(name)] = value
        self._splits = np.cumsum([len(parts[0]), sum(map(len, weights)), len(self._rows)])
        self._single = len(self.coordinates) - len(parts[-1])
        parts = problem, shots, self.prices, self.field
        transitions = problem.transitions
        self._evaluator = (
            StochasticEvaluator(*parts, transitions) if transitions is not None else TorchEvaluator(*parts)
        )

    @cached_property
    def engine(self) -> str:
        """What computes the loss: "native", or "torch" and why it is not native."""
        backend = self.problem.backend
        if self.problem.transitions is not None:
            return "torch (the System has noise)"
        if backend == "torch":
            return "torch"
        try:
            self._model = compiled(self.problem, self.field.networks)
        except ModelError as error:
            if backend == "native":
                raise ModelError(f"this problem cannot be computed natively: {error}. Use `backend='auto'`.") from error
            if isinstance(self.problem.solver, Rodas5P):
                raise
            return f"torch ({error})"
        return "native"

    @cached_property
    def _native(self) -> NativeEvaluator | None:
        if self.engine != "native":
            return None
        numbers = self.physical(np.zeros(len(self.coordinates)))
        places = self._places()
        return NativeEvaluator(self.problem, self.shots, self.prices, self._model, self.coordinates, places, numbers)

    @property
    def evaluator(self) -> NativeEvaluator | TorchEvaluator | StochasticEvaluator:
        """What computes it."""
        return self._evaluator if self._native is None else self._native

    @property
    def ended(self) -> str:
        """What to do about a terminal event that came before the last measurement and made the loss infinite, if one did."""
        return self._evaluator.ended

    def in_pieces(self, intervals: int) -> Loss:
        """The same loss over more shots for each experiment; native code is shared."""
        other = Loss(self.problem, intervals)
        if self.engine == "native":
            other.engine, other._model = self.engine, self._model
        return other

    def scorer(self, limits: float = np.inf) -> Scorer:
        """Descents by scoring (Gauss-Newton for any likelihood) over some of the coordinates, natively.

        Args:
            limits: Largest size of a prediction, in units of the largest measurement of its column.

        Raises:
            ModelError: The loss is not computed natively.
        """
        if self._native is None:
            raise ModelError(f"forward sensitivities are native only, and this problem is computed by {self.engine}.")
        if self.problem.system.events:
            raise ModelError("forward sensitivities do not go through events: `System(events=...)`.")
        if self.problem.individual:
            raise ModelError(
                "forward sensitivities are for parameters that all experiments share (`per_experiment=False`)."
            )
        return self._native.scorer(limits)

    def prepare(self) -> None:
        """Compile the model, and on a new machine the kernels, before they are needed."""
        if self._native is not None:
            self._native(self.initial(), 0.0)

    def _places(self) -> Int[np.ndarray, " theta"]:
        """Where each coordinate's value goes: parameters and weights of each set in turn, then the starts of all shots."""
        sets, parameters = self._values.shape
        size = parameters + self._splits[1] - self._splits[0]
        weights = np.arange(parameters, size)
        starts = sets * size + self._rows * len(self.problem.system.states) + self._columns
        return np.concatenate([self._sets * size + self._free, weights, starts])

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the free parameters, in the order of the vector; `k[A]` is that of experiment `A`."""
        names = [str(x) for x in self.problem.system.parameters]
        experiments = [e.name for e in self.problem.experiments]
        individual = self.problem.individual
        return tuple(
            f"{names[i]}[{experiments[e]}]" if i in individual else names[i] for e, i in zip(self._sets, self._free)
        )

    @staticmethod
    def _decay(declared, network) -> Float[np.ndarray, " weight"]:
        """Prior precision of each weight of a network."""
        return decayed(network) * (declared.decay if isinstance(declared, MLP) else 0.0)

    def _nodes(self) -> list[Parameter]:
        """Inner nodes as parameters that start on the measurements, or at the initial value where there are none."""
        problem = self.problem
        system = problem.system
        given = {s.state: s.parameter.value for s in problem.starts}
        constants = {symbol: p.value for symbol, p in system.parameters.items()}
        nodes, curves = [], {}
        for shot in self.shots:
            if shot.first:
                continue
            for i, x in enumerate(system.states):
                if problem.experiments[shot.experiment].measures(str(x)):
                    key = shot.experiment, str(x)
                    if key not in curves:
                        curves[key] = problem.curve(*key)
                    value = curves[key](shot.times[0])[0]
                elif i in given:
                    value = given[i]
                else:
                    known = system.initial[x]
                    value = known.value if isinstance(known, Parameter) else float(known.subs(constants))
                if problem.nonnegative[i]:  # a smooth curve through counts may run below zero
                    nodes.append(Parameter(max(float(value), 1e-3 * problem.sizes[i]), bounds=(0.0, None)))
                else:
                    nodes.append(Parameter(float(value)))
        return nodes

    def initial(self, seed: int = 0) -> Float[np.ndarray, " theta"]:
        """Where a fit starts: declared values, random weights for untrained networks."""
        problem = self.problem
        system = problem.system
        weights = [
            weights_of(build_network(network, system.arity(group), len(group), seed + k))
            if isinstance(network, MLP)
            else weights_of(network)
            for k, (group, network) in enumerate(system.learned.items())
        ]
        starts = [s.parameter.value for s in problem.starts] + [node.value for node in self._nodes()]
        return self.coordinates.free(np.concatenate([self._values[self._sets, self._free], *weights, starts]))

    def physical(self, vector: Float[np.ndarray, " theta"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All parameters, all weights, and the starts of all shots (shots, states), zero where they are not free.

        Parameters are a row per experiment where any differ between experiments, otherwise one row for all.
        """
        values, _ = self.coordinates.values(np.asarray(vector, dtype=float))
        return self._placed(values)

    def _placed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        free, weights, starts = np.split(values, self._splits[:2])
        parameters = self._values.copy()
        parameters[self._sets, self._free] = free
        parameters[:, self._shared] = free[: len(self._shared)]
        grid = self._given.copy()
        grid[self._rows, self._columns] = starts
        return parameters, weights, grid

    def value_and_gradient(
        self, vector: Float[np.ndarray, " theta"], continuity: float = 0.0
    ) -> tuple[float, Float[np.ndarray, " theta"]]:
        """Loss and gradient; `inf` and zeros where the equations cannot be solved at this vector.

        Args:
            vector: Free coordinates.
            continuity: Price ρ of the squared gaps, in units of the states' sizes (of logarithms for positive ones).
        """
        if self._native is not None:
            found = self._native(np.asarray(vector, dtype=float), continuity)
            if self._native.ended and not self.ended:
                self._evaluator.gaps(*self.physical(vector))  # which says what ended, and when
            return found
        values, slopes = self.coordinates.values(np.asarray(vector, dtype=float))
        outcome = self._evaluator.value_and_gradient(*self._placed(values), continuity)
        return self._with_priors(outcome, values, slopes)

    def _own(self, slopes: Float[np.ndarray, "set parameter"]) -> Float[np.ndarray, " free"]:
        """Derivatives by the free parameters from those by the parameters of each set."""
        own = slopes[self._sets, self._free]
        own[: len(self._shared)] = slopes[:, self._shared].sum(axis=0)
        return own

    def _with_priors(self, outcome, values, slopes) -> tuple[float, Float[np.ndarray, " theta"]]:
        if outcome is None:
            return np.inf, np.zeros_like(values)
        value, parameters, weights, grid = outcome
        penalty, gradient = self.coordinates.penalty(values)
        gradient = gradient + np.concatenate([self._own(parameters), weights, grid[self._rows, self._columns]])
        total, gradient = value + penalty, gradient * slopes
        if not (np.isfinite(total) and np.isfinite(gradient).all()):
            return np.inf, np.zeros_like(values)
        return total, gradient

    def linearize(
        self, vector: Float[np.ndarray, " theta"], wanted: Bool[np.ndarray, "row output"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Predictions of all rows, gaps, and the Jacobian of those wanted and of the gaps; None where it fails."""
        if self._native is not None and not self.problem.system.events:
            return self._native.linearize(vector, wanted)
        values, slopes = self.coordinates.values(vector)
        found = self._evaluator.linearize(*self._placed(values), wanted)
        if found is None:
            return None
        predicted, gaps, rows = found
        parts = [np.concatenate([self._own(p), w, g[self._rows, self._columns]]) * slopes for p, w, g in rows]
        return predicted, gaps, np.array(parts).reshape(-1, len(vector))

    def field_function(self, mismatch: Callable[[Rates], Tensor]) -> Callable:
        """Another misfit of the same unknowns: value and gradient of `mismatch(rates)` plus the priors.

        `rates(t, y, experiment, u)` is the right-hand side at rows of times, states, numbers of experiments and inputs.
        """

        def value_and_gradient(vector):
            values, slopes = self.coordinates.values(np.asarray(vector, dtype=float))
            outcome = self._evaluator.field_value_and_gradient(mismatch, *self._placed(values))
            return self._with_priors(outcome, values, slopes)

        return value_and_gradient

    def log_likelihood(self, vector: Float[np.ndarray, " theta"]) -> float:
        """Logarithm of the density of the measurements, without priors and penalties; −inf where it is not defined."""
        value, _ = self._unpenalized.value_and_gradient(vector)
        return self.coordinates.penalty(self.coordinates.values(np.asarray(vector, dtype=float))[0])[0] - value

    @cached_property
    def _unpenalized(self) -> Loss:
        return Loss(self.problem, penalized=False) if self.problem.penalties else self

    def measure(
        self,
        vector: Float[np.ndarray, " theta"],
        times: Float[np.ndarray, " time"],
        states: np.ndarray,
        experiment: int = 0,
    ) -> tuple[Float[np.ndarray, "time column"], Float[np.ndarray, "time column"]]:
        """Means of all columns at given states, and their scales before a column of the data multiplies them."""
        parameters, weights, _ = self.physical(vector)
        return self._evaluator.measure(parameters, weights, times, states, experiment)

    def initial_states(self, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, "experiment state"]:
        """Initial state of every experiment, given or fitted."""
        starts = self._evaluator.starts(*self.physical(vector))
        return starts[[shot.first for shot in self.shots]]

    def trajectory(
        self,
        vector: Float[np.ndarray, " theta"],
        start: Float[np.ndarray, " state"],
        times: Float[np.ndarray, " time"],
        experiment: int = 0,
    ) -> Float[np.ndarray, "time state"] | None:
        """States over time, computed natively; None where torch has to do it, or has to say why it fails."""
        if self._native is None:
            return None
        parameters, weights, _ = self.physical(vector)
        own = parameters[experiment if len(parameters) > 1 else 0]
        signals = self.problem.experiments[experiment].signals
        return self._native.trajectory(own, weights, start, times, signals)

    def gaps(self, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, "gap state"]:
        """Jumps between consecutive shots, in units of the states' sizes (of logarithms for positive ones)."""
        return self._evaluator.gaps(*self.physical(vector))

    def costs(self, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, " experiment"]:
        """What each trajectory costs, of a problem with a cost."""
        return self._evaluator.costs(*self.physical(vector))

    def without_nodes(self, vector: Float[np.ndarray, " theta"]) -> Float[np.ndarray, " theta"]:
        """The part of the vector that single shooting knows."""
        return vector[: self._single]
