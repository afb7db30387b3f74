"""What programming languages share: names for slots, the body of a routine, and the steps of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import sympy as sp

from sciml.export.formulas import FormulaPrinter
from sciml.export.names import Names, names
from sciml.export.networks import Affine, Column, Elementwise, Evaluation
from sciml.export.routines import Routine, Routines
from sciml.lowering.program import TIME, Assign, slot


class Code(FormulaPrinter, ABC):
    """A printer of Routines with the user's names for states and parameters.

    Args:
        routines: What to print.
    """

    reserved: ClassVar[frozenset[str]] = frozenset()
    clock: ClassVar[str | None] = None
    """What the language itself calls time, if it does."""

    def __init__(self, routines: Routines):
        system = routines.system
        own = frozenset({*self.reserved, *self.functions.values(), self.maximum, self.minimum})
        functions = {routine.name for routine in routines.functions}
        evaluations = {evaluation.name for evaluation in routines.evaluations.values()}
        time = [] if self.clock else [system.time]
        self.names: Names = names(
            [*time, *system.states, *system.parameters, *system.inputs, *system.observed], own | functions | evaluations
        )
        states = {slot("y", i): self.names[x] for i, x in enumerate(system.states)}
        parameters = {slot("p", i): self.names[x] for i, x in enumerate(system.parameters)}
        inputs = {slot("u", i): self.names[x] for i, x in enumerate(system.inputs)}
        self.routines = routines
        super().__init__({TIME: self.time, **states, **parameters, **inputs})
        self.originals = {slot("y", i): x for i, x in enumerate(system.states)} | {TIME: system.time}
        self.originals |= {slot("p", i): x for i, x in enumerate(system.parameters)}
        self.originals |= {slot("u", i): x for i, x in enumerate(system.inputs)}
        self.temporary = self.names.free("c", "temporary", "temporary_value")
        self.output = self.names.free("n", "output", "output_value")

    @property
    def time(self) -> str:
        return self.clock or self.names[self.routines.system.time]

    @property
    def states(self) -> list[str]:
        """Names of the states in the language."""
        return [self.names[x] for x in self.routines.system.states]

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters in the language."""
        return [self.names[x] for x in self.routines.system.parameters]

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs in the language."""
        return [self.names[x] for x in self.routines.system.inputs]

    def vectors(self, routine: Routine) -> list[tuple[str, list[str], list[int]]]:
        """The vectors that a routine reads from: argument, names of its entries, and which of them it needs."""
        kinds = [("state", "y", self.states), ("inputs", "u", self.inputs), ("parameters", "p", self.parameters)]
        found = [(vector, entries, self.used(routine, kind)) for vector, kind, entries in kinds]
        return [(vector, entries, needed) for vector, entries, needed in found if needed]

    def assign(self, target: str, value: str) -> str:
        """The statement that sets a new local variable."""
        return f"{target} = {value}"

    @abstractmethod
    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        """The statements that evaluate a network and name its outputs."""

    @abstractmethod
    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        """The statements of one step within a network."""

    def statements(self, routine: Routine) -> list[str]:
        """The body of a routine up to its results."""
        lines = []
        for step in routine.program.steps:
            if isinstance(step, Assign):
                lines.append(self.assign(self._print(step.target), self.text(step.expression)))
            else:
                inputs = [self.text(i) for i in step.inputs]
                targets = [self._print(output.target) for output in step.outputs]
                lines += self.invoke(self.routines.evaluation(step), inputs, targets)
        return lines

    def results(self, routine: Routine) -> list[str]:
        """The results of a routine."""
        return [self.text(expression) for expression in routine.program.results]

    def used(self, routine: Routine, kind: str) -> list[int]:
        """Which states ("y"), parameters ("p") or inputs ("u") a routine reads."""
        program = routine.program
        read: set[sp.Basic] = set().union(*(result.free_symbols for result in program.results))
        for step in program.steps:
            for expression in [step.expression] if isinstance(step, Assign) else step.inputs:
                read |= expression.free_symbols
        count = {"y": program.states, "p": program.parameters, "u": program.inputs}[kind]
        return [i for i in range(count) if slot(kind, i) in read]

    def _print_Symbol(self, expr):
        if expr in self.symbols:
            return self.symbols[expr]
        kind, bracket, rest = expr.name.partition("[")
        if bracket and kind in ("c", "n"):
            return (self.temporary if kind == "c" else self.output) + rest.removesuffix("]")
        return self.array_entry(expr.name)

    def array_entry(self, name: str) -> str:
        """A symbol within an elementwise step: the whole array where the language computes with arrays."""
        return name


def indented(lines: Iterable[str], by: str = "    ") -> list[str]:
    """Lines moved to the right."""
    return [by + line if line else line for line in lines]


def numbers(values: Iterable[float]) -> str:
    """Floats to the last digit, joined by commas."""
    return ", ".join(repr(float(value)) for value in values)


def listed(entries: Sequence[str], indent: str = "    ", width: int = 110) -> list[str]:
    """Entries joined by commas, in lines that are not too long."""
    lines, line = [], ""
    for i, entry in enumerate(entries):
        text = entry + ("," if i < len(entries) - 1 else "")
        if line and len(line) + len(text) + 1 > width:
            lines.append(indent + line)
            line = text
        else:
            line = f"{line} {text}".strip()
    return [*lines, indent + line]
