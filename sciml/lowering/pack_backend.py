"""Printer of Programs for packs: the same scalar code as `native_backend`, of which every number is eight trajectories'.

Symbols become local variables that hold packs, choices become `select`. Networks are evaluated without their
derivatives only; a right-hand side that takes derivatives of a learned function is left to the scalar engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

import sympy as sp

from sciml.lowering.native_backend import NumbaPrinter, Routine
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
    """Writes the value of a routine, for packs."""

    def __init__(self, scalar: Routine):
        self.scalar, self.printer = scalar, PackPrinter()
        self.steps, self.results, self.calls = scalar.steps, scalar.results, scalar.calls
        self.packs = [PackedPerceptron(scalar.networks[call.network]) for call in self.calls]
        ends = list(accumulate((pack.tape for pack in self.packs), initial=0))
        self.rows, self.width = ends[:-1], ends[-1]

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
        yield from ("@pack_value", "def field_packs(times, y, q, p, u, tape, out):", *self.loads(self.expressions))
        calls = 0
        for step in self.steps:
            if isinstance(step, Call):
                row, pack = self.rows[calls], self.packs[calls]
                for i, x in enumerate(step.inputs):
                    yield f"    store(tape, {row + i}, {self.text(x)})"
                yield f"    {pack.name}_forward(p, at(tape, {8 * row}))"
                yield from self.outputs(calls)
                calls += 1
            else:
                yield f"    {local(step.target.name)} = {self.text(step.expression)}"
        for k, result in enumerate(self.results):
            yield f"    store(out, {k}, {self.text(result)})"


def packed(scalar: Routine) -> Packed | None:
    """Code that computes a right-hand side for packs; None where it takes derivatives of a learned function, or inputs.

    Args:
        scalar: The right-hand side.
    """
    if scalar.program.inputs or any(output.derivative for call in scalar.calls for output in call.outputs):
        return None
    routine = _PackRoutine(scalar)
    packs = list({pack.name: pack for pack in routine.packs}.values())
    parts = [*(pack.forward() for pack in packs), routine.value()]
    source = PACK_PREAMBLE + "".join("\n\n" + "\n".join(part) + "\n" for part in parts)
    return Packed(source, routine.width, scalar.program.parameters)


def local(text: str) -> str:
    """All slots are local variables: `y[0]` is `y0`."""
    return re.sub(r"\b([ypucn])\[(\d+)\]", r"\1\2", text)
