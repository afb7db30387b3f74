"""Systems as ONNX: right-hand side and networks as one graph that ONNX Runtime and its kin execute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

from sciml.errors import ModelError
from sciml.export.networks import Affine, Column, Evaluation
from sciml.export.routines import Routine, Routines, routines
from sciml.lowering.program import TIME, Assign, slot
from sciml.storage import write_together
from sciml.symbolic.system import System

OPSET = 17
FUNCTIONS = {
    **{
        name: name.capitalize()
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh")
    },
    **{"atanh": "Atanh", "tanh": "Tanh", "exp": "Exp", "log": "Log", "Abs": "Abs", "floor": "Floor", "Floor": "Floor"},
    **{"ceiling": "Ceil", "Ceiling": "Ceil", "sign": "Sign", "Sign": "Sign", "erf": "Erf"},
    **{"StrictGreaterThan": "Greater", "GreaterThan": "GreaterOrEqual", "StrictLessThan": "Less", "Not": "Not"},
    **{"LessThan": "LessOrEqual", "Equality": "Equal"},
}
FOLDED = {"Add": "Add", "Mul": "Mul", "Max": "Max", "Min": "Min", "And": "And", "Or": "Or"}
OUTPUTS = {"rhs": "rates", "observe": "observed", "events": "conditions"}  # others keep their names


class _Graph:
    """Collects the nodes of one graph; every value is a vector over the batch, or a number."""

    def __init__(self, onnx: Any, parts: Routines, dtype: Any):
        self.onnx, self.parts, self.dtype = onnx, parts, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.known: dict[tuple, str] = {}
        self.values: dict[sp.Basic, str] = {TIME: "time"}
        system = parts.system
        self.values |= {slot("y", i): self.entry("state", i, 1) for i in range(len(system.states))}
        self.values |= {slot("p", i): self.entry("parameters", i, 0) for i in range(len(system.parameters))}
        self.values |= {slot("u", i): self.entry("inputs", i, 1) for i in range(len(system.inputs))}
        self.shape = self.add("Shape", self.values[slot("y", 0)])
        self.originals = {slot("y", i): x for i, x in enumerate(system.states)}
        self.originals |= {slot("p", i): x for i, x in enumerate(system.parameters)} | {TIME: system.time}
        self.originals |= {slot("u", i): x for i, x in enumerate(system.inputs)}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of a new value; the same computation is not added twice."""
        key = (operator, inputs, tuple(attributes.items()))
        if key not in self.known:
            self.known[key] = f"v{len(self.nodes)}"
            self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [self.known[key]], **attributes))
        return self.known[key]

    def constant(self, array: Any, dtype: Any = None) -> str:
        """The name of a constant."""
        array = np.asarray(array, dtype=dtype or self.dtype)
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = f"k{len(self.constants)}"
            self.constants.append(self.onnx.numpy_helper.from_array(array, self.known[key]))
        return self.known[key]

    def entry(self, array: str, index: int, axis: int) -> str:
        """One entry along an axis."""
        return self.add("Gather", array, self.constant(index, np.int64), axis=axis)

    def expression(self, expression: sp.Basic) -> str:
        """The value of an expression."""
        if expression in self.values:
            return self.values[expression]
        if isinstance(expression, sp.Expr) and expression.is_number:
            return self.constant(float(expression))
        name = type(expression).__name__
        if isinstance(expression, sp.Pow):
            return self._power(*expression.args)
        if isinstance(expression, sp.Piecewise):
            value = self.constant(np.nan)
            for part, condition in reversed(expression.args):  # pyright: ignore[reportGeneralTypeIssues]
                chosen = self.expression(part)
                value = chosen if condition == sp.true else self.add("Where", self.expression(condition), chosen, value)
            return value
        if isinstance(expression, sp.Heaviside):
            x, zero = expression.args[0], expression.args[1] if len(expression.args) > 1 else sp.S.Half
            return self.expression(sp.Piecewise((1, x > 0), (0, x < 0), (zero, True)))
        if isinstance(expression, sp.Mod):
            a, b = map(self.expression, expression.args)
            return self.add("Sub", a, self.add("Mul", b, self.add("Floor", self.add("Div", a, b))))
        if isinstance(expression, sp.Ne):
            return self.add("Not", self.add("Equal", *map(self.expression, expression.args)))
        if name == "erfc":
            return self.add("Sub", self.constant(1.0), self.add("Erf", self.expression(expression.args[0])))
        if name in FOLDED:
            first, *rest = map(self.expression, expression.args)
            for other in rest:
                first = self.add(FOLDED[name], first, other)
            return first
        if name not in FUNCTIONS:
            shown = expression.xreplace(self.originals)
            raise ModelError(
                f"`{shown}` cannot be written in ONNX, which has no `{name}`. It has {', '.join(FUNCTIONS)}."
            )
        return self.add(FUNCTIONS[name], *map(self.expression, expression.args))

    def _power(self, base: sp.Basic, exponent: sp.Basic) -> str:
        if exponent.is_number and exponent.is_negative:
            return self.add("Reciprocal", self._power(base, -exponent))
        if exponent == 1:
            return self.expression(base)
        if exponent == sp.Rational(1, 2):
            return self.add("Sqrt", self.expression(base))
        if exponent == 2:
            return self.add("Mul", self.expression(base), self.expression(base))
        return self.add("Pow", self.expression(base), self.expression(exponent))

    def results(self, routine: Routine, output: str) -> None:
        """The nodes of one output: (batch, results)."""
        own = dict(self.values)
        for step in routine.program.steps:
            if isinstance(step, Assign):
                self.values[step.target] = self.expression(step.expression)
            else:
                found = self.network(self.parts.evaluation(step), [self.expression(i) for i in step.inputs])
                self.values |= dict(zip((o.target for o in step.outputs), found))
        columns = [self.column(self.expression(value)) for value in routine.program.results]
        self.nodes.append(self.onnx.helper.make_node("Concat", columns, [output], axis=1))
        self.values = own

    def column(self, value: str) -> str:
        """A value, or a number, as a column over the batch."""
        return self.add("Unsqueeze", self.add("Expand", value, self.shape), self.constant([1], np.int64))

    def network(self, evaluation: Evaluation, inputs: list[str]) -> list[str]:
        """The outputs of a network."""
        arrays = {"x": self.add("Concat", *map(self.column, inputs), axis=1)}
        own, network = dict(self.values), evaluation.network
        for step in evaluation.steps:
            if isinstance(step, Affine):
                value = self.add("MatMul", arrays[step.source], self.constant(network.matrices[step.layer].T))
                value = self.add("Add", value, self.constant(network.biases[step.layer])) if step.bias else value
            elif isinstance(step, Column):
                value = self.constant(network.matrices[0][:, step.argument][None])
            else:
                value = self.expression(step.expression)
            arrays[step.target] = self.values[sp.Symbol(step.target, real=True)] = value
        self.values = own
        return [self.entry(arrays[p[0]], p[1], 1) if p else self.constant(0.0) for p in evaluation.results]


def onnx(system: System, path: str | Path | None = None, *, precision: str = "float64") -> bytes:
    """A System as an ONNX model of opset 17: the right-hand side, its networks, observables and conditions of events.

    Inputs are `time` (a number), `state` (batch, states), where the System has inputs their values at that time,
    `inputs` (batch, inputs), and `parameters` (parameters; optional, the System's values by default). Outputs are
    `rates` (batch, states), and where the System has them `observed`, `diffusion`, `conditions` of events and
    `reset_0`, ..., the states after an event. Names stand in the model's metadata.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.
        precision: "float64", or "float32" for devices that have only that. ONNX Runtime's processor kernels lack some
            functions in float64 (tan, inverse and hyperbolic functions but tanh); it says so when it loads the model.

    Returns:
        The model as bytes.

    Raises:
        ModelError: A function that ONNX lacks, a network without weights or of another kind than `MLP`, or
            the package `onnx` is not installed.

    Example:
        >>> import sympy as sp
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> len(onnx(System({x: -k * x}, parameters={k: 0.5}))) > 100
        True
    """
    if precision not in ("float64", "float32"):
        raise ModelError(f'`precision={precision!r}` is not known: choose "float64" or "float32".')
    parts = routines(system, jacobian=False)
    try:
        import onnx as library
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise ModelError('ONNX needs its package: `pip install "sciml-hybrid[onnx]"`.') from error
    dtype = np.dtype(precision)
    graph = _Graph(library, parts, dtype)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    inputs = [helper.make_tensor_value_info("time", kind, []),
              helper.make_tensor_value_info("state", kind, ["batch", len(system.states)])]  # fmt: skip
    if system.inputs:
        inputs.append(helper.make_tensor_value_info("inputs", kind, ["batch", len(system.inputs)]))
    starts = []
    if system.parameters:
        values = np.array([p.value for p in system.parameters.values()], dtype)
        inputs.append(helper.make_tensor_value_info("parameters", kind, [len(values)]))
        starts.append(numpy_helper.from_array(values, "parameters"))
    outputs = []
    for routine in parts.functions:
        name = OUTPUTS.get(routine.name, routine.name)
        graph.results(routine, name)
        outputs.append(helper.make_tensor_value_info(name, kind, ["batch", math.prod(routine.shape)]))
    described = helper.make_graph(graph.nodes, "law", inputs, outputs, [*starts, *graph.constants])
    model = helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="sciml")
    model.ir_version = 8
    names = {"states": system.states, "parameters": tuple(system.parameters), "observed": tuple(system.observed)}
    names |= {"inputs": tuple(system.inputs)} if system.inputs else {}
    helper.set_model_props(model, {kind: "\n".join(map(str, symbols)) for kind, symbols in names.items()})
    library.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    if path is not None:
        write_together({Path(path): data})
    return data
