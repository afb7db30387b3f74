"""The likelihood of a stochastic System and its gradient, in place of a trajectory's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sympy.core.function import AppliedUndef
from torch import Tensor

from sciml.errors import ModelError
from sciml.lowering.diffusion import Diffusion
from sciml.lowering.program import lower
from sciml.lowering.torch_backend import torch_function
from sciml.lowering.vector_field import VectorField
from sciml.measurement.measured import Measured
from sciml.measurement.shots import Shot, padded
from sciml.measurement.torch_evaluator import TorchEvaluator
from sciml.measurement.transitions.protocol import AbstractTransitions, Series
from sciml.symbolic import wiener
from sciml.symbolic.distributions import LogNormal


class StochasticEvaluator(TorchEvaluator):
    """Evaluates whole series by a likelihood of stochastic Systems; coordinates and measurements as for trajectories.

    Args:
        problem, shots, prices, field: As for `TorchEvaluator`.
        transitions: The likelihood.
    """

    def __init__(
        self,
        problem: Measured,
        shots: Sequence[Shot],
        prices: Sequence[np.ndarray],
        field: VectorField,
        transitions: AbstractTransitions,
    ):
        if not all(shot.first and shot.last for shot in shots):
            raise ModelError("a stochastic System is fitted in one piece: its likelihood has no gaps to close.")
        super().__init__(problem, shots, prices, field)
        self.transitions = transitions
        system = problem.system
        self._diffusion = Diffusion(field)
        self._slope = None
        if wiener.is_diagonal(system.noise) and not system.diffusion.atoms(AppliedUndef):
            own = [sum(system.diffusion.row(i)).diff(x) for i, x in enumerate(system.states)]
            self._slope = torch_function(lower(system, own))
        values = padded([shot.values for shot in shots])
        known = np.isfinite(values)
        logarithmic = [isinstance(problem.likelihoods[c], LogNormal) for c in problem.columns]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(logarithmic, np.log(np.where(known, values, 1.0)), np.nan_to_num(values))
        self._values, self._known = torch.as_tensor(values), torch.as_tensor(known)
        self._logarithmic = torch.tensor(logarithmic)
        if any((shot.levels != 1).any() for shot in shots):
            raise ModelError("noise levels that a column of the data multiplies are not for stochastic Systems yet.")
        names = [str(x) for x in system.states]
        self._states = tuple(names.index(c) if c in names else None for c in problem.columns)

    def value_and_gradient(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray, continuity: float):
        with torch.enable_grad():
            grid = self._load(parameters, weights, starts).requires_grad_()
            value = self.transitions.negative_log(self._series(grid))
            if not torch.isfinite(value):
                return None
            return float(value.detach()), *self._gradients(value, grid)

    def linearize(self, parameters: np.ndarray, weights: np.ndarray, starts: np.ndarray, wanted: np.ndarray):
        raise ModelError(
            "a stochastic System has no residuals to linearize. Use `Adam` or `LBFGS`, and `ExactHessian()` for intervals."
        )

    def _series(self, grid: Tensor) -> Series:
        p, own = self._shot_parameters(self._sets), self._slope

        def rows(y: Tensor) -> Tensor:
            return p if p.ndim == 1 or len(y) != len(p) else p.view(len(p), *(1,) * (y.ndim - 2), -1)

        def measure(t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            model = self._measure(t, y, rows(y), self.field.networks)
            count = len(self._states)
            means = model[..., :count]
            safe = torch.where(self._logarithmic, means, 1.0)
            return torch.where(self._logarithmic, safe.clamp(min=1e-300).log(), means), model[..., count : 2 * count]

        return Series(
            times=self._times,
            values=self._values,
            known=self._known,
            initial=self._starts(grid),
            drift=lambda t, y: self.field(t, y, rows(y)),
            diffusion=lambda t, y: self._diffusion.matrix(t, y, rows(y)),
            slope=None if own is None else lambda t, y: own(t, y, rows(y), self.field.networks),
            measure=measure,
            states=self._states,
        )
