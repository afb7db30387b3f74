"""Printer of Programs for packs: the same scalar code as `native_backend`, of which every number is eight trajectories'.

Symbols become local variables that hold packs, choices become `select`. Networks are evaluated without their
derivatives only; a right-hand side that takes derivatives of a learned function is left to the scalar engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

import sympy as sp

from sciml.lowering.native_backend import NumbaPrinter, Routine, product
from sciml.lowering.program import Assign, Call
from sciml.native.model import Packed
from sciml.native.packed_networks import PackedPerceptron
from sciml.native.preambles import PACK_PREAMBLE

LARGEST_POWER = 64


class PackPrinter(NumbaPrinter):
    """Code in which every symbol is a pack."""

    def _print_Pow(self, expr, rational=False):
        if expr.exp.is_Integer and abs(int(expr.exp)) <= LARGEST_POWER:
            return f"power({self._print(expr.base)}, {int(expr.exp)})"
        return super()._print_Pow(expr, rational)

    def _print_Max(self, expr):
        return self._fold("maximum", expr.args)

    def _print_Min(self, expr):
        return self._fold("minimum", expr.args)

    def _print_Sign(self, expr):
        x = self._print(expr.args[0])
        return f"(({x} > 0.0) - ({x} < 0.0))"

    def _print_Heaviside(self, expr):
        x, at_zero = self._print(expr.args[0]), float(expr.args[1]) if len(expr.args) > 1 else 0.5
        return f"(({x} > 0.0) + {at_zero!r} * ({x} == 0.0))"

    def _print_Piecewise(self, expr) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        text = "math.nan"
        for value, condition in reversed(expr.args):
            if condition == sp.true:
                text = self._print(value)
            else:
                text = f"select({self._print(condition)}, {self._print(value)}, {text})"
        return text

    def _print_And(self, expr):
        return "(" + " * ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Or(self, expr):
        return self._fold("maximum", expr.args)

    def _print_Not(self, expr):
        return f"(1.0 - ({self._print(expr.args[0])}))"


class _PackRoutine:
    """Writes value, vjp and weights of a routine, for packs."""

    def __init__(self, scalar: Routine):
        self.scalar, self.printer = scalar, PackPrinter()
        self.steps, self.results, self.calls, self.program = scalar.steps, scalar.results, scalar.calls, scalar.program
        self.packs = [PackedPerceptron(scalar.networks[call.network]) for call in self.calls]
        ends = list(accumulate((pack.tape for pack in self.packs), initial=0))
        self.rows, self.width = ends[:-1], ends[-1]
        ends = list(accumulate((pack.cotangents for pack in self.packs), initial=0))
        self.spans, self.span = ends[:-1], ends[-1]

    def text(self, expression: sp.Expr) -> str:
        return local(self.printer.doprint(expression))

    def loads(self, expressions: Sequence[sp.Expr]) -> Iterator[str]:
        """Lines that make local variables of the states, parameters and inputs that some expressions contain."""
        used = {s.name for e in expressions for s in e.free_symbols}
        if "t" in used:
            yield "    t = load(times, 0)"
        for name in sorted(used):
            kind, _, index = name.partition("[")
            if index and kind in "ypu":
                source = {"y": "y", "p": "q", "u": "u"}[kind]
                yield f"    {local(name)} = load({source}, {index[:-1]})"

    @property
    def expressions(self) -> list[sp.Expr]:
        steps = [[s.expression] if isinstance(s, Assign) else list(s.inputs) for s in self.steps]
        return [*(e for row in steps for e in row), *self.results]

    def outputs(self, number: int) -> Iterator[str]:
        """Lines that read what one call has computed."""
        for output in self.calls[number].outputs:
            place = self.rows[number] + self.packs[number].output + output.index
            yield f"    {local(output.target.name)} = load(tape, {place})"

    def value(self) -> Iterator[str]:
        yield from ("@pack_value", "def value_packs(times, y, q, p, u, tape, out):", *self.loads(self.expressions))
        calls, temporary = 0, self.width
        for step in self.steps:
            if isinstance(step, Call):
                row, pack = self.rows[calls], self.packs[calls]
                for i, x in enumerate(step.inputs):
                    yield f"    store(tape, {row + i}, {self.text(x)})"
                yield f"    {pack.name}_forward(p, at(tape, {8 * row}))"
                yield from self.outputs(calls)
                calls += 1
            else:
                name = local(step.target.name)
                yield from (f"    {name} = {self.text(step.expression)}", f"    store(tape, {temporary}, {name})")
                temporary += 1
        for k, result in enumerate(self.results):
            yield f"    store(out, {k}, {self.text(result)})"

    def vjp(self) -> Iterator[str]:
        shared, slopes = self.scalar.slopes
        flat = [value for row in slopes for _, value in row]
        yield from ("@pack_vjp", "def vjp_packs(times, y, q, p, u, tape, cotangents, g, gy, gq):")
        yield from self.loads([*flat, *(e for _, e in shared)])
        calls, temporary = 0, self.width
        for step in self.steps:
            if isinstance(step, Call):
                yield from self.outputs(calls)
                calls += 1
            else:
                yield f"    {local(step.target.name)} = load(tape, {temporary})"
                temporary += 1
        yield from (f"    g{k} = load(g, {k})" for k in range(len(self.results)))
        yield from (f"    {name} = {self.text(e)}" for name, e in shared)
        received: dict[str, list[str]] = {}

        def send(cotangent: str, source: int) -> None:
            for symbol, value in slopes[source]:
                received.setdefault(symbol.name, []).append(product(cotangent, value, self.text))

        for k in range(len(self.results)):
            send(f"g{k}", k)
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            if isinstance(step, Call):
                calls -= 1
                yield from self.backward(calls, received)
            elif step.target.name in received:
                name = f"b_{local(step.target.name)}"
                yield f"    {name} = {' + '.join(received[step.target.name])}"
                send(name, len(self.results) + index)
        for i in range(self.program.states):
            yield f"    store(gy, {i}, {' + '.join(received.get(f'y[{i}]', ['0.0']))})"
        for i in range(self.program.parameters):
            if f"p[{i}]" in received:
                yield f"    store(gq, {i}, load(gq, {i}) + {' + '.join(received[f'p[{i}]'])})"

    def backward(self, number: int, received: dict[str, list[str]]) -> Iterator[str]:
        """Lines that carry the cotangents of one call's outputs to its inputs."""
        call, pack, row, span = self.calls[number], self.packs[number], self.rows[number], self.spans[number]
        targets = {o.index: o.target.name for o in call.outputs}
        for j in range(pack.network.widths[-1]):
            value = " + ".join(received.get(targets.get(j, ""), ["0.0"]))
            yield f"    store(cotangents, {span + pack.output_cotangent + j}, {value})"
        yield f"    {pack.name}_backward(p, at(tape, {8 * row}), at(cotangents, {8 * span}))"
        for i, x in enumerate(call.inputs):
            if x.is_Symbol:
                name = f"x{number}_{i}"
                yield f"    {name} = load(cotangents, {span + i})"
                received.setdefault(x.name, []).append(name)

    def weights(self) -> Iterator[str]:
        width, span = 8 * (self.width + self.program.temporaries), 8 * self.span
        yield from ("@pack_weights", "def weights_packs(tapes, cotangents, rows, gp):")
        for pack, row, place in zip(self.packs, self.rows, self.spans):
            arrays = f"at(tapes, {8 * row}), at(cotangents, {8 * place})"
            yield f"    {pack.name}_weights({arrays}, rows, {width}, {span}, gp)"


def packed(scalar: Routine) -> Packed | None:
    """Code that computes a right-hand side for packs; None where it takes derivatives of a learned function, or inputs.

    Args:
        scalar: The right-hand side; with a reverse pass for packs where it has one itself.
    """
    if scalar.program.inputs or any(output.derivative for call in scalar.calls for output in call.outputs):
        return None
    routine = _PackRoutine(scalar)
    packs = list({pack.name: pack for pack in routine.packs}.values())
    back = [*(pack.backward() for pack in packs), routine.vjp()] if scalar.differentiable else []
    back += [*(pack.weights() for pack in packs), routine.weights()] if back and packs else []
    return Packed(
        value=_source([*(pack.forward() for pack in packs), routine.value()]),
        reverse=_source(back) if back else "",
        tape=routine.width + routine.program.temporaries,
        cotangents=routine.span,
        scalars=routine.program.parameters,
    )


def _source(parts: Sequence[Iterator[str]]) -> str:
    return PACK_PREAMBLE + "".join("\n\n" + "\n".join(part) + "\n" for part in parts)


def local(text: str) -> str:
    """All slots are local variables: `y[0]` is `y0`."""
    return re.sub(r"\b([ypucn])\[(\d+)\]", r"\1\2", text)
