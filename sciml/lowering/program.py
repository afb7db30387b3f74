"""The one intermediate form: scalar assignments and network calls over slots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from sciml.errors import ModelError
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

TIME = sp.Symbol("t", real=True)


def slot(kind: str, index: int) -> sp.Symbol:
    """A place for one number.

    `y[0]` state, `p[3]` parameter, `u[1]` input, `v[1]` its rate of change, `n[0]` network output, `c[0]` common
    subexpression.
    """
    return sp.Symbol(f"{kind}[{index}]", real=True)


@dataclass(frozen=True)
class Assign:
    """`target = expression`, one scalar."""

    target: sp.Symbol
    expression: sp.Expr


@dataclass(frozen=True)
class Output:
    """One number asked of a network: output `index`, differentiated by each argument number in `derivative`."""

    target: sp.Symbol
    index: int
    derivative: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One evaluation of a network at `inputs` (slots or numbers), with all that is asked of it there."""

    network: int
    inputs: tuple[sp.Expr, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Program:
    """Straight-line code that computes `results` from time `t`, states `y`, parameters `p`, inputs `u` and networks.

    Printers turn it into code (`torch_backend`, `native_backend`, exporters); names of the user never reach them,
    so what is printed depends on numbers and slots alone.
    """

    steps: tuple[Assign | Call, ...]
    results: tuple[sp.Expr, ...]
    states: int
    parameters: int
    networks: int
    inputs: int = 0

    @property
    def temporaries(self) -> int:
        """How many slots `c[...]` the steps fill."""
        return sum(isinstance(step, Assign) for step in self.steps)

    @property
    def outputs(self) -> int:
        """How many slots `n[...]` the network calls fill."""
        return sum(len(step.outputs) for step in self.steps if isinstance(step, Call))


def lower(system: System, expressions: Iterable[sp.Expr], arguments: Sequence[sp.Symbol] | None = None) -> Program:
    r"""Lower expressions in a System's symbols to a Program.

    Learned functions become network calls; their derivatives, :math:`\partial^k f/\partial x_i \cdots`, become
    outputs of the same call. Factors and scales of an `MLP` are carried out around the calls, so networks see
    scaled arguments only.

    Args:
        system: Gives parameters, inputs, networks and time their slots.
        expressions: What to compute.
        arguments: The symbols that fill `y`; the system's states by default.

    Raises:
        ModelError: A derivative or integral that is not one of a learned function.
    """
    arguments = tuple(system.states) if arguments is None else tuple(arguments)
    slots = {x: slot("y", i) for i, x in enumerate(arguments)}
    slots |= {x: slot("p", i) for i, x in enumerate(system.parameters)} | {system.time: TIME}
    slots |= {x: slot("u", i) for i, x in enumerate(system.inputs)}
    plain = [rewritten(sp.sympify(e)).xreplace(slots) for e in expressions]
    calls = _Calls(system)
    results = [calls.replace(expression) for expression in plain]
    return Program(
        steps=tuple(_schedule(calls, results)),
        results=tuple(results),
        states=len(arguments),
        parameters=len(system.parameters),
        networks=len(system.learned),
        inputs=len(system.inputs),
    )


# Functions that no printer needs to know, because they are written by others.
REWRITES = {
    sp.sec: lambda x: 1 / sp.cos(x),
    sp.csc: lambda x: 1 / sp.sin(x),
    sp.cot: lambda x: 1 / sp.tan(x),
    sp.sech: lambda x: 1 / sp.cosh(x),
    sp.csch: lambda x: 1 / sp.sinh(x),
    sp.coth: lambda x: 1 / sp.tanh(x),
    # (sin x + [x = 0]) / (x + [x = 0]): value 1 and slope 0 at zero, without a branch that divides by zero.
    sp.sinc: lambda x: (sp.sin(x) + _is_zero(x)) / (x + _is_zero(x)),
}


def _is_zero(x: sp.Expr) -> sp.Expr:
    return sp.Piecewise((1, sp.Eq(x, 0)), (0, True))


def rewritten(expression: sp.Expr) -> sp.Expr:
    """The expression without the functions of `REWRITES`."""
    result: Any = expression
    for function, form in REWRITES.items():
        result = result.replace(function, form)
    return result


class _Calls:
    """Collects the network calls of expressions and stands slots `n[...]` in for them."""

    def __init__(self, system: System):
        self.places = {f: (k, j) for k, group in enumerate(system.learned) for j, f in enumerate(group)}
        # Modules of the user have neither factors nor scales.
        self.networks = [network if isinstance(network, MLP) else MLP() for network in system.learned.values()]
        self.factors = {
            function: _position(system, function, factor)
            for group, network in zip(system.learned, self.networks)
            for function, factor in zip(group, network.factors or ())
            if factor is not None
        }
        self.outputs: dict[tuple[int, tuple], dict[tuple[int, tuple], sp.Symbol]] = {}
        self.count = 0

    def replace(self, expression: sp.Expr) -> sp.Expr:
        """The expression with learned functions and their derivatives replaced by slots, innermost first."""
        if isinstance(expression, AppliedUndef):
            return self._value(expression.func, expression.args, ())
        if isinstance(expression, sp.Derivative):
            return self._derivative(expression, {})
        if isinstance(expression, sp.Subs):
            if not isinstance(expression.expr, sp.Derivative):
                return self.replace(expression.doit())
            return self._derivative(expression.expr, dict(zip(expression.variables, expression.point)))
        if isinstance(expression, sp.Integral | sp.Sum | sp.Product | sp.Limit):
            raise ModelError(f"`{expression}` cannot be computed here: carry it out (`.doit()`) or learn it.")
        if not expression.args or not expression.has(AppliedUndef, sp.Derivative, sp.Subs):
            return expression
        return expression.func(*[self.replace(argument) for argument in expression.args])

    def _derivative(self, derivative: sp.Derivative, point: dict) -> sp.Expr:
        call = derivative.expr
        if not isinstance(call, AppliedUndef) or any(
            call.args.count(v) != 1 or sum(argument.has(v) for argument in call.args) != 1 for v in derivative.variables
        ):
            carried_out = derivative.doit().subs(point)
            if carried_out.has(derivative):
                raise ModelError(
                    f"the derivative `{derivative}` cannot be lowered: it is not one of a learned function."
                )
            return self.replace(carried_out)
        indices = tuple(sorted(call.args.index(v) for v in derivative.variables))
        return self._value(call.func, tuple(argument.subs(point) for argument in call.args), indices)

    def _value(self, function, arguments, derivative: tuple[int, ...]) -> sp.Expr:
        r"""A derivative of :math:`f(x) = g \, s^{out} N(x / s^{in})`, whose factor g is one of the arguments."""
        network, index = self.places[function]
        mlp = self.networks[network]
        inner = mlp.input_scale or (1.0,) * len(arguments)
        outer = mlp.output_scale[index] if mlp.output_scale else 1.0
        arguments = tuple(self.replace(argument) for argument in arguments)
        scaled = tuple(a if s == 1.0 else a / sp.Float(s) for a, s in zip(arguments, inner))

        def slope(indices: tuple[int, ...]) -> sp.Expr:
            scale = outer / math.prod(inner[i] for i in indices)
            return (1 if scale == 1.0 else sp.Float(scale)) * self._slot(network, scaled, index, indices)

        if function not in self.factors:
            return slope(derivative)
        # Leibniz: of the derivatives by the factor, at most one falls on the factor.
        factor = self.factors[function]
        value = arguments[factor] * slope(derivative)
        if factor in derivative:
            rest = list(derivative)
            rest.remove(factor)
            value += derivative.count(factor) * slope(tuple(rest))
        return value

    def _slot(self, network: int, arguments: tuple[sp.Expr, ...], index: int, derivative: tuple[int, ...]) -> sp.Symbol:
        wanted = self.outputs.setdefault((network, arguments), {})
        if (index, derivative) not in wanted:
            wanted[index, derivative] = slot("n", self.count)
            self.count += 1
        return wanted[index, derivative]


def _position(system: System, function, factor: sp.Symbol) -> int:
    positions = {call.args.index(factor) for call in system.calls(function) if factor in call.args}
    if len(positions) != 1:
        raise ModelError(f"factor `{factor}` must be the same argument in every call of `{function}`.")
    return positions.pop()


def _schedule(calls: _Calls, results: list[sp.Expr]) -> list[Assign | Call]:
    """Common subexpressions and calls in an order in which everything is known before it is used.

    `results` is rewritten in place in terms of the temporaries.
    """
    keys = list(calls.outputs)
    # Constants become numbers first: a shared sqrt(2) is no subexpression to compute at run time.
    inputs = [as_float(argument) for _, arguments in keys for argument in arguments]
    numbers = iter(range(10**9))
    names = (slot("c", i) for i in numbers)
    shared, reduced = shared_parts([*inputs, *map(as_float, results)], names)
    pending: list[Assign | Call] = [Assign(target, expression) for target, expression in shared]
    results[:] = [as_float(e) for e in reduced[len(inputs) :]]
    position = 0
    for network, arguments in keys:
        own = reduced[position : position + len(arguments)]
        position += len(arguments)
        atoms = []
        for expression in own:
            if not (expression.is_Symbol or expression.is_number):
                target = next(names)
                pending.append(Assign(target, expression))
                expression = target
            atoms.append(as_float(expression))
        outputs = tuple(Output(s, i, d) for (i, d), s in calls.outputs[network, arguments].items())
        pending.append(Call(network, tuple(atoms), outputs))
    return _renumbered(_ordered(pending), results)


def shared_parts(
    expressions: Sequence[sp.Expr], names: Iterator[sp.Symbol]
) -> tuple[list[tuple[sp.Symbol, sp.Expr]], list[sp.Expr]]:
    """What several expressions have in common, computed once: (name, value) pairs, and the expressions in their terms.

    A mere change of sign is left where it is: subtracting costs what adding does, and a value that is kept is stored.
    """
    shared, reduced = sp.cse(expressions, symbols=names, order="none")
    signs: dict[sp.Basic, sp.Basic] = {}
    kept: list[tuple[sp.Symbol, sp.Expr]] = []
    for name, value in shared:
        value = value.xreplace(signs)
        if value.is_Mul and (-value).is_Symbol:
            signs[name] = value
        else:
            kept.append((name, value))
    return kept, [expression.xreplace(signs) for expression in reduced] if signs else reduced


def _ordered(pending: list[Assign | Call]) -> list[Assign | Call]:
    missing = {target for step in pending for target in _targets(step)}
    ordered: list[Assign | Call] = []
    while pending:
        ready = [step for step in pending if not (_needs(step) & missing)]
        assert ready, "common subexpressions of a finite expression cannot be circular"
        for step in ready:
            missing -= set(_targets(step))
        ordered += ready
        pending = [step for step in pending if step not in ready]
    return ordered


def _targets(step: Assign | Call) -> list[sp.Symbol]:
    return [step.target] if isinstance(step, Assign) else [output.target for output in step.outputs]


def _needs(step: Assign | Call) -> set[sp.Basic]:
    sources = [step.expression] if isinstance(step, Assign) else step.inputs
    return set().union(*(source.free_symbols for source in sources))


def _renumbered(steps: list[Assign | Call], results: list[sp.Expr]) -> list[Assign | Call]:
    """The steps with temporaries and network outputs counted in order of execution, constants made floats."""
    new: dict[sp.Basic, sp.Basic] = {}
    counts = {"c": 0, "n": 0}
    for step in steps:
        kind = "c" if isinstance(step, Assign) else "n"
        for target in _targets(step):
            new[target] = slot(kind, counts[kind])
            counts[kind] += 1
    renamed: list[Assign | Call] = []
    for step in steps:
        if isinstance(step, Assign):
            renamed.append(Assign(new[step.target], as_float(step.expression.xreplace(new))))
        else:
            outputs = tuple(Output(new[o.target], o.index, o.derivative) for o in step.outputs)
            renamed.append(Call(step.network, tuple(i.xreplace(new) for i in step.inputs), outputs))
    results[:] = [result.xreplace(new) for result in results]
    return renamed


def as_float(expression: Any) -> Any:
    """The expression with its constant parts evaluated to float64 once; integer and half powers stay exact."""
    if isinstance(expression, sp.Expr) and expression.is_number:
        if expression.is_Integer and abs(int(expression)) < 2**53:
            return expression
        value = expression.evalf(20)
        if not (value.is_real and value.is_finite):
            raise ModelError(f"the constant `{expression}` is not a finite real number.")
        return sp.Float(float(value), precision=53)
    if not expression.args:
        return expression
    if expression.is_Pow and expression.exp.is_Rational and (2 * expression.exp).is_Integer:
        return sp.Pow(as_float(expression.base), expression.exp, evaluate=False)
    arguments = [as_float(argument) for argument in expression.args]
    return expression.func(*arguments, evaluate=False) if expression.is_Pow else expression.func(*arguments)
