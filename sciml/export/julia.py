"""Systems as Julia: a function that builds a System of ModelingToolkit 10."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sciml.export.code import Code, indented, listed, numbers
from sciml.export.formulas import COMMON, INVERSE_HYPERBOLIC
from sciml.export.names import words
from sciml.export.networks import Affine, Column, Elementwise, Evaluation, Network
from sciml.export.protocol import finish, header, refuse
from sciml.export.routines import Statements, statements
from sciml.lowering.program import slot
from sciml.symbolic.declarations import Parameter
from sciml.symbolic.system import System

KEYWORDS = words(
    "abstract baremodule begin break catch const continue do else elseif end export false finally for function "
    "global if import in isa let local macro module mutable nothing outer primitive quote return struct true try "
    "type using where while"
)


class _Printer(Code):
    language, clock = "Julia", "t"
    functions: ClassVar = {
        **COMMON,
        **INVERSE_HYPERBOLIC,
        "erf": "erf",
        "erfc": "erfc",
        "loggamma": "loggamma",
        "atan2": "atan",
    }
    nan, conjunction = "NaN", ("&", "|", "!")
    reserved = frozenset(
        {*KEYWORDS, "t", "D", "NaN", "Inf", "Pre", "System", "ifelse", "law", "name", "equations", "events"}
    )

    def __init__(self, model: Statements):
        super().__init__(model.routines)
        self.model = model

    def conditional(self, condition, value, otherwise):
        return f"ifelse({condition}, {value}, {otherwise})"

    def array_entry(self, name):
        return f"{name}[i]"

    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        call = f"{evaluation.name}([{', '.join(inputs)}])"
        return [f"{targets[0]} = only({call})" if len(targets) == 1 else f"{', '.join(targets)} = {call}"]

    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        k = evaluation.network.number
        if isinstance(step, Affine):
            bias = f" .+ B{k}_{step.layer}" if step.bias else ""
            return [f"{step.target} = W{k}_{step.layer} * {step.source}{bias}"]
        if isinstance(step, Column):
            return [f"{step.target} = W{k}_0[:, {step.argument + 1}]"]
        return [f"{step.target} = [{self.text(step.expression)} for i in 1:{evaluation.network.width(step.layer)}]"]

    def weights(self, network: Network) -> list[str]:
        """The arrays of a network."""
        lines = [f"# The network of {network.words}."]
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            k = f"{network.number}_{layer}"
            if matrix.shape[1] == 1:  # a column of numbers alone would be a vector
                lines += [f"const W{k} = reshape([{numbers(matrix[:, 0])}], {len(matrix)}, 1)"]
            else:
                rows = [" ".join(repr(float(value)) for value in row) for row in matrix]
                lines += [f"const W{k} = [", *(f"    {row};" for row in rows), "]"]
            lines += [f"const B{k} = [", *listed([repr(float(value)) for value in bias]), "]"]
        return lines

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """The function that evaluates a network, of numbers or of symbols."""
        results = [f"{place[0]}[{place[1] + 1}]" if place else "0.0" for place in evaluation.results]
        body = [line for step in evaluation.steps for line in self.array_step(step, evaluation)]
        return [f"function {evaluation.name}(x)", *indented([*body, f"return ({', '.join(results)},)"]), "end"]

    def event(self, i: int) -> str:
        """A callback that acts where the condition rises (`affect`) or falls (`affect_neg`)."""
        event = self.model.routines.system.events[i]
        own = dict(self.symbols)
        states = {slot("y", j): f"Pre({name})" for j, name in enumerate(self.states)}
        self.symbols |= states
        pairs = [f"({self.names[x]} ~ {self.text(value)})" for x, value in self.model.resets[i].items()]
        self.symbols = own
        affect = f"[{', '.join(pairs)}]" if pairs else "nothing"
        rising, falling = (affect if event.direction in ("both", way) else "nothing" for way in ("rising", "falling"))
        condition = f"[({self.text(self.model.conditions[i])} ~ 0)]"
        return f"ModelingToolkit.SymbolicContinuousCallback({condition}, {rising}; affect_neg = {falling})"

    def source(self, name: str) -> str:
        """The whole file."""
        model, system = self.model, self.model.routines.system
        declared = [
            f"{self.names[x]}(t)" + (f" = {self.text(model.initial[x])}" if x in model.initial else "")
            for x in system.states
        ]
        declared += [f"{self.names[x]}(t)" for x in system.observed]
        declared += [f"{self.names[x]}(t), [input = true]" for x in system.inputs]
        body = _block("@parameters", [_parameter(self.names[x], p) for x, p in system.parameters.items()])
        body += _block("@variables", declared)
        body += self.statements(model.routines.functions[0])
        equations = [f"(D({self.names[x]}) ~ {self.text(value)})" for x, value in model.rates.items()]
        equations += [f"({self.names[x]} ~ {self.text(value)})" for x, value in model.observed.items()]
        body += ["equations = [", *indented([*(f"{e}," for e in equations[:-1]), equations[-1]]), "]"]
        options = "name"
        if system.events:
            events = [self.event(i) + "," * (i < len(system.events) - 1) for i in range(len(system.events))]
            body += ["events = [", *indented(events), "]"]
            options += ", continuous_events = events"
        body += [f"return System(equations, t; {options})"]
        parts = [f"function {name}(; name = :{name})", *indented(body), "end"]
        functions: list[str] = []
        for network in model.routines.networks:
            functions += [*self.weights(network), ""]
        for evaluation in model.routines.evaluations.values():
            functions += [*self.evaluation(evaluation), ""]
        special = any(f"{f}(" in line for f in ("erf", "erfc", "loggamma") for line in (*body, *functions))
        lines = [f"# {line}".rstrip() for line in header(system, self.names.changed)]
        lines += ["", "using ModelingToolkit", "using ModelingToolkit: t_nounits as t, D_nounits as D"]
        lines += ["using SpecialFunctions"] if special else []
        return "\n".join([*lines, "", *functions, *parts]) + "\n"


def _block(macro: str, lines: Sequence[str]) -> list[str]:
    return [f"{macro} begin", *indented(lines), "end"] if lines else []


def _parameter(name: str, parameter: Parameter) -> str:
    lower, upper = parameter.bounds
    if lower is None and upper is None:
        return f"{name} = {parameter.value!r}"
    low, high = "-Inf" if lower is None else repr(lower), "Inf" if upper is None else repr(upper)
    return f"{name} = {parameter.value!r}, [bounds = ({low}, {high})]"


def julia(system: System, path: str | Path | None = None) -> str:
    """A System as Julia source for ModelingToolkit 10: `mtkcompile(law())` is ready for `ODEProblem`.

    Parameters keep values and bounds, states their initial values (expressions of parameters stay expressions), and
    observables become equations, which `mtkcompile` eliminates. Inputs are variables with `[input = true]`: connect them, or
    name them, `mtkcompile(model; inputs = [model.drive])`. Learned functions are Julia functions, which
    ModelingToolkit traces.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.

    Returns:
        The source. It is checked by a grammar of Julia in the tests, but not run there.

    Raises:
        ModelError: Noise, an event that ends the simulation, or a network without weights or of another kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> "D(x) ~ -k*x" in julia(System({x: -k * x}, parameters={k: 0.5}))
        True
    """
    refuse(system, "the Julia source", "noise", "terminal events")
    return finish(_Printer(statements(system, "Julia")).source("law"), path)
