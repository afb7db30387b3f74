"""A System as a torch module: the right-hand side that solvers call."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.errors import ModelError, quoted
from sciml.event import Event
from sciml.lowering.networks import build_network, weights_of
from sciml.lowering.program import Program, lower
from sciml.lowering.torch_backend import torch_function
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System


class VectorField(nn.Module):
    r"""The right-hand side :math:`\dot y = f(t, y)` of a System, batched and differentiable.

    `field(t, y)` takes `y` of shape (..., states) and `t` as a number, a scalar tensor, or a tensor that broadcasts
    against `y`. Parameters of the System are the vector `field.p`; each learned group has a module in
    `field.networks`.

    Attributes:
        system: The System it was made from.
        p: Values of all parameters, in the System's order.
        networks: One module per entry of `system.learned`.
        initial: Initial state (states) from the System's values; raises where one is missing.
    """

    def __init__(self, system: System, seed: int = 0):
        super().__init__()
        self.system = system
        values = [parameter.value for parameter in system.parameters.values()]
        self.p = nn.Parameter(torch.tensor(values, dtype=torch.float64))
        self.networks = nn.ModuleList(
            build_network(network, system.arity(group), len(group), seed + k)
            if isinstance(network, MLP)
            else deepcopy(network)  # a System is a value: training a copy leaves the user's module alone
            for k, (group, network) in enumerate(system.learned.items())
        )
        self.program = lower(system, system.equations.values())
        self._function = torch_function(self.program)
        self._observe = torch_function(lower(system, (*system.states, *system.observed.values())))
        self._conditions = [torch_function(lower(system, [event.condition])) for event in system.events]
        self._resets = [
            event.reset and torch_function(lower(system, [event.reset.get(x, x) for x in system.states]))
            for event in system.events
        ]

    def forward(self, t: Any, y: Float[Tensor, "... state"]) -> Float[Tensor, "... state"]:
        return self._function(self._time(t, y), y, self.p, self.networks)

    def observe(self, t: Any, y: Float[Tensor, "... state"]) -> Float[Tensor, "... value"]:
        """States and observed expressions, in this order, at the states `y`."""
        return self._observe(self._time(t, y), y, self.p, self.networks)

    def _time(self, t: Any, y: Tensor) -> Tensor:
        return t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=y.dtype, device=y.device)

    @property
    def events(self) -> tuple[Event, ...]:
        """The System's events as functions of `(t, y)`, for `solve`."""
        pairs = zip(self.system.events, self._conditions, self._resets)
        return tuple(
            replace(
                event,
                condition=lambda t, y, c=condition: c(t, y, self.p, self.networks)[..., 0],
                reset=reset and (lambda t, y, r=reset: r(t, y, self.p, self.networks)),
            )
            for event, condition, reset in pairs
        )

    @property
    def initial(self) -> Float[Tensor, " state"]:
        missing = [x for x in self.system.states if x not in self.system.initial]
        if missing:
            raise ModelError(
                f"{quoted(missing)} has no initial value. Give one in `System(initial={{{missing[0]}: ...}})` or in "
                f"the call: `initial={{{missing[0]}: ...}}`."
            )
        return torch_function(self.initial_program(self.system))(self.p[:0], self.p[:0], self.p, self.networks)

    @staticmethod
    def initial_program(system: System) -> Program:
        """The Program that computes the initial state from the parameters alone."""
        values = [system.initial[x] for x in system.states]
        return lower(system, [v.value if isinstance(v, Parameter) else v for v in values], inputs=())

    def learned_values(self, group: tuple, arguments: Float[Tensor, "... argument"]) -> Float[Tensor, "... function"]:
        """The functions of one learned group at given arguments, with factors and scales."""
        formals = [sp.Symbol(f"argument_{i}", real=True) for i in range(self.system.arity(group))]
        program = lower(self.system, [function(*formals) for function in group], inputs=formals)
        return torch_function(program)(self._time(0.0, arguments), arguments, self.p, self.networks)


def compile(system: System, seed: int = 0) -> VectorField:
    """The right-hand side of a System as a torch module.

    Args:
        system: What to compile.
        seed: Of the random weights of networks that have none yet.

    Example:
        >>> import sympy as sp, torch
        >>> x, k = sp.symbols("x k", real=True)
        >>> field = compile(System({x: -k * x}, parameters={k: 2.0}))
        >>> field(0.0, torch.tensor([[1.0], [3.0]]))
        tensor([[-2.],
                [-6.]], grad_fn=<StackBackward0>)
    """
    return VectorField(system, seed)


def trained_system(field: VectorField) -> System:
    """The System with the field's parameter values and network weights written into its declarations."""
    system = field.system
    values = dict(zip(system.parameters, field.p.detach().tolist()))
    learned = {
        group: replace(network, weights=weights_of(module)) if isinstance(network, MLP) else module
        for (group, network), module in zip(system.learned.items(), field.networks)
    }
    return replace(
        system.with_learned(learned),
        parameters={
            symbol: replace(parameter, value=values[symbol]) for symbol, parameter in system.parameters.items()
        },
    )
