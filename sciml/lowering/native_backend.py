"""Printer of Programs for the native engine: numba source with literal sizes, values and exact derivatives.

The reverse pass is written out symbolically: every scalar assignment sends its cotangent to its slots through SymPy's
derivatives, every network call through its generated backward function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import sympy as sp
from sympy.printing.pycode import AbstractPythonCodePrinter

from sciml.errors import ModelError
from sciml.lowering.program import Assign, Call, Program, lower, shared_parts, slot
from sciml.lowering.slopes import flattened, jacobian_expressions, slope
from sciml.native.jets import Jet, closure
from sciml.native.networks import Perceptron, aligned
from sciml.symbolic.system import System

FUNCTIONS = {
    "Abs": "abs",
    "acos": "math.acos",
    "acosh": "math.acosh",
    "asin": "math.asin",
    "asinh": "math.asinh",
    "atan": "math.atan",
    "atan2": "math.atan2",
    "atanh": "math.atanh",
    "cos": "math.cos",
    "cosh": "math.cosh",
    "erf": "math.erf",
    "erfc": "math.erfc",
    "exp": "math.exp",
    "loggamma": "math.lgamma",
    "log": "math.log",
    "sin": "math.sin",
    "sinh": "math.sinh",
    "tan": "math.tan",
    "tanh": "math.tanh",
    "Floor": "math.floor",
    "Ceiling": "math.ceil",
}


FIRST = sp.Symbol("__first__", real=True)
"""The constant of a trajectory: 1 for a shot that starts at its experiment's initial value, 0 for one at a node."""


class NumbaPrinter(AbstractPythonCodePrinter):
    """Scalar Python that numba compiles."""

    printmethod = "_numba"

    def _print_Symbol(self, expr):
        return expr.name

    def _print_Float(self, expr):
        return repr(float(expr))

    _print_Rational = _print_Float

    def _print_Integer(self, expr):
        return f"{int(expr)}.0"

    def _print_Pow(self, expr, rational=False):
        base = self.parenthesize(expr.base, 90)
        if expr.exp == sp.Rational(1, 2):
            return f"math.sqrt({self._print(expr.base)})"
        if expr.exp == -sp.Rational(1, 2):
            return f"(1.0 / math.sqrt({self._print(expr.base)}))"
        if expr.exp.is_Integer and 1 < abs(int(expr.exp)) <= 3 and expr.base.is_Symbol:
            product = " * ".join([base] * abs(int(expr.exp)))
            return f"({product})" if expr.exp > 0 else f"(1.0 / ({product}))"
        if expr.exp == -1:
            return f"(1.0 / {base})"
        # An integer exponent keeps negative bases real.
        exponent = str(int(expr.exp)) if expr.exp.is_Integer else self._print(expr.exp)
        return f"({base} ** ({exponent}))"

    def _print_Max(self, expr):
        return self._fold("max", expr.args)

    def _print_Min(self, expr):
        return self._fold("min", expr.args)

    def _fold(self, name, arguments):
        text = self._print(arguments[0])
        for argument in arguments[1:]:
            text = f"{name}({text}, {self._print(argument)})"
        return text

    def _print_Sign(self, expr):
        x = self._print(expr.args[0])
        return f"(1.0 if {x} > 0.0 else (-1.0 if {x} < 0.0 else 0.0))"

    def _print_Heaviside(self, expr):
        x, at_zero = self._print(expr.args[0]), float(expr.args[1]) if len(expr.args) > 1 else 0.5
        return f"(1.0 if {x} > 0.0 else (0.0 if {x} < 0.0 else {at_zero!r}))"

    def _print_Piecewise(self, expr) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        text = "math.nan"
        for value, condition in reversed(expr.args):
            if condition == sp.true:
                text = self._print(value)
            else:
                text = f"({self._print(value)} if {self._print(condition)} else {text})"
        return text

    def _print_And(self, expr):
        return "(" + " and ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Or(self, expr):
        return "(" + " or ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Not(self, expr):
        return f"(not ({self._print(expr.args[0])}))"

    def _print_Relational(self, expr):
        return f"({self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)})"

    def _print_Function(self, expr):
        name = expr.func.__name__
        if name not in FUNCTIONS:
            raise ModelError(f"`{expr}`: the function `{name}` cannot be computed natively.")
        text = f"{FUNCTIONS[name]}({', '.join(self._print(a) for a in expr.args)})"
        return f"float({text})" if name in ("Floor", "Ceiling") else text


def jacobian_program(system: System) -> Program:
    """What stiff methods need beside the right-hand side: its derivatives by the states and, if it has any, by time."""
    slopes = []
    for e in map(flattened, system.equations.values()):
        along = [slope(e, u) * slot("v", i) for i, u in enumerate(system.inputs)]
        slopes.append(sp.Add(slope(e, system.time), *along))
    return lower(system, [*jacobian_expressions(system), *(slopes if any(s != 0 for s in slopes) else ())])


@dataclass(frozen=True)
class Layout:
    """Where one routine keeps things in a tape row: each call's section, then the temporaries."""

    sections: tuple[int, ...]
    temporaries: int
    width: int


class _Evaluation:
    """One network call: which generated code computes it, and where its numbers lie in the tape section."""

    def __init__(self, network: Perceptron, call: Call):
        self.network, self.call = network, call
        wanted = [output.derivative for output in call.outputs]
        if any(len(derivative) > 2 for derivative in wanted):
            raise ModelError("derivatives of learned functions are native up to second order")
        self.indices = closure(wanted) if any(wanted) else ((),)
        name = "_".join(["jet", *("".join(map(str, index)) for index in self.indices[1:])])
        self.code = Jet(network, f"{network.name}_{name}", self.indices) if any(wanted) else network

    @property
    def tape(self) -> int:
        return self.code.tape

    def output(self, index: tuple[int, ...]) -> int:
        return self.code.output(index) if isinstance(self.code, Jet) else self.code.output

    def output_cotangent(self, index: tuple[int, ...]) -> int:
        return self.code.output_cotangent(index) if isinstance(self.code, Jet) else self.code.output_cotangent


class Routine:
    """Writes value, vjp and weights of one Program."""

    def __init__(self, role: str, program: Program, networks: Sequence[Perceptron], differentiable: bool):
        self.role, self.networks, self.differentiable = role, networks, differentiable
        self.steps = [Assign(s.target, flattened(s.expression)) if isinstance(s, Assign) else s for s in program.steps]
        self.results = [flattened(result) for result in program.results]
        self.program = program
        self.printer = NumbaPrinter()
        self.calls = [step for step in self.steps if isinstance(step, Call)]
        self.evaluations = [_Evaluation(networks[call.network], call) for call in self.calls]
        starts, end = [], 0
        for evaluation in self.evaluations:
            starts.append(end)
            end += aligned(evaluation.tape)
        width = aligned(end + program.temporaries)
        self.layout = Layout(tuple(starts), end, width)

    def source(self) -> str:
        parts = [*(jet.source().splitlines() for jet in self.jets()), self._value()]
        if self.differentiable:
            parts.append(self._vjp())
            if self.calls:
                parts.append(self._weights())
        return "\n\n".join("\n".join(lines) for lines in parts) + "\n"

    def jets(self) -> list[Jet]:
        """The derivative functions that this routine calls, each once."""
        return list({e.code.name: e.code for e in self.evaluations if isinstance(e.code, Jet)}.values())

    def _print(self, expression: sp.Expr) -> str:
        return _local(self.printer.doprint(expression))

    def _value(self) -> list[str]:
        lines = ["@value", f"def {self.role}_value(t, y, p, u, tape, out):", *self._inputs()]
        place = self.layout.temporaries
        number = 0
        calls = iter(zip(self.evaluations, self.layout.sections))
        for step in self.steps:
            if isinstance(step, Assign):
                name = _local(step.target.name)
                lines.append(f"    {name} = {self._print(step.expression)}")
                lines.append(f"    tape[{place + number}] = {name}")
                number += 1
            else:
                lines += self._forward(*next(calls))
        lines += [f"    out[{k}] = {self._print(result)}" for k, result in enumerate(self.results)]
        return lines

    def _inputs(self) -> list[str]:
        """Values `u0` and rates `v0` of the inputs from the coefficients of the present piece, as far as they are used."""
        used = {symbol.name for e in self._expressions() for symbol in e.free_symbols}
        lines = [f"    {FIRST.name} = u[0]"] if FIRST.name in used else []
        for i in range(self.program.inputs):
            a, b, c, d = (f"u[{2 + 4 * i + j}]" for j in range(4))
            lines += [f"    u{i} = {a} + s * ({b} + s * ({c} + s * {d}))"] if f"u[{i}]" in used else []
            lines += [f"    v{i} = {b} + s * (2.0 * {c} + s * 3.0 * {d})"] if f"v[{i}]" in used else []
        return ["    s = t - u[1]", *lines] if any(" + s * " in line for line in lines) else lines

    def _expressions(self) -> list[sp.Expr]:
        steps = [[step.expression] if isinstance(step, Assign) else step.inputs for step in self.steps]
        return [*self.results, *(e for expressions in steps for e in expressions)]

    def _forward(self, evaluation: _Evaluation, row: int) -> list[str]:
        lines = [f"    tape[{row + i}] = {self._print(x)}" for i, x in enumerate(evaluation.call.inputs)]
        return [*lines, f"    {evaluation.code.name}_forward(p, tape, {row})", *self._outputs(evaluation, row)]

    def _outputs(self, evaluation: _Evaluation, row: int) -> list[str]:
        return [
            f"    {_local(o.target.name)} = tape[{row + evaluation.output(o.derivative) + o.index}]"
            for o in evaluation.call.outputs
        ]

    def _vjp(self) -> list[str]:
        lines = ["@vjp", f"def {self.role}_vjp(t, y, p, u, tape, g, gy, gp):", *self._inputs()]
        number = 0
        calls = iter(zip(self.evaluations, self.layout.sections))
        for step in self.steps:
            if isinstance(step, Assign):
                lines.append(f"    {_local(step.target.name)} = tape[{self.layout.temporaries + number}]")
                number += 1
            else:
                lines += self._outputs(*next(calls))
        shared, slopes = self.slopes
        lines += [f"    {name} = {self._print(e)}" for name, e in shared]
        received: dict[str, list[str]] = {}

        def send(cotangent: str, source: int) -> None:
            for symbol, value in slopes[source]:
                received.setdefault(symbol.name, []).append(product(cotangent, value, self._print))

        for k in range(len(self.results)):
            send(f"g[{k}]", k)
        rows = iter(reversed(list(zip(self.evaluations, self.layout.sections))))
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            if isinstance(step, Call):
                lines += self._backward(*next(rows), received)
            elif step.target.name in received:
                name = f"b_{_local(step.target.name)}"
                lines.append(f"    {name} = {' + '.join(received[step.target.name])}")
                send(name, len(self.results) + index)
        for i in range(self.program.states):
            lines.append(f"    gy[{i}] = {' + '.join(received.get(f'y[{i}]', ['0.0']))}")
        for i in range(self.program.parameters):
            if f"p[{i}]" in received:
                lines.append(f"    gp[{i}] += {' + '.join(received[f'p[{i}]'])}")
        return lines

    @cached_property
    def slopes(self):
        """Derivatives of all results, then of all assignments, by their slots, with what they share."""
        expressions = [*self.results, *(s.expression if isinstance(s, Assign) else sp.Integer(0) for s in self.steps)]
        pairs = [
            [(s, slope(e, s)) for s in sorted(e.free_symbols, key=str) if s.name[0] in "ypcn"] for e in expressions
        ]
        flat = [value for row in pairs for _, value in row]
        names = (sp.Symbol(f"d{i}", real=True) for i in count())
        shared, reduced = shared_parts(flat, names)
        values = iter(reduced)
        return shared, [[(symbol, next(values)) for symbol, _ in row] for row in pairs]

    def _backward(self, evaluation: _Evaluation, row: int, received: dict[str, list[str]]) -> list[str]:
        targets = {(o.derivative, o.index): o.target.name for o in evaluation.call.outputs}
        lines = []
        for index in evaluation.indices:
            place = row + evaluation.output_cotangent(index)
            for j in range(evaluation.network.widths[-1]):
                value = " + ".join(received.get(targets.get((index, j), ""), ["0.0"]))
                lines.append(f"    tape[{place + j}] = {value}")
        lines.append(f"    {evaluation.code.name}_backward(p, tape, {row})")
        for i, x in enumerate(evaluation.call.inputs):
            if x.is_Symbol:
                received.setdefault(x.name, []).append(f"tape[{row + evaluation.code.input_cotangent + i}]")
        return lines

    def _weights(self) -> list[str]:
        lines = ["@weights", f"def {self.role}_weights(tapes, rows, gp):"]
        for evaluation, row in zip(self.evaluations, self.layout.sections):
            lines.append(f"    {evaluation.code.name}_weights(tapes, rows, {self.layout.width}, {row}, gp)")
        return lines


def product(cotangent: str, value: sp.Expr, show) -> str:
    """Code of a cotangent times a derivative."""
    if value == 1:
        return cotangent
    return f"-{cotangent}" if value == -1 else f"{cotangent} * ({show(value)})"


def _local(text: str) -> str:
    """Temporaries, inputs and network outputs are local variables: `c[3]` is `c3`."""
    for kind in "cnuv":
        text = text.replace(f"{kind}[", f"{kind}#")
    parts = text.split("#")
    return parts[0] + "".join(part.replace("]", "", 1) for part in parts[1:])
