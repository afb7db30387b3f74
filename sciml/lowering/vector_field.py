"""A System as a torch module: the right-hand side that solvers call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.errors import ModelError, quoted
from sciml.event import Event
from sciml.lowering.event_programs import event_kinds, event_programs
from sciml.lowering.native_backend import jacobian_program
from sciml.lowering.native_model import native_model
from sciml.lowering.networks import architectures, build_network, weights_of
from sciml.lowering.partition import momenta
from sciml.lowering.program import Program, lower
from sciml.lowering.provenance import suspects
from sciml.lowering.slopes import jacobian_expressions
from sciml.lowering.torch_backend import torch_function
from sciml.native.model import Model
from sciml.signals import SignalRows
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System


class VectorField(nn.Module):
    r"""The right-hand side :math:`\dot y = f(t, y)` of a System (of a map its next state), batched and differentiable.

    `field(t, y)` takes `y` of shape (..., states) and `t` as a number, a scalar tensor, or a tensor that broadcasts
    against `y`. Parameters of the System are the vector `field.p`; each learned group has a module in
    `field.networks`. Of a System with inputs, `field(t, y, u=...)` takes their values `u` (..., inputs), and
    `field.at(p, signals)` is the field along given ones.

    Attributes:
        system: The System it was made from.
        p: Values of all parameters, in the System's order.
        networks: One module per entry of `system.learned`.
        names: Names of the states.
        discrete: Whether it gives next states instead of rates.
        momenta: Which states a splitting method treats as momenta; None where the equations do not separate.
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
        self.names = tuple(map(str, system.states))
        self.discrete = system.discrete
        self.momenta = momenta(system)
        self.program = lower(system, system.equations.values())
        self._function = torch_function(self.program)
        self._observe = torch_function(lower(system, (*system.states, *system.observed.values())))
        self._models: dict[bool, Model] = {}
        self._initial: dict[tuple, Tensor | Callable[..., Tensor]] = {}
        self._conditions = [torch_function(lower(system, [event.condition])) for event in system.events]
        self._resets = [
            event.reset and torch_function(lower(system, [event.reset.get(x, x) for x in system.states]))
            for event in system.events
        ]

    def forward(
        self, t: Any, y: Float[Tensor, "... state"], p: Any = None, u: Any = None
    ) -> Float[Tensor, "... state"]:
        """The right-hand side, with other values `p` (..., parameters) than the field's own where they are given."""
        if u is None and self.system.inputs:
            raise ModelError(
                f"the System has inputs, {quoted(self.system.inputs)}: give their values, `field(t, y, u=...)`, or their "
                "course over time, `simulate(system, ts, inputs={...})`."
            )
        return self._function(self._time(t, y), y, self.p if p is None else p, self.networks, u)

    def jacobian(
        self, t: Any, y: Float[Tensor, "... state"], p: Any = None, u: Any = None
    ) -> Float[Tensor, "... state state"]:
        """Derivatives of the right-hand side by the states, from the equations; row of the rate, column of the state."""
        values = self._jacobian(self._time(t, y), y, self.p if p is None else p, self.networks, u)
        return values.unflatten(-1, (y.shape[-1], -1))

    @cached_property
    def _jacobian(self) -> Callable[..., Tensor]:
        return torch_function(lower(self.system, jacobian_expressions(self.system)))

    @torch.no_grad()
    def explain(self, t: Any, y: Float[Tensor, " state"], p: Any = None, u: Any = None) -> str | None:
        """Which learned output or term is not a finite number at a state, in words; None where all are finite."""
        function, words = self._suspects
        values = function(self._time(t, y), y, self.p if p is None else p, self.networks, u)
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        return words[bad[0]] if bad else None

    @cached_property
    def _suspects(self) -> tuple[Callable[..., Tensor], tuple[str, ...]]:
        program, words = suspects(self.system)
        return torch_function(program), words

    def observe(
        self, t: Any, y: Float[Tensor, "... state"], p: Any = None, u: Any = None
    ) -> Float[Tensor, "... value"]:
        """States and observed expressions, in this order, at the states `y`."""
        return self._observe(self._time(t, y), y, self.p if p is None else p, self.networks, u)

    def at(self, p: Float[Tensor, "... parameter"], signals: SignalRows | None = None) -> FieldAt:
        """The same field with other values of the parameters, which may differ along a batch, and with its inputs."""
        return FieldAt(self, p, signals)

    def native(self, stiff: bool) -> Model:
        """Native code for the right-hand side, with its Jacobian for a stiff method; made once.

        Raises:
            ModelError: The System, or one of its networks, has no native form.
        """
        if stiff not in self._models:
            programs = {"field": self.program} | event_programs(self.system)
            programs |= {"jacobian": jacobian_program(self.system)} if stiff else {}
            kinds, networks = event_kinds(self.system), architectures(self.networks)
            self._models[stiff] = native_model(programs, networks, free=0, reverse=(), events=kinds)
        return self._models[stiff]

    def _time(self, t: Any, y: Tensor) -> Tensor:
        return t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=y.dtype, device=y.device)

    @property
    def events(self) -> tuple[Event, ...]:
        """The System's events as functions of `(t, y)`, for `solve`."""
        return self.events_at(self.p)

    def events_at(
        self, p: Float[Tensor, "... parameter"], inputs: Callable[[Tensor, Tensor], Tensor | None] | None = None
    ) -> tuple[Event, ...]:
        """The events at some values of the parameters, and with inputs as a function of time and state."""
        given = inputs or (lambda t, y: None)
        pairs = zip(self.system.events, self._conditions, self._resets)
        return tuple(
            replace(
                event,
                condition=lambda t, y, c=condition: c(t, y, p, self.networks)[..., 0],
                reset=reset and (lambda t, y, r=reset: r(t, y, p, self.networks, given(t, y))),
            )
            for event, condition, reset in pairs
        )

    @property
    def initial(self) -> Float[Tensor, " state"]:
        return self.initial_states(self.p)

    def initial_states(
        self, p: Float[Tensor, "... parameter"], known: Collection[sp.Symbol] = ()
    ) -> Float[Tensor, "... state"]:
        """Initial states from the System's values at some values of the parameters; zero for the `known` states.

        Raises:
            ModelError: A state that is not known has no initial value.
        """
        key = tuple(known)
        if key not in self._initial:
            self._initial[key] = self._lowered_initial(key)
        found = self._initial[key]
        if isinstance(found, Tensor):
            return found.expand(*p.shape[:-1], -1) if p.ndim > 1 else found
        return found(p[..., :0], p[..., :0], p, self.networks)

    def _lowered_initial(self, known: tuple[sp.Symbol, ...]) -> Tensor | Callable[..., Tensor]:
        """The initial states as a function, or as numbers where they depend on nothing."""
        system = self.system
        missing = [x for x in system.states if x not in system.initial and x not in known]
        if missing:
            raise ModelError(
                f"{quoted(missing)} has no initial value. Give one in `System(initial={{{missing[0]}: ...}})` or in "
                f"the call: `initial={{{missing[0]}: ...}}`."
            )
        program = initial_program(system, [sp.S.Zero if x in known else system.initial[x] for x in system.states])
        if all(value.is_number for value in program.results):
            return torch.tensor([float(value) for value in program.results], dtype=torch.float64)
        return torch_function(program)

    def learned_values(self, group: tuple, arguments: Float[Tensor, "... argument"]) -> Float[Tensor, "... function"]:
        """The functions of one learned group at given arguments, with factors and scales."""
        formals = [sp.Symbol(f"argument_{i}", real=True) for i in range(self.system.arity(group))]
        program = lower(self.system, [function(*formals) for function in group], formals)
        return torch_function(program)(self._time(0.0, arguments), arguments, self.p, self.networks)


class FieldAt:
    """A field with given values of the parameters, as solvers take it.

    Args:
        field: The field.
        p: Values of the parameters; a row per trajectory where they differ.
        signals: The inputs; a row per trajectory where they differ.
    """

    def __init__(self, field: VectorField, p: Float[Tensor, "... parameter"], signals: SignalRows | None = None):
        self.field, self.p, self.signals = field, p, signals
        self.names, self.momenta, self.events = field.names, field.momenta, field.events_at(p, self.inputs)
        self.jumps = None if signals is None else signals.jumps
        self.discrete = field.discrete

    def inputs(self, t: Any, y: Float[Tensor, "... state"]) -> Float[Tensor, "... input"] | None:
        """Values of the inputs at a time, with the dimensions of the batch."""
        if self.signals is None:
            return None
        u = self.signals(t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=y.dtype))
        return u.squeeze(0) if y.ndim == 1 and u.ndim > 1 else u

    def __call__(self, t: Any, y: Float[Tensor, "... state"]) -> Float[Tensor, "... state"]:
        return self.field(t, y, self.p, self.inputs(t, y))

    def jacobian(self, t: Any, y: Float[Tensor, "... state"]) -> Float[Tensor, "... state state"]:
        """Derivatives of the right-hand side by the states."""
        return self.field.jacobian(t, y, self.p, self.inputs(t, y))

    def explain(self, t: Any, y: Float[Tensor, " state"]) -> str | None:
        """What is not finite at a state, where one set of parameters and inputs serves all trajectories."""
        one = self.p.ndim == 1 and (self.signals is None or len(self.signals.starts) == 1)
        return self.field.explain(t, y, self.p, self.inputs(t, y)) if one else None


def initial_program(system: System, values: Iterable[sp.Expr | Parameter]) -> Program:
    """The Program that computes initial values from the parameters alone."""
    return lower(system, [v.value if isinstance(v, Parameter) else v for v in values], arguments=())


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
