"""Likelihood of all shots and its gradient by torch: one batched solve, then autograd."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.lowering.networks import set_all_weights
from sciml.lowering.program import lower
from sciml.lowering.torch_backend import torch_function
from sciml.lowering.vector_field import VectorField
from sciml.measurement.measured import Measured
from sciml.measurement.projection import projections
from sciml.measurement.shots import Shot, padded
from sciml.signals import SignalRows
from sciml.solvers import Solution, Status, solve
from sciml.symbolic.cost import ACCUMULATED
from sciml.symbolic.declarations import Parameter

Rates = Callable[[Tensor, Tensor, Tensor, "Tensor | None"], Tensor]


def initial_expressions(problem: Measured) -> list[sp.Expr]:
    """Initial state per state: its own symbol where each experiment has its own, else an expression of parameters."""
    fitted = {start.state for start in problem.starts}
    fitted |= {i for i, x in enumerate(problem.system.states) if str(x) in problem.experiments[0].initial}
    system = problem.system
    given = [x if i in fitted else system.initial.get(x, sp.S.Zero) for i, x in enumerate(system.states)]
    return [sp.Float(value.value) if isinstance(value, Parameter) else value for value in given]


def measured_expressions(problem: Measured) -> list[sp.Expr]:
    """Model values of columns, noise levels, what inequalities hold negative, products of `Orthogonal`, and the cost."""
    system = problem.system
    formulas = {str(x): x for x in system.states} | {str(name): e for name, e in system.observed.items()}
    means = [formulas[column] for column in problem.columns]
    cost = [] if problem.cost is None else [ACCUMULATED + problem.cost.terminal]
    own = [penalty.violation(system) for penalty in problem.inequalities]
    rates = dict(zip(system.states, problem.rates))
    own += [product for penalty in problem.orthogonal for product in penalty.products(system, rates)[0]]
    return [*means, *problem.scales, *own, *cost]


class TorchEvaluator:
    """Evaluates shots with torch: any network, any solver.

    Args:
        problem: Equations and measurements.
        shots: Trajectories to solve.
        prices: For each shot, what a penalty's squared violation costs at each of its times.
        field: The right-hand side, whose parameters and weights are overwritten.
    """

    def __init__(self, problem: Measured, shots: Sequence[Shot], prices: Sequence[np.ndarray], field: VectorField):
        self.problem = problem
        self.shots = shots
        self.field = field
        # Why the loss was infinite, where it was because of a terminal event.
        self.ended = ""
        system = problem.system
        self._initial = torch_function(lower(system, initial_expressions(problem)))
        self._measure = torch_function(lower(system, measured_expressions(problem)))
        self._times = torch.as_tensor(padded([shot.times for shot in shots]))
        self._first = torch.tensor([shot.first for shot in shots])
        values = padded([shot.values for shot in shots])
        levels = torch.as_tensor(padded([shot.levels for shot in shots]))
        known = np.isfinite(values)
        seen = np.isfinite(padded(prices)) if problem.penalties else known.any(axis=2)
        lasts = np.array([len(shot.times) - 1 for shot in shots])
        if problem.cost is not None:
            seen[np.arange(len(shots)), lasts] = True
        # Of the rows that are looked at, the last one of each shot, where a cost is read.
        self._last_rows = torch.as_tensor(np.cumsum(seen.sum(axis=1)) - 1)
        self._rows = torch.as_tensor(seen)
        self._row_times = self._times[self._rows].unsqueeze(-1)
        self._projections = projections(problem)
        self._prices = torch.as_tensor(padded(prices))[self._rows] if problem.penalties else None
        # The set of parameters of each shot, and the shot of each row of measurements.
        self._sets = torch.tensor([shot.experiment if problem.individual else 0 for shot in shots])
        self._row_shots = self._rows.nonzero()[:, 0]
        given = [problem.experiments[shot.experiment].signals for shot in shots]
        self._signals = None if given[0] is None else SignalRows(given)
        self._row_inputs = None
        if self._signals is not None:
            experiments = [problem.experiments[shot.experiment] for shot in shots]
            rows = [experiments[k].inputs(self._times[k][mask].numpy()) for k, mask in enumerate(self._rows)]
            self._row_inputs = torch.as_tensor(np.concatenate(rows))
        self._p = self.field.p
        self._columns = []
        for c, likelihood in enumerate(problem.densities):
            here = torch.as_tensor(known[..., c])[self._rows].nonzero()[:, 0]
            measured, level = (x[..., c][self._rows][here] for x in (torch.as_tensor(values), levels))
            self._columns.append((likelihood, here, measured, level))
        joints = [k for k, shot in enumerate(shots) if not shot.last]
        self._joints = torch.tensor(joints, dtype=torch.long)
        self._ends = torch.tensor([len(shots[k].times) - 1 for k in joints], dtype=torch.long)
        self._sizes = torch.as_tensor(problem.sizes)
        self._positive = torch.tensor(problem.positive)

    def value_and_gradient(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray, continuity: float):
        """Loss and its derivatives by parameters, weights and starts; None where it cannot be computed."""
        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            y0, ys = self._trajectories(grid)
            value = None if ys is None else self._likelihood(ys)
            if value is None:
                return None
            if continuity and len(self._joints):
                value = value + 0.5 * continuity * (self._gaps(y0, ys) ** 2).sum()
            return float(value.detach()), *self._gradients(value, grid)

    def sections(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> tuple[float, float, float]:
        """Seconds of one evaluation, which can be computed: solving, likelihood with penalties, and the reverse pass."""
        marks = [time.perf_counter()]
        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            _, ys = self._trajectories(grid)
            assert ys is not None, "asked for only where the equations can be solved"
            marks.append(time.perf_counter())
            value = self._likelihood(ys)
            assert value is not None, "asked for only where the likelihood is defined"
            marks.append(time.perf_counter())
            self._gradients(value, grid)
        marks.append(time.perf_counter())
        return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]

    def field_value_and_gradient(self, mismatch: Callable[[Rates], Tensor], parameters, weights, starts):
        """The same for any function of the right-hand side alone, as a function of time, state, experiment and inputs."""

        def rates(t: Tensor, y: Tensor, experiment: Tensor, u: Tensor | None) -> Tensor:
            return self.field(t, y, self._p[experiment] if self._p.ndim > 1 else self._p, u)

        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            value = mismatch(rates)
            return float(value.detach()), *self._gradients(value, grid)

    def _gradients(self, value: Tensor, grid: Tensor, keep: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives by parameters, weights (flat) and starts."""
        leaves = [self._p, *self.field.networks.parameters(), grid]
        gradients = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=keep)
        parts = [np.zeros(tuple(x.shape)) if g is None else g.numpy() for x, g in zip(leaves, gradients)]
        flat = np.concatenate([part.ravel() for part in parts[1:-1]]) if len(parts) > 2 else np.zeros(0)
        return np.atleast_2d(parts[0]), flat, parts[-1]

    def linearize(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray, wanted: np.ndarray):
        """Predictions of all rows, gaps, and for each wanted prediction and each gap its derivatives; None if it failed.

        The derivatives are triples, by parameters, weights and starts.
        """
        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            y0, ys = self._trajectories(grid)
            if ys is None:
                return None
            p = self._shot_parameters(self._sets[self._row_shots])
            model = self._measure(self._row_times, ys[self._rows], p, self.field.networks, self._row_inputs)
            gaps = self._gaps(y0, ys)
            inside = self._rows[torch.isfinite(self._times)]
            chosen = torch.as_tensor(wanted)[inside]
            outputs = [*model[chosen], *gaps.reshape(-1)]
            slopes = [self._gradients(output, grid, keep=True) for output in outputs]
        predicted = np.full(wanted.shape, np.nan)
        predicted[inside.numpy()] = model.detach().numpy()
        return predicted, gaps.detach().numpy(), slopes

    @torch.no_grad()
    def gaps(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> Float[np.ndarray, "gap state"]:
        """Jumps between consecutive shots, in units of the states' sizes; NaN where they cannot be computed."""
        y0, ys = self._trajectories(self._load(parameters, weights, starts))
        return np.full((len(self._joints), starts.shape[1]), np.nan) if ys is None else self._gaps(y0, ys).numpy()

    @torch.no_grad()
    def starts(
        self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray
    ) -> Float[np.ndarray, "shot state"]:
        """The state in which each shot starts."""
        return self._starts(self._load(parameters, weights, starts)).numpy()

    @torch.no_grad()
    def costs(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> Float[np.ndarray, " shot"]:
        """The cost of each trajectory; NaN where they cannot be computed."""
        _, ys = self._trajectories(self._load(parameters, weights, starts))
        if ys is None:
            return np.full(len(self.shots), np.nan)
        p = self._shot_parameters(self._sets[self._row_shots])
        model = self._measure(self._row_times, ys[self._rows], p, self.field.networks, self._row_inputs)
        return model[self._last_rows, -1].numpy()

    def _load(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> Tensor:
        if len(parameters) == 1:
            with torch.no_grad():
                self.field.p.copy_(torch.as_tensor(parameters[0]))
        else:
            self._p = torch.tensor(parameters, requires_grad=True)
        set_all_weights(self.field.networks, weights)
        return torch.as_tensor(starts)

    def _trajectories(self, grid: Tensor) -> tuple[Tensor, Tensor | None]:
        problem = self.problem
        y0 = self._starts(grid)
        if not torch.isfinite(y0).all():
            return y0, None
        one = len(y0) == 1  # the un-batched path has less overhead
        field = self.field.at(self._shot_parameters(self._sets), self._signals)
        solution = solve(
            field,
            y0[0] if one else y0,
            self._times[0] if one else self._times,
            solver=problem.solver,
            rtol=problem.rtol,
            atol=problem.atol,
            gradients=problem.gradients,
            max_steps=problem.max_steps,
            throw=False,
            events=field.events,
        )
        if not solution.successful:
            return y0, None
        ys = solution.ys[None] if one else solution.ys
        self._explain_ends(solution, ys)
        return y0, ys

    def _explain_ends(self, solution: Solution, ys: Tensor) -> None:
        """Say once why the loss is infinite where a terminal event ends a trajectory before its measurements."""
        if self.ended or Status.EVENT not in solution.status or solution.events is None:
            return
        lost = self._rows & ys.detach().isnan().any(dim=-1)
        for k in (k for k, status in enumerate(solution.status) if status == Status.EVENT and lost[k].any()):
            met = solution.events.select(trajectory=k)
            experiment = self.problem.experiments[self.shots[k].experiment]
            time, last = float(met.times[-1].detach()), float(self._times[k][self._rows[k]][-1])
            self.ended = (
                f"event {int(met.event[-1])} of the System is terminal and ends the trajectory of experiment "
                f"`{experiment.name}` at t = {time:.6g}, before its last measurement at t = {last:.6g}. "
                "The loss is infinite at such values. Leave out the measurements behind the event, start from values "
                "where it comes later, or let it reset the state instead."
            )
            warnings.warn(self.ended, stacklevel=2)
            return

    def _shot_parameters(self, sets: Tensor) -> Tensor:
        """Parameters of some shots or rows; one set for all where none differ."""
        return self._p[sets] if self._p.ndim > 1 else self._p

    def _starts(self, grid: Tensor) -> Tensor:
        p = self._shot_parameters(self._sets)
        given = self._initial(torch.zeros((), dtype=grid.dtype), grid, p, self.field.networks)
        return torch.where(self._first[:, None], given, grid)

    def _likelihood(self, ys: Tensor) -> Tensor | None:
        """Negative log-likelihood with penalties; None where it is not defined, such as at negative means of counts."""
        p = self._shot_parameters(self._sets[self._row_shots])
        model = self._measure(self._row_times, ys[self._rows], p, self.field.networks, self._row_inputs)
        total = torch.zeros((), dtype=ys.dtype)
        count = len(self._columns)
        for c, (likelihood, rows, values, levels) in enumerate(self._columns):
            total = total + likelihood.negative_log(values, model[rows, c], model[rows, count + c] * levels)
        if self._prices is not None:
            weights = torch.tensor([penalty.weight for penalty in self.problem.inequalities], dtype=ys.dtype)
            broken = model[:, 2 * count : 2 * count + len(weights)].clamp(min=0.0)
            total = total + (self._prices[:, None] * weights * broken**2).sum()
            for one in self._projections:
                averages = self._prices @ model[:, one.outputs]
                total = total + averages @ torch.as_tensor(one.prices(averages.detach().numpy()))
        if self.problem.cost is not None:
            total = total + model[self._last_rows, -1].sum()
        return total if torch.isfinite(total) else None

    @torch.no_grad()
    def measure(
        self, parameters: np.ndarray, weights: np.ndarray, times: np.ndarray, states: np.ndarray, experiment: int
    ) -> tuple[Float[np.ndarray, "time column"], Float[np.ndarray, "time column"]]:
        """Means of all columns at given states, and their scales before a column of the data multiplies them."""
        self._load(parameters, weights, np.zeros(0))
        t, y = torch.tensor(times)[:, None], torch.tensor(states)
        p = self._p[experiment] if self._p.ndim > 1 else self._p
        u = torch.as_tensor(self.problem.experiments[experiment].inputs(times))
        model = self._measure(t, y, p, self.field.networks, u).numpy()
        count = len(self._columns)
        return model[:, :count], model[:, count : 2 * count]

    def _gaps(self, y0: Tensor, ys: Tensor) -> Tensor:
        end, start = ys[self._joints, self._ends], y0[self._joints + 1]
        tiny = torch.finfo(ys.dtype).tiny
        logarithmic = torch.log(end.clamp(min=tiny)) - torch.log(start.clamp(min=tiny))
        return torch.where(self._positive, logarithmic, (end - start) / self._sizes)
