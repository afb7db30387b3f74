"""Systems as MATLAB, which Octave runs, too: one function file that returns functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sciml.errors import ModelError
from sciml.export.code import Code, indented, numbers
from sciml.export.formulas import COMMON, INVERSE_HYPERBOLIC
from sciml.export.names import words
from sciml.export.networks import Affine, Column, Elementwise, Evaluation, Network
from sciml.export.protocol import finish, header
from sciml.export.routines import Routine, routines
from sciml.symbolic.system import System

KEYWORDS = words(
    "arguments break case catch classdef continue do else elseif end endfunction endif endwhile endfor "
    "end_try_catch end_unwind_protect endswitch enumeration events for function global if methods otherwise parfor "
    "persistent properties return spmd switch try until unwind_protect unwind_protect_cleanup while"
)

CHOOSE = """
function value = choose(condition, a, b)
    if condition
        value = a;
    else
        value = b;
    end
end
""".strip().splitlines()


class _Printer(Code):
    language = "MATLAB"
    functions: ClassVar = {**COMMON, **INVERSE_HYPERBOLIC, "erf": "erf", "erfc": "erfc", "loggamma": "gammaln"}
    nan, conjunction = "NaN", ("&&", "||", "~")
    relations: ClassVar = {"!=": "~="}
    reserved = frozenset({*KEYWORDS, "state", "inputs", "parameters", "result", "model", "choose", "NaN", "zeros"})

    def conditional(self, condition, value, otherwise):
        return f"choose({condition}, {value}, {otherwise})"

    def array_entry(self, name):
        return f"{name}(i)"

    def assign(self, target, value):
        return f"{target} = {value};"

    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        array = f"{evaluation.name}_{targets[0]}"
        lines = [f"{array} = {evaluation.name}([{'; '.join(inputs)}]);"]
        return lines + [f"{target} = {array}({i + 1});" for i, target in enumerate(targets)]

    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        if isinstance(step, Affine):
            bias = f" + B{step.layer}" if step.bias else ""
            return [f"{step.target} = W{step.layer}*{step.source}{bias};"]
        if isinstance(step, Column):
            return [f"{step.target} = W0(:, {step.argument + 1});"]
        width = evaluation.network.width(step.layer)
        loop = [f"for i = 1:{width}", f"    {step.target}(i) = {self.text(step.expression)};", "end"]
        return [f"{step.target} = zeros({width}, 1);", *loop]

    def weights(self, network: Network) -> list[str]:
        """The arrays of a network, as local variables."""
        lines = []
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            lines += [f"W{layer} = [", *(f"    {numbers(row)};" for row in matrix), "];"]
            lines += [f"B{layer} = [", *(f"    {value!r};" for value in map(float, bias)), "];"]
        return lines

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """The function that evaluates a network."""
        results = [f"{place[0]}({place[1] + 1})" if place else "0.0" for place in evaluation.results]
        lines = [f"% The network of {evaluation.network.words}.", *self.weights(evaluation.network)]
        lines += [line for step in evaluation.steps for line in self.array_step(step, evaluation)]
        return [
            f"function result = {evaluation.name}(x)",
            *indented([*lines, f"result = [{'; '.join(results)}];"]),
            "end",
        ]

    def routine(self, routine: Routine) -> list[str]:
        """One function of time, states, inputs and parameters."""
        known = ", ".join(self.time if argument == "time" else argument for argument in routine.arguments)
        lines = [f"% {routine.words[0].upper()}{routine.words[1:]}."]
        vectors = self.vectors(routine)
        lines += [f"{names[i]} = {vector}({i + 1});" for vector, names, needed in vectors for i in needed]
        lines += self.statements(routine)
        results, columns = self.results(routine), routine.shape[-1]
        rows = [", ".join(results[i : i + columns]) for i in range(0, len(results), columns)]
        entries = rows if len(routine.shape) == 2 else results
        lines += ["result = [", *(f"    {entry};" for entry in entries), "];"]
        return [f"function result = {self.called(routine)}({known})", *indented(lines), "end"]

    @staticmethod
    def called(routine: Routine) -> str:
        """A name that is no keyword of MATLAB."""
        return "conditions" if routine.name == "events" else routine.name

    def source(self, name: str) -> str:
        """The function file."""
        system = self.routines.system
        known = [*self.routines.functions, *([self.routines.initial] if self.routines.initial else [])]
        comment = [f"% {line}".rstrip() for line in header(system, self.names.changed)]
        groups = {"states": system.states, "parameters": system.parameters}
        groups |= ({"inputs": system.inputs} if system.inputs else {}) | {"observed": system.observed}
        body = [f"model.{kind} = {{{_strings(symbols)}}};" for kind, symbols in groups.items()]
        body += [f"model.defaults = [{numbers(p.value for p in system.parameters.values())}];"]
        if system.events:
            directions = [{"rising": 1, "falling": -1, "both": 0}[event.direction] for event in system.events]
            body += [f"model.directions = {directions};"]
            body += [f"model.terminal = {[int(event.terminal) for event in system.events]};"]
        body += [f"model.{self.called(routine)} = @{self.called(routine)};" for routine in known]
        lines = [f"function model = {name}()", *comment, *indented(body), "end"]
        for part in (*map(self.evaluation, self.routines.evaluations.values()), *map(self.routine, known)):
            lines += ["", *part]
        if any("choose(" in line for line in lines):
            lines += ["", *CHOOSE]
        return "\n".join(lines) + "\n"


def _strings(symbols) -> str:
    return ", ".join("'" + str(symbol).replace("'", "''") + "'" for symbol in symbols)


def matlab(system: System, path: str | Path | None = None, *, name: str | None = None) -> str:
    """A System as a MATLAB function file, which Octave runs, too.

    `model = law()` gives a struct: `model.rhs(t, state, parameters)` and `model.jacobian`, and where the System has
    them `model.initial(parameters)`, `observe`, `diffusion`, `conditions` (of events) and `reset_0`, ...;
    `model.defaults` are the parameters, so that `ode45(@(t, y) model.rhs(t, y, model.defaults), ...)` runs. With inputs
    it is `model.rhs(t, state, inputs, parameters)`, `inputs` the values at time t in the order of `model.inputs`; only
    `conditions` takes none. Where other languages give a number that is none, MATLAB goes on with complex numbers: the
    square root of a negative state is one.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too; MATLAB finds the function by the name of its file.
        name: Of the function, in place of `law`; by default the stem of the path.

    Returns:
        The source.

    Raises:
        ModelError: A function that MATLAB lacks, a name that it does not allow, or a network without weights or of
            another kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print(matlab(System({x: -k * x}, parameters={k: 0.5})).splitlines()[0])
        function model = law()
    """
    name = name or (Path(path).stem if path is not None else "law")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) or name in KEYWORDS:
        raise ModelError(
            f"`{name}` cannot be the name of a MATLAB function, and so of its file: it must be letters, digits and "
            "underscores, and no keyword. Give another."
        )
    return finish(_Printer(routines(system, jacobian=True)).source(name), path)
