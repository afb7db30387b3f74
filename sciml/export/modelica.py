"""Systems as Modelica: one model that needs no library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import sympy as sp

from sciml.errors import ModelError
from sciml.export.code import Code, indented, listed, numbers
from sciml.export.formulas import COMMON
from sciml.export.names import words
from sciml.export.networks import Affine, Column, Elementwise, Evaluation, Network
from sciml.export.protocol import finish, header, refuse
from sciml.export.routines import Statements, statements
from sciml.lowering.program import slot
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System

KEYWORDS = words(
    "algorithm and annotation assert block break class connect connector constant constrainedby der discrete each "
    "else elseif elsewhen encapsulated end enumeration equation expandable extends external false final flow for "
    "function if import impure in initial inner input loop model not operator or outer output package parameter "
    "partial protected public pure record redeclare replaceable return stream then true type when within while Real "
    "Integer Boolean String"
)


class _Printer(Code):
    language, clock = "Modelica", "time"
    functions: ClassVar = {**COMMON, "ceiling": "ceil"}
    conjunction = ("and", "or", "not")
    relations: ClassVar = {"!=": "<>"}
    reserved = frozenset({*KEYWORDS, "time", "pre", "reinit", "terminate", "edge", "sample", "noEvent", "smooth"})

    def __init__(self, model: Statements):
        super().__init__(model.routines)
        self.model = model

    def conditional(self, condition, value, otherwise):
        return f"(if {condition} then {value} else {otherwise})"

    def _print_Piecewise(self, expr):
        if expr.args[-1].cond != sp.true:
            raise ModelError(
                f"`{self.named(expr)}` has no value where none of its cases holds, and Modelica needs one: "
                "add a case `(..., True)`."
            )
        *cases, last = expr.args
        text = self._print(last.expr)
        for value, condition in reversed(cases):
            text = self.conditional(self._print(condition), self._print(value), text)
        return text

    def _print_Equality(self, expr):
        # Modelica forbids equality of reals in equations.
        a, b = map(self._print, expr.args)
        return f"(not ({a} < {b} or {a} > {b}))"

    def _print_Unequality(self, expr):
        a, b = map(self._print, expr.args)
        return f"({a} < {b} or {a} > {b})"

    def array_entry(self, name):
        return f"{name}[i]"

    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        array = f"{evaluation.name}_{targets[0]}"
        lines = [f"{array} = {evaluation.name}({{{', '.join(inputs)}}});"]
        return lines + [f"{target} = {array}[{i + 1}];" for i, target in enumerate(targets)]

    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        if isinstance(step, Affine):
            bias = f" + B{step.layer}" if step.bias else ""
            return [f"{step.target} := W{step.layer}*{step.source}{bias};"]
        if isinstance(step, Column):
            return [f"{step.target} := W0[:, {step.argument + 1}];"]
        width = evaluation.network.width(step.layer)
        return [f"for i in 1:{width} loop", f"  {step.target}[i] := {self.text(step.expression)};", "end for;"]

    def weights(self, network: Network) -> list[str]:
        """The arrays of a network, as constants."""
        lines = []
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            rows, columns = matrix.shape
            entries = [f"  {{{numbers(row)}}}" + ("," if i < rows - 1 else "};") for i, row in enumerate(matrix)]
            lines += [f"constant Real W{layer}[{rows}, {columns}] = {{", *entries]
            lines += [f"constant Real B{layer}[{rows}] = {{", *listed([repr(float(v)) for v in bias], "  "), "};"]
        return lines

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """The function that evaluates a network."""
        network = evaluation.network
        locals_ = [f"Real {s.target}[{network.width(getattr(s, 'layer', 0))}];" for s in evaluation.steps]
        results = [f"{place[0]}[{place[1] + 1}]" if place else "0.0" for place in evaluation.results]
        body = [line for step in evaluation.steps for line in self.array_step(step, evaluation)]
        return [
            f"function {evaluation.name} {_words(f'The network of {network.words}')}",
            *(f"  {kind} Real {n}[{c}];" for kind, n, c in
              (("input", "x", network.inputs), ("output", "result", len(results)))),
            "protected", *indented([*self.weights(network), *locals_], "  "),
            "algorithm", *indented([*body, f"result := {{{', '.join(results)}}};"], "  "),
            f"end {evaluation.name};",
        ]  # fmt: skip

    def event(self, i: int) -> list[str]:
        """What happens where a condition changes its sign."""
        event = self.model.routines.system.events[i]
        condition = self.text(self.model.conditions[i])
        own = dict(self.symbols)
        self.symbols |= {slot("y", j): f"pre({name})" for j, name in enumerate(self.states)}
        actions = [f"reinit({self.names[x]}, {self.text(value)});" for x, value in self.model.resets[i].items()]
        self.symbols = own
        if event.terminal:
            actions = [f'terminate("event {i}");']
        ways = {"rising": [">"], "falling": ["<"], "both": [">", "<"]}[event.direction]
        tests = [f"{condition} {way} 0" for way in ways]
        when = tests[0] if len(tests) == 1 else f"{{{', '.join(tests)}}}"
        return [f"when {when} then", *indented(actions, "  "), "end when;"] if actions else []

    def source(self, name: str) -> str:
        """The whole file."""
        model, system = self.model, self.model.routines.system
        body: list[str] = []
        for evaluation in model.routines.evaluations.values():
            body += self.evaluation(evaluation)
        body += [f"input Real {self.names[x]} {_words(str(x))};" for x in system.inputs]
        body += [_parameter(self.names[x], p, str(x)) for x, p in system.parameters.items()]
        for x in system.states:
            start = f"(start = {self.text(model.initial[x])}, fixed = true)" if x in model.initial else ""
            body.append(f"Real {self.names[x]}{start} {_words(str(x))};")
        body += [f"Real {self.names[x]} {_words(str(x))};" for x in system.observed]
        for call in model.routines.calls:
            targets = [self._print(output.target) for output in call.outputs]
            array = f"{model.routines.evaluation(call).name}_{targets[0]}"
            body.append(f"Real {array}[{len(targets)}], {', '.join(targets)};")
        equations = self.statements(model.routines.functions[0])
        equations += [f"der({self.names[x]}) = {self.text(value)};" for x, value in model.rates.items()]
        equations += [f"{self.names[x]} = {self.text(value)};" for x, value in model.observed.items()]
        for i in range(len(system.events)):
            equations += self.event(i)
        comment = [f"// {line}".rstrip() for line in header(system, self.names.changed)]
        lines = [
            *comment,
            f"model {name}",
            *indented(body, "  "),
            "equation",
            *indented(equations, "  "),
            f"end {name};",
        ]
        return "\n".join(lines) + "\n"


def _words(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameter(name: str, parameter: Parameter, words: str) -> str:
    lower, upper = parameter.bounds
    limits = [f"{side} = {value!r}" for side, value in (("min", lower), ("max", upper)) if value is not None]
    modifier = f"({', '.join(limits)})" if limits else ""
    return f"parameter Real {name}{modifier} = {parameter.value!r} {_words(words)};"


def modelica(system: System, path: str | Path | None = None, *, name: str | None = None) -> str:
    """A System as a Modelica model.

    Parameters keep values and bounds, states their initial values; inputs are `input Real`, observables variables. An
    event with a reset is a `when` with `reinit`, one that ends the simulation calls `terminate`, and one that only
    records is left to the tool, which has nothing to record it with. Learned functions are Modelica functions.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.
        name: Of the model, in place of `Law`; by default the stem of the path.

    Returns:
        The source. No tool of Modelica has read it here: it is checked by its text alone.

    Raises:
        ModelError: Noise, a function that Modelica lacks (erf, asinh, ...), a `Piecewise` that leaves cases open, or a
            network without weights or of another kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(modelica(System({x: -k * x}, parameters={k: 0.5}, initial={x: 2})).split("model", 1)[1].strip())
        Law
          parameter Real k = 0.5 "k";
          Real x(start = 2, fixed = true) "x";
        equation
          der(x) = -k*x;
        end Law;
    """
    refuse(system, "the Modelica model", "noise")
    name = name or (Path(path).stem if path is not None else "Law")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _Printer.reserved:
        raise ModelError(
            f"`{name}` cannot be the name of a Modelica model: it must be letters, digits and underscores."
        )
    return finish(_Printer(statements(system, "Modelica")).source(name), path)
