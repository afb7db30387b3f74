"""Systems as Python source that needs NumPy only and is ready for SciPy."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from sciml.export.code import Code, indented, listed, numbers
from sciml.export.formulas import COMMON, INVERSE_HYPERBOLIC
from sciml.export.networks import Affine, Column, Elementwise, Evaluation, Network
from sciml.export.protocol import finish, header
from sciml.export.routines import Routine, routines
from sciml.symbolic.system import System

ARGUMENTS = (
    "functools",
    "math",
    "parameters",
    "state",
    "inputs",
    "STATES",
    "INPUTS",
    "PARAMETERS",
    "INITIAL",
    "OBSERVED",
    "EVENTS",
    "RESETS",
)
ARRAY_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh",
               "acosh": "arccosh", "atanh": "arctanh"}  # fmt: skip


def array_functions(module: str) -> dict[str, str]:
    """NumPy's names of functions, which jax shares."""
    return {key: f"{module}.{ARRAY_NAMES.get(name, name)}" for key, name in {**COMMON, **INVERSE_HYPERBOLIC}.items()}


class ArrayPrinter(Code):
    """NumPy and what resembles it: networks are formulas of whole arrays."""

    module: ClassVar[str] = "numpy"
    nan = "float('nan')"
    reserved = frozenset({*keyword.kwlist, *keyword.softkwlist, *ARGUMENTS, "float", "numpy", "scipy", "initial"})

    def power(self, base, exponent):
        return f"{self._tight(base)}**{self._tight(exponent)}"

    def conditional(self, condition, value, otherwise):
        return f"{self.module}.where({condition}, {value}, {otherwise})"

    def _print_And(self, expr):
        return self._nested("logical_and", expr.args)

    def _print_Or(self, expr):
        return self._nested("logical_or", expr.args)

    def _print_Not(self, expr):
        return f"{self.module}.logical_not({self._print(expr.args[0])})"

    def _nested(self, name, arguments):
        text = self._print(arguments[0])
        for argument in arguments[1:]:
            text = f"{self.module}.{name}({text}, {self._print(argument)})"
        return text

    def invoke(self, evaluation: Evaluation, inputs: Sequence[str], targets: Sequence[str]) -> list[str]:
        return [f"{', '.join(targets)}{',' * (len(targets) == 1)} = {evaluation.name}([{', '.join(inputs)}])"]

    def array_step(self, step: Affine | Column | Elementwise, evaluation: Evaluation) -> list[str]:
        k = evaluation.network.number
        if isinstance(step, Affine):
            bias = f" + B{k}_{step.layer}" if step.bias else ""
            return [f"{step.target} = W{k}_{step.layer} @ {step.source}{bias}"]
        if isinstance(step, Column):
            return [f"{step.target} = W{k}_0[:, {step.argument}]"]
        return [f"{step.target} = {self.text(step.expression)}"]

    def weights(self, network: Network) -> list[str]:
        """The arrays of a network."""
        lines = [f"# The network of {network.words}."]
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            rows = [f"[{numbers(row)}]" for row in matrix]
            lines += [f"W{network.number}_{layer} = {self.module}.array([", *(f"    {row}," for row in rows), "])"]
            entries = listed([repr(float(value)) for value in bias])
            lines += [f"B{network.number}_{layer} = {self.module}.array([", *entries, "])"]
        return lines

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        """The function that evaluates a network."""
        asked = ", ".join(
            f"output {output}" + (f" by arguments {index}" if index else "") for output, index in evaluation.wanted
        )
        results = [f"{place[0]}[{place[1]}]" if place else "0.0" for place in evaluation.results]
        body = [line for step in evaluation.steps for line in self.array_step(step, evaluation)]
        return [
            f"def {evaluation.name}(x):",
            f'    """The network of {evaluation.network.words}: {asked}."""',
            f"    x = {self.module}.array(x)",
            *indented(body),
            f"    return {', '.join(results)}{',' * (len(results) == 1)}",
        ]

    def routine(self, routine: Routine) -> list[str]:
        """One function of time, states, inputs and parameters."""
        lines = [f'"""{routine.words[0].upper()}{routine.words[1:]}."""', *self.unpacked(routine)]
        lines += [*self.statements(routine), f"return {self.returned(routine)}"]
        return [f"def {routine.name}({self.called_with(routine)}):", *indented(lines)]

    def called_with(self, routine: Routine) -> str:
        """The arguments of a function."""
        texts = {"time": self.time, "parameters": self.defaults}
        return ", ".join(texts.get(argument, argument) for argument in routine.arguments)

    defaults: ClassVar[str] = "parameters=tuple(PARAMETERS.values())"

    def unpacked(self, routine: Routine) -> list[str]:
        """The states, inputs and parameters as local variables."""
        return [
            f"{', '.join(names)}{',' * (len(names) == 1)} = {self.module}.asarray({vector}, dtype=float)"
            for vector, names, _ in self.vectors(routine)
        ]

    def returned(self, routine: Routine) -> str:
        """The result as an array."""
        results = self.results(routine)
        columns = routine.shape[-1]
        if len(routine.shape) == 1:
            return f"{self.module}.array([{', '.join(results)}], dtype=float)"
        rows = [f"[{', '.join(results[i : i + columns])}]" for i in range(0, len(results), columns)]
        return f"{self.module}.array([{', '.join(rows)}], dtype=float)"

    def tables(self) -> list[str]:
        """Names and values."""
        system = self.routines.system
        values = ", ".join(f"{str(x)!r}: {p.value!r}" for x, p in system.parameters.items())
        lines = [f"STATES = {tuple(map(str, system.states))!r}", f"PARAMETERS = {{{values}}}"]
        lines += [f"INPUTS = {tuple(map(str, system.inputs))!r}"] if system.inputs else []
        lines += [f"OBSERVED = {tuple(map(str, system.observed))!r}"] if system.observed else []
        return lines

    def module_lines(self, imports: Sequence[str]) -> list[str]:
        """The whole module."""
        system = self.routines.system
        lines = [*self.tables()]
        for network in self.routines.networks:
            lines += ["", *self.weights(network)]
        functions = [self.evaluation(evaluation) for evaluation in self.routines.evaluations.values()]
        functions += [self.routine(routine) for routine in self.routines.functions]
        if self.routines.initial:
            functions += [self.routine(self.routines.initial)]
        for function in functions:
            lines += ["", "", *function]
        if self.routines.initial:
            lines += ["", "", "INITIAL = initial()"]
        lines += self.event_lines()
        docstring = '"""' + "\n".join(header(system, self.names.changed)).replace("\\", r"\\") + '\n"""'
        return [*docstring.splitlines(), "", *imports, "", *lines]

    def event_lines(self) -> list[str]:
        """What happens at events."""
        return []


class _Printer(ArrayPrinter):
    language = "NumPy"
    functions: ClassVar = array_functions("numpy") | {
        "erf": "scipy.special.erf",
        "erfc": "scipy.special.erfc",
        "loggamma": "scipy.special.gammaln",
    }
    maximum, minimum = "numpy.maximum", "numpy.minimum"

    def event_lines(self):
        """Events as SciPy takes them: one function each, with its direction and whether it ends the solve."""
        lines = []
        for i, event in enumerate(self.routines.system.events):
            direction = {"rising": 1.0, "falling": -1.0, "both": 0.0}[event.direction]
            words = "Condition of event" if event.reset is None else "Condition, before `RESETS`, of event"
            lines += ["", "", f"def event_{i}({self.time}, state, {self.defaults}):", f'    """{words} {i}."""']
            lines += [f"    return events({self.time}, state, parameters)[{i}]", "", ""]
            # SciPy goes on through an event unless it ends there: a reset is a new solve from the state behind it.
            lines += [f"event_{i}.direction, event_{i}.terminal = {direction}, {event.stops}"]
        if self.routines.system.events:
            lines += [f"EVENTS = ({', '.join(f'event_{i}' for i in range(len(self.routines.system.events)))},)"]
            lines += [f"RESETS = {{{', '.join(f'{i}: {r.name}' for i, r in self.routines.resets.items())}}}"]
        return lines


def python(system: System, path: str | Path | None = None, *, jacobian: bool = False) -> str:
    """A System as a Python module with `rhs(t, state, parameters)`, ready for `scipy.integrate.solve_ivp`.

    With inputs it is `rhs(t, state, inputs, parameters)`, `inputs` their values at time t in the order of `INPUTS`, and
    so for all functions but `EVENTS`: `solve_ivp(lambda t, y: rhs(t, y, [signal(t)]), ...)`.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.
        jacobian: Whether the module has `jacobian(t, state, parameters)`, too.

    Returns:
        The source. It defines `STATES`, `PARAMETERS`, `rhs`, and where the System has them `initial`, `INITIAL`, `INPUTS`,
        `OBSERVED`, `observe`, `diffusion`, `EVENTS` (as `solve_ivp` takes them) and `RESETS` (states after an event).
        Names that Python does not allow are changed; the docstring of the source says how.

    Raises:
        ModelError: A function that NumPy lacks, or a network without weights or of another kind than `MLP`.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> scope = {}
        >>> exec(python(System({x: -k * x}, parameters={k: 0.5}, initial={x: 2})), scope)
        >>> scope["rhs"](0.0, [2.0])
        array([-1.])
    """
    printer = _Printer(routines(system, jacobian=jacobian))
    lines = printer.module_lines([])
    imports = ["import numpy", *(["import scipy.special"] if any("scipy." in line for line in lines) else [])]
    return finish("\n".join(printer.module_lines(imports)) + "\n", path)
