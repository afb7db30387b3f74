"""The noise of a compiled System: its diffusion in torch, and drift and diffusion together in native code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.errors import ModelError
from sciml.lowering.native_model import native_model
from sciml.lowering.networks import architectures
from sciml.lowering.program import lower
from sciml.lowering.torch_backend import torch_function
from sciml.lowering.vector_field import VectorField
from sciml.native.model import Model
from sciml.symbolic import wiener


@dataclass(frozen=True, eq=False)
class Terms:
    """Native code of a stochastic System: one routine that gives the drift, then each coefficient of the noise.

    Args:
        model: The code.
        rows: State of each coefficient.
        columns: Wiener process of each coefficient.
        processes: How many Wiener processes there are.
    """

    model: Model
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    processes: int


class Diffusion(nn.Module):
    r"""The matrix G of :math:`dx = f\,dt + G\,dW` beside a compiled System, differentiable like the field.

    Args:
        field: The compiled System; its parameters and weights are shared.

    Attributes:
        kind: "additive" where no coefficient depends on a state, "diagonal" where every state has a Wiener process of its
            own, else "general".
        processes: Number of Wiener processes.
    """

    def __init__(self, field: VectorField):
        super().__init__()
        system = field.system
        if not system.noise:
            raise ModelError("the System has no noise: `System(noise={x: ...})` declares it.")
        self.field = field
        self.processes = len(system.processes)
        if wiener.is_additive(system.noise, system.states):
            self.kind = "additive"
        else:
            self.kind = "diagonal" if wiener.is_diagonal(system.noise) else "general"
        self._matrix = torch_function(lower(system, list(system.diffusion)))

    def matrix(self, t: Any, y: Float[Tensor, " *batch state"], p: Any = None, u: Any = None) -> Tensor:
        """G, with a row for each state and a column for each Wiener process."""
        t = t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=y.dtype, device=y.device)
        values = self._matrix(t, y, self.field.p if p is None else p, self.field.networks, u)
        return values.unflatten(-1, (y.shape[-1], self.processes))

    def diagonal(self, t: Any, y: Float[Tensor, " *batch state"], p: Any = None) -> Float[Tensor, " *batch state"]:
        """The coefficient of each state's own Wiener process."""
        return self.matrix(t, y, p).sum(dim=-1)

    def stratonovich(self, t: Any, y: Float[Tensor, " *batch state"], p: Any = None) -> Float[Tensor, " *batch state"]:
        """The drift of the Stratonovich equation with the same solutions."""
        t = t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=y.dtype, device=y.device)
        return self._stratonovich(t, y, self.field.p if p is None else p, self.field.networks)

    @cached_property
    def _stratonovich(self):
        system = self.field.system
        return torch_function(lower(system, wiener.stratonovich_drift(system.equations, system.noise)))

    @cached_property
    def native(self) -> Terms:
        """Native code for drift and noise.

        Raises:
            ModelError: The System, or one of its networks, has no native form.
        """
        system, matrix = self.field.system, self.field.system.diffusion
        entries = [(i, j) for i in range(matrix.rows) for j in range(matrix.cols) if matrix[i, j] != sp.S.Zero]
        program = lower(system, [*system.equations.values(), *(matrix[i, j] for i, j in entries)])
        model = native_model({"field": program}, architectures(self.field.networks), free=0, reverse=())
        return Terms(model, tuple(i for i, _ in entries), tuple(j for _, j in entries), self.processes)
