"""A dynamical system as a value: SymPy equations and what is declared about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef, UndefinedFunction

from sciml.errors import ModelError, quoted, suggestion
from sciml.event import Event
from sciml.symbolic import checks, mechanics, wiener
from sciml.symbolic.declarations import Parameter


@dataclass(frozen=True)
class System:
    r"""Ordinary differential equations :math:`\dot x = f(t, x; p)` in plain SymPy, unknown functions included.

    With `discrete=True` it is the map :math:`x_{n+1} = f(n, x_n; p)`.

    Args:
        equations: State symbol -> right-hand side of its first-order equation, or its next value.
        parameters: Symbol -> `Parameter` (to be fitted) or plain number (known).
        learned: Undefined function, or tuple of functions that share one network -> `MLP(...)` or any
            `torch.nn.Module` that maps `(..., arguments)` to `(..., functions)`.
        initial: State -> number, expression of parameters, or `Parameter` to be fitted. A state left out takes its
            start from the data (fitted), or from `simulate(initial=...)`.
        observed: Name or symbol -> expression of states that can be measured or plotted.
        noise: State -> diffusion coefficient (Itô), for a stochastic system: `{x: sigma * x}` moves each state by a Wiener
            process of its own, `{x: {"W": a, "V": b}, y: {"W": c}}` several states by the same ones. `sciml.correlated`
            makes it from a covariance matrix.
        time: The symbol of time. An undeclared symbol called `t` is taken by itself.
        events: `Event(condition, ...)`: where an expression passes through zero the trajectory ends, or states are
            reset by `reset={state: expression}`.
        discrete: Whether the equations give the next state instead of the rate. Maps can be simulated and analyzed
            (`sciml.dynamics`), not fitted.
        inputs: Symbols whose values over time are given with the data or the call: a list, or symbol -> how they go
            from sample to sample: "constant" (a sample holds until the next), "linear" (the default), or "cubic" (a
            spline).

    Raises:
        ModelError: Unknown or misspelt symbols, undefined functions nobody says how to learn, states that are not
            `real=True`, and other slips; the message says what to write instead.

    Example:
        >>> import sympy as sp
        >>> from sciml import MLP, Parameter, System
        >>> x, k = sp.symbols("x k", real=True)
        >>> force = sp.Function("force")
        >>> System({x: -k * x + force(x)}, parameters={k: Parameter(1.0)}, learned={force: MLP(hidden=8)})
        System(x' = -k*x + force(x))
    """

    equations: Mapping[sp.Symbol, sp.Expr]
    parameters: Mapping[sp.Symbol, Parameter] = field(default_factory=dict)
    learned: Mapping[tuple[UndefinedFunction, ...], Any] = field(default_factory=dict)
    initial: Mapping[sp.Symbol, sp.Expr | Parameter] = field(default_factory=dict)
    observed: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)
    noise: Mapping[sp.Symbol, sp.Expr | Mapping[Any, sp.Expr]] = field(default_factory=dict)
    time: sp.Symbol | None = None
    events: Sequence[Event] = ()
    discrete: bool = False
    inputs: Mapping[sp.Symbol, str] | Sequence[sp.Symbol] = ()
    report: Any = field(default=None, compare=False, repr=False)
    """Where this System came from, when `discover` made it: the ranked candidates."""

    def __post_init__(self):
        for name, value in checks.normalized(self).items():
            object.__setattr__(self, name, value)
        checks.check(self)

    @property
    def states(self) -> tuple[sp.Symbol, ...]:
        return tuple(self.equations)

    @property
    def functions(self) -> tuple[UndefinedFunction, ...]:
        """All functions to be learned, in order of declaration."""
        return tuple(function for group in self.learned for function in group)

    @property
    def formulas(self) -> tuple[sp.Expr, ...]:
        """All expressions in which learned functions may occur: equations, observables, noise, events."""
        events = checks.event_formulas(self.events)
        noise = (coefficient for _, _, coefficient in wiener.terms(self.noise))
        return (*self.equations.values(), *self.observed.values(), *noise, *events)

    @property
    def processes(self) -> tuple[sp.Symbol, ...]:
        """The Wiener processes of the noise: columns of `diffusion`."""
        return wiener.processes(self.noise)

    @property
    def diffusion(self) -> sp.Matrix:
        r"""The matrix G of :math:`dx = f\,dt + G\,dW`: a row for each state, a column for each Wiener process."""
        return wiener.diffusion_matrix(self.noise, self.states)

    def calls(self, function: UndefinedFunction) -> set[AppliedUndef]:
        """The calls of a learned function in the formulas, as the user wrote them (not those inside `Subs`)."""
        found = {c for formula in self.formulas for c in formula.atoms(AppliedUndef) if c.func == function}
        return {c for c in found if not any(argument.has(sp.Dummy) for argument in c.args)} or found

    def arity(self, group: tuple[UndefinedFunction, ...]) -> int:
        """Number of arguments of the functions of a learned group."""
        return len(next(iter(self.calls(group[0]))).args)

    def symbol(self, name: str | sp.Symbol) -> sp.Symbol:
        """The system's own symbol of that name: a state, an observable, a parameter, an input or time."""
        known = {str(s): s for s in (*self.states, *self.observed, *self.parameters, *self.inputs, self.time)}
        if str(name) not in known:
            raise ModelError(
                f"`{name}` is neither a state, an observable, a parameter nor an input. The system has {quoted(known)}."
                f"{suggestion(name, known)}"
            )
        return known[str(name)]

    def with_parameters(self, values: Mapping[sp.Symbol | str, Parameter | float]) -> System:
        """The same equations with some parameters replaced; a number keeps bounds, prior and whether it is fixed."""
        parameters = dict(self.parameters)
        for name, value in values.items():
            symbol = checks.lookup(name, parameters, "parameter")
            parameters[symbol] = value if isinstance(value, Parameter) else replace(parameters[symbol], value=value)
        return replace(self, parameters=parameters)

    def with_initial(self, values: Mapping[sp.Symbol | str, Parameter | sp.Expr | float]) -> System:
        """The same equations with some initial values replaced."""
        named = {checks.lookup(name, self.equations, "state"): value for name, value in values.items()}
        return replace(self, initial={**self.initial, **named})

    def with_learned(self, networks: Mapping[Any, Any]) -> System:
        """The same equations with some networks replaced; keys as in `learned`."""
        return replace(self, learned={**self.learned, **checks.grouped(networks)})

    def with_observed(self, expressions: Mapping[sp.Symbol | str, sp.Expr]) -> System:
        """The same equations with more named expressions that can be measured or plotted."""
        return replace(self, observed={**self.observed, **checks.named(expressions)})

    def substitute(
        self,
        replacements: Mapping[Any, sp.Expr | float | Callable[..., sp.Expr]],
        parameters: Mapping[sp.Symbol, Parameter | float] | None = None,
    ) -> System:
        r"""Replace parameters and inputs by expressions and learned functions by closed forms.

        Args:
            replacements: Parameter or input -> expression or number; function -> callable of its arguments
                (`lambda hare, lynx: c * hare * lynx`, or a `sympy.Lambda`). Derivatives of a replaced function
                are carried out.
            parameters: Declarations of symbols that the replacements bring in.

        Returns:
            A new System without the replaced parameters, inputs and functions.

        Example:
            >>> import sympy as sp
            >>> from sciml import System
            >>> x, k, c = sp.symbols("x k c", real=True)
            >>> System({x: -k * x}, parameters={k: 1.0}).substitute({k: c**2}, parameters={c: 2.0})
            System(x' = -c**2*x)
        """
        replaceable = (*self.parameters, *self.inputs, *self.functions)
        role = "parameter, input or learned function"
        table = {checks.lookup(k, replaceable, role): v for k, v in replacements.items()}
        functions = {key: value for key, value in table.items() if key in self.functions}
        symbols = {
            key: checks.expression(value, f"the replacement of `{key}`")
            for key, value in table.items()
            if key not in functions
        }

        def apply(expression):
            if isinstance(expression, Parameter):
                return expression
            for function, form in functions.items():
                expression = expression.replace(function, form)
            return (expression.doit() if functions else expression).xreplace(symbols)

        def apply_all(table):
            return {key: apply(value) for key, value in table.items()}

        partial = [g for g in self.learned if 0 < sum(f in functions for f in g) < len(g)]
        if partial:
            raise ModelError(
                f"{quoted(partial[0])} share one network: replace them together, or declare a network for each."
            )
        return replace(
            self,
            equations=apply_all(self.equations),
            observed=apply_all(self.observed),
            initial=apply_all(self.initial),
            noise=wiener.mapped(self.noise, apply),
            events=tuple(
                replace(event, condition=apply(event.condition), reset=event.reset and apply_all(event.reset))
                for event in self.events
            ),
            parameters={k: v for k, v in self.parameters.items() if k not in symbols} | dict(parameters or {}),
            learned={group: net for group, net in self.learned.items() if group[0] not in functions},
            inputs={u: how for u, how in self.inputs.items() if u not in symbols},
        )

    def jacobian(self) -> sp.Matrix:
        r"""The matrix :math:`\partial f_i / \partial x_j`; derivatives of learned functions stay symbolic."""
        return sp.Matrix([[rhs.diff(x) for x in self.states] for rhs in self.equations.values()])

    def time_derivative(self, expression: sp.Expr, order: int = 1) -> sp.Expr:
        r"""Derivative of an expression along the equations (its Lie derivative), learned functions included.

        .. math:: \dot g = \frac{\partial g}{\partial t} + \sum_i \frac{\partial g}{\partial x_i} f_i(t, x)

        Second derivatives are derivatives of the first, and so on. Learned functions of states become derivatives of
        these functions, which are computed exactly. Between two resets of an event, the equations hold.

        Args:
            expression: Expression of states, observables, parameters and time; learned functions may occur.
            order: How often to differentiate, a whole number from 0.

        Raises:
            ModelError: The order is no such number, a symbol or function in the expression is not the system's, or the rate
                of change of an input would be needed, which the equations do not tell.

        Example:
            >>> x, v = sp.symbols("x v", real=True)
            >>> System({x: v, v: -x}).time_derivative(x * v)
            v**2 - x**2
        """
        if self.discrete:
            raise ModelError("a map has no time derivative: `discrete=True` takes the state from one step to the next.")
        if not isinstance(order, int) or isinstance(order, bool) or order < 0:
            raise ModelError(f"`order={order!r}` of a time derivative must be a whole number from 0: 1, 2, …")
        where = "the expression to differentiate"
        result = checks.expression(expression, where).subs(self.observed)
        checks.check_formula(self, where, result)
        for _ in range(order):
            given = sorted(map(str, result.free_symbols & set(self.inputs)))
            if given:
                raise ModelError(
                    f"`{result}` depends on the input `{given[0]}`, whose rate of change the equations do not tell. "
                    f"Give the input as an expression of time first: `system.substitute({{{given[0]}: ...}})`."
                )
            along = sum(result.diff(x) * rhs for x, rhs in self.equations.items())
            result = result.diff(self.time) + along
        return result

    @classmethod
    def from_equations(cls, equations: Sequence[sp.Eq], time: sp.Symbol | None = None, **declarations) -> System:
        r"""First-order System from differential equations of any order.

        The states of `x(t)` are the symbols `x`, `x_dot`, `x_ddot`, …; the highest derivatives must occur linearly.

        Args:
            equations: As many as there are functions of time; an expression stands for "= 0".
            time: The independent variable; found in the derivatives if left out.
            declarations: As for `System`; initial values and observables may be written in `x(t)`.

        Example:
            >>> t, w = sp.symbols("t omega", real=True)
            >>> x = sp.Function("x")(t)
            >>> System.from_equations([sp.Eq(x.diff(t, 2), -w**2 * x)], parameters={w: 2.0})
            System(x' = x_dot, x_dot' = -omega**2*x)
        """
        learned = [function for group in checks.grouped(declarations.get("learned", {})) for function in group]
        states, functions, time = mechanics.first_order(equations, time, learned)
        return cls(states, time=time, **mechanics.declarations_to_symbols(declarations, functions, time))

    @classmethod
    def from_hamiltonian(cls, hamiltonian: sp.Expr, pairs: Mapping[sp.Symbol, sp.Symbol], **declarations) -> System:
        r"""Hamilton's equations :math:`\dot q = \partial H/\partial p`, :math:`\dot p = -\partial H/\partial q`.

        Args:
            hamiltonian: H(q, p), in which functions to be learned may occur.
            pairs: Coordinate -> conjugate momentum.
            declarations: As for `System`.

        Example:
            >>> from sciml import MLP
            >>> q, p = sp.symbols("q p", real=True)
            >>> System.from_hamiltonian(p**2 / 2 + sp.Function("V")(q), {q: p}, learned={sp.Function("V"): MLP()})
            System(q' = p, p' = -Derivative(V(q), q))
        """
        return cls(mechanics.hamilton(hamiltonian, pairs), **declarations)

    @classmethod
    def from_lagrangian(cls, lagrangian: sp.Expr, coordinates: Sequence[sp.Expr], **declarations) -> System:
        r"""The Euler-Lagrange equations of :math:`L(q, \dot q, t)`, solved for the accelerations.

        Args:
            lagrangian: Expression of `q(t)` and `q(t).diff(t)`, in which functions to be learned may occur.
            coordinates: The functions `q(t)`; the states are the symbols `q` and `q_dot`.
            declarations: As for `System`.

        Example:
            >>> t, g = sp.symbols("t g", real=True)
            >>> q = sp.Function("q")(t)
            >>> System.from_lagrangian(q.diff(t) ** 2 / 2 + g * sp.cos(q), [q], parameters={g: 9.81})
            System(q' = q_dot, q_dot' = -g*sin(q))
        """
        states, time = mechanics.euler_lagrange(lagrangian, coordinates)
        return cls(states, time=time, **mechanics.declarations_to_symbols(declarations, coordinates, time))

    def __repr__(self) -> str:
        sign = " ->" if self.discrete else "' ="
        return "System(" + ", ".join(f"{x}{sign} {rhs}" for x, rhs in self.equations.items()) + ")"

    def _repr_latex_(self) -> str:
        """The equations, as a notebook shows them."""
        arrow = r"{} &\mapsto {}" if self.discrete else r"\dot{{{}}} &= {}"
        moved = dict.fromkeys(self.states, "")
        for x, process, coefficient in wiener.terms(self.noise):
            moved[x] += rf" + \left({sp.latex(coefficient)}\right) \dot{{{sp.latex(process)}}}"
        rows = [arrow.format(sp.latex(x), sp.latex(rhs) + moved[x]) for x, rhs in self.equations.items()]
        rows += [rf"{sp.latex(name)} &= {sp.latex(value)}" for name, value in self.observed.items()]
        for event in self.events:
            after = ", ".join(rf"{sp.latex(x)} \mapsto {sp.latex(e)}" for x, e in (event.reset or {}).items())
            rows.append(rf"{sp.latex(event.condition)} &= 0 \;\Rightarrow\; {after or event.consequence}")
        return r"$\displaystyle \begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}$"
