"""Likelihood of all shots and its gradient by torch: one batched solve, then autograd."""

from __future__ import annotations

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
from sciml.measurement.likelihood import negative_log_likelihood
from sciml.measurement.measured import Measured
from sciml.measurement.shots import Shot, padded
from sciml.solvers import solve
from sciml.symbolic.declarations import Parameter


def initial_expressions(problem: Measured) -> list[sp.Expr]:
    """Initial state per state: its own symbol where it is fitted, else an expression of parameters."""
    fitted = {start.state for start in problem.starts}
    system = problem.system
    given = [x if i in fitted else system.initial[x] for i, x in enumerate(system.states)]
    return [sp.Float(value.value) if isinstance(value, Parameter) else value for value in given]


def measured_expressions(problem: Measured) -> list[sp.Expr]:
    """Model values of all columns, then their noise levels."""
    system = problem.system
    formulas = {str(x): x for x in system.states} | {str(name): e for name, e in system.observed.items()}
    means = [formulas[column] for column in problem.columns]
    return [*means, *(problem.likelihoods[column].scale for column in problem.columns)]


class TorchEvaluator:
    """Evaluates shots with torch: any network, any solver."""

    def __init__(self, problem: Measured, shots: Sequence[Shot], field: VectorField):
        self.problem = problem
        self.field = field
        system = problem.system
        self._initial = torch_function(lower(system, initial_expressions(problem)))
        self._measure = torch_function(lower(system, measured_expressions(problem)))
        times, values = padded(shots)
        self._times = torch.as_tensor(times)
        self._first = torch.tensor([shot.first for shot in shots])
        known = np.isfinite(values)
        self._rows = torch.as_tensor(known.any(axis=2))
        self._row_times = self._times[self._rows].unsqueeze(-1)
        self._columns = []
        for c, column in enumerate(problem.columns):
            here = torch.as_tensor(known[..., c])[self._rows].nonzero()[:, 0]
            self._columns.append((problem.likelihoods[column], here, torch.as_tensor(values[..., c])[self._rows][here]))
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

    def field_value_and_gradient(self, mismatch: Callable[[VectorField], Tensor], parameters, weights, starts):
        """The same for any function of the right-hand side alone."""
        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            value = mismatch(self.field)
            return float(value.detach()), *self._gradients(value, grid)

    def _gradients(self, value: Tensor, grid: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives by parameters, weights (flat) and starts."""
        leaves = [self.field.p, *self.field.networks.parameters(), grid]
        gradients = torch.autograd.grad(value, leaves, allow_unused=True)
        parts = [np.zeros(tuple(x.shape)) if g is None else g.numpy() for x, g in zip(leaves, gradients)]
        flat = np.concatenate([part.ravel() for part in parts[1:-1]]) if len(parts) > 2 else np.zeros(0)
        return parts[0], flat, parts[-1]

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

    def _load(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> Tensor:
        with torch.no_grad():
            self.field.p.copy_(torch.as_tensor(parameters))
        set_all_weights(self.field.networks, weights)
        return torch.as_tensor(starts)

    def _trajectories(self, grid: Tensor) -> tuple[Tensor, Tensor | None]:
        problem = self.problem
        y0 = self._starts(grid)
        if not torch.isfinite(y0).all():
            return y0, None
        one = len(y0) == 1  # the un-batched path has less overhead
        solution = solve(
            self.field,
            y0[0] if one else y0,
            self._times[0] if one else self._times,
            solver=problem.solver,
            rtol=problem.rtol,
            atol=problem.atol,
            gradients=problem.gradients,
            max_steps=problem.max_steps,
            throw=False,
            events=self.field.events,
        )
        if not solution.successful:
            return y0, None
        return y0, solution.ys[None] if one else solution.ys

    def _starts(self, grid: Tensor) -> Tensor:
        given = self._initial(torch.zeros((), dtype=grid.dtype), grid, self.field.p, self.field.networks)
        return torch.where(self._first[:, None], given, grid)

    def _likelihood(self, ys: Tensor) -> Tensor | None:
        """Negative log-likelihood; None where a mean is not positive though its noise is log-normal."""
        model = self._measure(self._row_times, ys[self._rows], self.field.p, self.field.networks)
        total = torch.zeros((), dtype=ys.dtype)
        count = len(self._columns)
        for c, (noise, rows, values) in enumerate(self._columns):
            value = negative_log_likelihood(noise, values, model[rows, c], model[rows, count + c])
            total = total + value
        return total if torch.isfinite(total) else None

    def _gaps(self, y0: Tensor, ys: Tensor) -> Tensor:
        end, start = ys[self._joints, self._ends], y0[self._joints + 1]
        tiny = torch.finfo(ys.dtype).tiny
        logarithmic = torch.log(end.clamp(min=tiny)) - torch.log(start.clamp(min=tiny))
        return torch.where(self._positive, logarithmic, (end - start) / self._sizes)
