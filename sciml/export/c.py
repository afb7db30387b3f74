"""Systems as C: one source that needs the C library only, and its header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sciml.errors import ModelError
from sciml.export.code import Code, indented, listed, numbers
from sciml.export.formulas import COMMON, INVERSE_HYPERBOLIC
from sciml.export.names import words
from sciml.export.networks import Affine, Column, Elementwise, Evaluation, Network
from sciml.export.protocol import header
from sciml.export.routines import Routine, Routines, routines
from sciml.storage import write_together
from sciml.symbolic.system import System

KEYWORDS = words(
    "alignas alignof auto bool break case char const constexpr continue default do double else enum extern false "
    "float for goto if inline int long nullptr register restrict return short signed sizeof static static_assert "
    "struct switch thread_local true typedef typeof union unsigned void volatile while asm catch class delete "
    "explicit export friend mutable namespace new operator private protected public template this throw try "
    "typename using virtual"
)
IDENTIFIER = r"[A-Za-z][A-Za-z0-9_]*"

HELPERS = {
    "sign": """
static double sign(double a) { return (double)((a > 0.0) - (a < 0.0)); }
""",
    "mod": """
static double mod(double a, double b)
{
    double rest = fmod(a, b);
    return rest != 0.0 && (rest < 0.0) != (b < 0.0) ? rest + b : rest;
}
""",
}


class _Printer(Code):
    language = "C"
    functions: ClassVar = {
        **COMMON,
        **INVERSE_HYPERBOLIC,
        "Abs": "fabs",
        "erf": "erf",
        "erfc": "erfc",
        "loggamma": "lgamma",
    }
    maximum, minimum, nan = "fmax", "fmin", "NAN"
    reserved = frozenset({*KEYWORDS, "state", "inputs", "parameters", "result", "event", "pow", "fmod", "NAN"})

    def __init__(self, routines: Routines, name: str):
        super().__init__(routines)
        self.name = name

    def power(self, base, exponent):
        if exponent == 2 and base.is_Symbol:
            return f"({self._print(base)}*{self._print(base)})"
        return f"pow({self._print(base)}, {self._print(exponent)})"

    def _print_Integer(self, expr):
        return repr(float(expr))

    def array_entry(self, name):
        return f"{name}[i]"

    def assign(self, target, value):
        return f"const double {target} = {value};"

    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        array, count = f"{evaluation.name}_{targets[0]}", len(targets)
        argument = f"(const double[]){{{', '.join(inputs)}}}"
        lines = [f"double {array}[{count}];", f"{evaluation.name}({argument}, {array});"]
        return lines + [f"const double {target} = {array}[{i}];" for i, target in enumerate(targets)]

    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        network = evaluation.network
        layer = 0 if isinstance(step, Column) else step.layer
        matrix, width = f"W{network.number}_{layer}", network.width(layer)
        lines = [f"double {step.target}[{width}];", f"for (int i = 0; i < {width}; i++) {{"]
        if isinstance(step, Affine):
            start = f"B{network.number}_{layer}[i]" if step.bias else "0.0"
            columns = network.matrices[layer].shape[1]
            lines += [f"    {step.target}[i] = {start};", f"    for (int j = 0; j < {columns}; j++)"]
            lines += [f"        {step.target}[i] += {matrix}[i][j]*{step.source}[j];"]
        else:
            value = f"{matrix}[i][{step.argument}]" if isinstance(step, Column) else self.text(step.expression)
            lines += [f"    {step.target}[i] = {value};"]
        return [*lines, "}"]

    def weights(self, network: Network) -> list[str]:
        """The arrays of a network."""
        lines = [f"/* The network of {network.words}. */"]
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            k, (rows, columns) = f"{network.number}_{layer}", matrix.shape
            lines += [f"static const double W{k}[{rows}][{columns}] = {{"]
            lines += [f"    {{{numbers(row)}}}," for row in matrix]
            entries = listed([repr(float(value)) for value in bias])
            lines += ["};", f"static const double B{k}[{rows}] = {{", *entries, "};"]
        return lines

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """The function that evaluates a network."""
        body = [line for step in evaluation.steps for line in self.array_step(step, evaluation)]
        body += [
            f"result[{i}] = {f'{place[0]}[{place[1]}]' if place else '0.0'};"
            for i, place in enumerate(evaluation.results)
        ]
        if all(getattr(step, "source", None) != "x" for step in evaluation.steps):
            body.append("(void)x;")  # the derivative of a linear network is constant
        return [f"static void {evaluation.name}(const double *x, double *result)", "{", *indented(body), "}"]

    def routine(self, routine: Routine) -> list[str]:
        """One function of time, states, inputs and parameters."""
        vectors = self.vectors(routine)
        unpack = [f"const double {names[i]} = {vector}[{i}];" for vector, names, needed in vectors for i in needed]
        body = [*unpack, *self.statements(routine)]
        body += [f"result[{i}] = {value};" for i, value in enumerate(self.results(routine))]
        unused = [f"(void){self.time if argument == 'time' else argument};" for argument in routine.arguments]
        return [self.prototype(routine).removesuffix(";"), "{", *indented([*body, *unused]), "}"]

    def prototype(self, routine: Routine) -> str:
        """The declaration of a function."""
        known = [f"double {self.time}" if a == "time" else f"const double *{a}" for a in routine.arguments]
        return f"void {self.name}_{routine.name}({', '.join(known)}, double *result);"

    @property
    def all_routines(self) -> list[Routine]:
        return [*self.routines.functions, *([self.routines.initial] if self.routines.initial else [])]

    def tables(self) -> list[tuple[str, str]]:
        """Declaration and value of each table."""
        system, name = self.routines.system, self.name

        def strings(symbols) -> str:
            return "{" + ", ".join(f'"{_escaped(str(s))}"' for s in symbols) + "}"

        groups = {"states": system.states, "parameters": system.parameters}
        groups |= {"inputs": system.inputs, "observed": system.observed}
        tables = [
            (f"const char *const {name}_{kind}[{len(symbols)}]", strings(symbols))
            for kind, symbols in groups.items()
            if symbols
        ]
        if system.parameters:
            values = numbers(p.value for p in system.parameters.values())
            tables.append((f"const double {name}_defaults[{len(system.parameters)}]", f"{{{values}}}"))
        if system.events:
            count = len(system.events)
            directions = [{"rising": 1, "falling": -1, "both": 0}[event.direction] for event in system.events]
            tables.append((f"const int {name}_directions[{count}]", "{" + ", ".join(map(str, directions)) + "}"))
            ends = ", ".join(str(int(event.terminal)) for event in system.events)
            tables.append((f"const int {name}_terminal[{count}]", "{" + ends + "}"))
        return tables

    def comment(self) -> list[str]:
        """The equations."""
        lines = header(self.routines.system, self.names.changed)
        return ["/*", *(f" * {line}".rstrip().replace("*/", "* /") for line in lines), " */"]

    def source(self) -> str:
        """The C file."""
        lines = [*self.comment(), "", "#include <math.h>", ""]
        lines += [f"{declaration} = {value};" for declaration, value in self.tables()]
        body: list[str] = []
        for network in self.routines.networks:
            body += ["", *self.weights(network)]
        for evaluation in self.routines.evaluations.values():
            body += ["", *self.evaluation(evaluation)]
        for routine in self.all_routines:
            body += ["", *self.routine(routine)]
        text = "\n".join(body)
        helpers = [helper.rstrip() for name, helper in HELPERS.items() if re.search(rf"\b{name}\(", text)]
        return "\n".join([*lines, *helpers, text]) + "\n"

    def header(self) -> str:
        """The header file."""
        guard = f"{self.name.upper()}_H"
        lines = [
            *self.comment(),
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
        ]
        lines += ["", *(f"extern {declaration};" for declaration, _ in self.tables())]
        for routine in self.all_routines:
            size = " x ".join(map(str, routine.shape))
            lines += ["", f"/* {routine.words}: result has {size} entries */", self.prototype(routine)]
        return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", "#endif", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def c(system: System, path: str | Path | None = None, *, name: str | None = None) -> str:
    """A System as C99 that needs the C library only (`-lm`), with its Jacobian.

    Functions take `(t, state, parameters, result)` and fill `result`: `law_rhs`, `law_jacobian` (by rows), and where
    the System has them `law_initial(parameters, result)`, `law_observe`, `law_diffusion`, `law_events`, `law_reset_0`,
    ... With inputs they are `(t, state, inputs, parameters, result)`, `inputs` the values at time t, but for
    `law_events`. The tables `law_states`, `law_parameters`, `law_inputs`, `law_observed`, `law_defaults`,
    `law_directions` and `law_terminal` hold names, values, and what events do. Nothing is allocated, and nothing is
    shared between calls.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too; the header goes beside it, with the suffix `.h`. Both are written, or neither.
        name: Prefix of all that is visible, in place of `law`; by default the stem of the path.

    Returns:
        The source.

    Raises:
        ModelError: A function that C lacks, a prefix that C does not allow, or a network without weights or of another
            kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> print("result[0] = " in c(System({x: -k * x}, parameters={k: 0.5})))
        True
    """
    name = name or (Path(path).stem if path is not None else "law")
    if not re.fullmatch(IDENTIFIER, name) or name in _Printer.reserved:
        raise ModelError(
            f"`{name}` cannot begin the names of C functions: it must be letters, digits and underscores. "
            'Give another: `sciml.export.c(system, path, name="law")`.'
        )
    printer = _Printer(routines(system, jacobian=True), name)
    source = printer.source()
    if path is not None:
        write_together({Path(path).with_suffix(".h"): printer.header().encode(), Path(path): source.encode()})
    return source
