"""What an analysis looks at: a flow or a map, from a System, a compiled field or a torch callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.errors import DataError, ModelError, SolveError
from sciml.lowering.vector_field import VectorField, compile
from sciml.symbolic import checks
from sciml.symbolic.system import System

CHUNK = 50_000
"""How many numbers of a Jacobian autograd finds in one go, which bounds the memory that it takes."""


@dataclass(frozen=True)
class Map:
    r"""A torch callable as the map :math:`y_{n+1} = F(y_n)`.

    Args:
        step: Takes states (batch, state) and returns the next ones; rows must not know of each other.
        counted: Whether `step` takes the number of the step before the states, :math:`y_{n+1} = F(n, y_n)`.

    Example:
        >>> halve = Map(lambda y: y / 2)
        >>> halve.path(torch.tensor([4.0]), 2)
        tensor([[4.],
                [2.],
                [1.]])
    """

    step: Callable[..., Tensor]
    counted: bool = False

    def __post_init__(self):
        if not callable(self.step):
            raise ModelError(f"`Map` takes a function of the state, not `{type(self.step).__name__}`.")

    def __call__(self, n: Any, y: Tensor) -> Tensor:
        """The states after step n."""
        return self.step(n, y) if self.counted else self.step(y)

    @torch.no_grad()
    def path(self, y0: Float[Tensor, "*batch state"], steps: int) -> Float[Tensor, "*batch step state"]:
        """States before the first and after each of a number of steps.

        Args:
            y0: Where to start.
            steps: How many steps.

        Raises:
            SolveError: A state left the finite numbers.
        """
        y, states = torch.atleast_2d(y0), []
        for n in range(steps + 1):
            y = self(n - 1, y) if n else y
            if not torch.isfinite(y).all():
                lost = torch.nonzero(~torch.isfinite(y).all(dim=-1)).flatten()
                raise SolveError(f"trajectory {int(lost[0])} of the map left the finite numbers at step {n}.")
            states.append(y)
        return torch.stack(states, dim=-2).reshape(*y0.shape[:-1], steps + 1, y0.shape[-1])


Analyzed = System | VectorField | Map | Callable[[Any, Tensor], Tensor]
"""What the analyses of this package take; a callable `field(t, y)` that is not a `Map` is a rate."""


@dataclass(frozen=True)
class Evolution:
    """Rates or next states, and their Jacobian, of whatever is analyzed.

    Args:
        function: `(t, y)` -> rates or next states of states (batch, state).
        discrete: Whether it is a map.
        field: The compiled System behind it, if there is one.
    """

    function: Callable[[Any, Tensor], Tensor]
    discrete: bool
    field: VectorField | None = None

    @classmethod
    def of(cls, analyzed: Analyzed) -> Evolution:
        """Whatever is analyzed, in one form."""
        if isinstance(analyzed, Map):
            return cls(analyzed, discrete=True)
        if isinstance(analyzed, System):
            if analyzed.noise:
                raise ModelError("the System has noise; analyze its deterministic part: `replace(system, noise={})`.")
            analyzed = compile(analyzed)
        if isinstance(analyzed, VectorField):
            return cls(analyzed, analyzed.discrete, analyzed)
        if not callable(analyzed):
            raise ModelError(
                f"`{type(analyzed).__name__}` cannot be analyzed: give a System, a compiled field, a callable "
                "`field(t, y)`, or `Map(step)`."
            )
        return cls(analyzed, discrete=False)

    def __call__(self, t: float, y: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Rates or next states, without a graph."""
        with torch.no_grad():
            return self._evaluated(t, y)

    def jacobian(self, t: float, y: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state state"]:
        """Derivatives by the state: from the equations of a System, otherwise by autograd."""
        if self.field is not None:
            with torch.no_grad():
                return self.field.jacobian(t, y)
        with torch.enable_grad():
            point = y.detach().requires_grad_()
            values = self._differentiable(t, point)
            rows = []
            for seeds in torch.eye(y.shape[-1], dtype=y.dtype).split(max(1, CHUNK // y.numel())):
                each = seeds[:, None, :].expand(len(seeds), *y.shape)
                rows += torch.autograd.grad(values, point, each, is_grads_batched=True, retain_graph=True)
        return torch.cat(rows).transpose(0, 1)

    def pushed(
        self, t: float, y: Float[Tensor, "batch state"], frame: Float[Tensor, "batch state count"]
    ) -> Float[Tensor, "batch state count"]:
        """Deviations carried forward: the Jacobian times each column of a frame."""
        if self.field is not None or frame.shape[-1] == frame.shape[-2]:
            return self.jacobian(t, y) @ frame

        def along(direction: Tensor) -> Tensor:
            return torch.func.jvp(lambda z: self.function(torch.as_tensor(t, dtype=y.dtype), z), (y,), (direction,))[1]

        with torch.no_grad():
            return torch.stack([along(column) for column in frame.unbind(-1)], dim=-1)

    def pulled(
        self, t: float, y: Float[Tensor, "batch state"], gradient: Float[Tensor, "batch state"]
    ) -> Float[Tensor, "batch state"]:
        """A gradient carried back: the transposed Jacobian times a vector for each state."""
        if self.field is not None:
            return (self.jacobian(t, y).mT @ gradient[..., None])[..., 0]
        with torch.enable_grad():
            point = y.detach().requires_grad_()
            values = self._differentiable(t, point)
            return torch.autograd.grad(values, point, gradient)[0]

    def _evaluated(self, t: float, y: Tensor) -> Tensor:
        values = self.function(torch.as_tensor(t, dtype=y.dtype), y)
        if not isinstance(values, Tensor) or values.shape != y.shape:
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ModelError(
                f"states of shape {tuple(y.shape)} go to `{found}`; expected is a rate or next state for each: the "
                "Jacobian of anything else is not square."
            )
        return values

    def _differentiable(self, t: float, point: Tensor) -> Tensor:
        values = self._evaluated(t, point)
        if not values.requires_grad:
            raise ModelError("the function returns values without a gradient by the state: compute them in torch.")
        return values

    def starts(self, y0: Any) -> Float[Tensor, "batch state"]:
        """Initial states as rows: given by a tensor, by a dict of the System's states, or by the System itself."""
        if y0 is None:
            if self.field is None:
                raise DataError("a torch callable has no initial state of its own: give `y0`.")
            return self.field.initial.detach()[None]
        if isinstance(y0, Mapping):
            return self._named(y0)
        rows = torch.as_tensor(y0, dtype=torch.float64 if not isinstance(y0, Tensor) else None).detach()
        if rows.ndim not in (1, 2) or not rows.is_floating_point():
            raise DataError(f"`y0` has shape {tuple(rows.shape)}, {rows.dtype}; expected (state) or (batch, state).")
        if self.field is not None and rows.shape[-1] != len(self.field.names):
            raise DataError(
                f"`y0` has {rows.shape[-1]} entries, the System {len(self.field.names)} states: "
                f"`{'`, `'.join(self.field.names)}`."
            )
        return rows.reshape(-1, rows.shape[-1])

    def _named(self, y0: Mapping) -> Float[Tensor, "batch state"]:
        if self.field is None:
            raise DataError("a dict of initial values needs a System with named states: give a tensor.")
        system = self.field.system
        given = {checks.lookup(name, system.equations, "state"): np.asarray(v, dtype=float) for name, v in y0.items()}
        rows = self.field.initial_states(self.field.p, given).detach().numpy()
        columns = [given.get(x, rows[i]) for i, x in enumerate(system.states)]
        return torch.tensor(np.stack(np.broadcast_arrays(*np.atleast_1d(*columns)), axis=-1))

    def box(self, bounds: Any) -> tuple[Float[np.ndarray, " state"], Float[np.ndarray, " state"]]:
        """Lower and upper limits of all states, from a dict by name or a pair of sequences."""
        if isinstance(bounds, Mapping):
            if self.field is None:
                raise DataError("bounds by name need a System: give `(lower, upper)` with a number for each state.")
            system = self.field.system
            named = {checks.lookup(name, system.equations, "state"): pair for name, pair in bounds.items()}
            missing = [str(x) for x in system.states if x not in named]
            if missing:
                raise DataError(
                    f"`bounds` has no entry for the state `{missing[0]}`: give `{missing[0]}: (low, high)`."
                )
            low, high = (np.array([named[x][side] for x in system.states], dtype=float) for side in (0, 1))
        else:
            if len(bounds) != 2:
                raise DataError(
                    f"`bounds` has {len(bounds)} entries; expected is `(lower, upper)`, with a number for each state."
                )
            low, high = (np.atleast_1d(np.asarray(side, dtype=float)) for side in bounds)
        if low.shape != high.shape or low.ndim != 1 or not (low < high).all() or not np.isfinite([low, high]).all():
            raise DataError(
                f"`bounds` are {low} and {high}: each lower limit must be finite and below the upper one. "
                "Expected is `(lower, upper)`, each with a number for each state."
            )
        if self.field is not None and len(low) != len(self.field.names):
            raise DataError(f"`bounds` has {len(low)} entries, the System {len(self.field.names)} states.")
        return low, high

    def sample(self, bounds: Any, count: int, seed: int) -> Float[Tensor, "count state"]:
        """Points spread evenly over a box: a scrambled Sobol' sequence."""
        low, high = self.box(bounds)
        sobol = torch.quasirandom.SobolEngine(len(low), scramble=True, seed=seed)
        unit = sobol.draw(count, dtype=torch.float64)
        return torch.as_tensor(low) + torch.as_tensor(high - low) * unit


def names_of(evolution: Evolution, size: int) -> Sequence[str]:
    """Names of the states, or y0, y1, … where they have none."""
    return evolution.field.names if evolution.field is not None else [f"y{i}" for i in range(size)]
