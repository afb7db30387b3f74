"""Printer of Programs for torch: any device and dtype, batched, differentiable by autograd."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import ClassVar

import sympy as sp
import torch
from sympy.printing.pycode import AbstractPythonCodePrinter
from torch import Tensor

from sciml.errors import ModelError
from sciml.lowering.networks import derivative
from sciml.lowering.program import TIME, Assign, Call, Program

FUNCTIONS = {
    "Abs": "torch.abs",
    "acos": "torch.acos",
    "acosh": "torch.acosh",
    "asin": "torch.asin",
    "asinh": "torch.asinh",
    "atan": "torch.atan",
    "atan2": "torch.atan2",
    "atanh": "torch.atanh",
    "ceiling": "torch.ceil",
    "cos": "torch.cos",
    "cosh": "torch.cosh",
    "erf": "torch.erf",
    "erfc": "torch.erfc",
    "exp": "torch.exp",
    "floor": "torch.floor",
    "log": "torch.log",
    "loggamma": "torch.lgamma",
    "sign": "torch.sign",
    "sin": "torch.sin",
    "sinh": "torch.sinh",
    "tan": "torch.tan",
    "tanh": "torch.tanh",
    "Floor": "torch.floor",
    "Ceiling": "torch.ceil",
    "Sign": "torch.sign",
}


class TorchPrinter(AbstractPythonCodePrinter):
    """SymPy's own torch printer writes what torch rejects for `sqrt(2)*x`, `Max(x, 0)` and `Heaviside(x)`."""

    printmethod = "_torch"
    _kf = FUNCTIONS
    _default_settings: ClassVar[dict] = {
        **AbstractPythonCodePrinter._default_settings,
        "fully_qualified_modules": False,
    }

    def _print_Symbol(self, expr):
        return expr.name

    def _print_Float(self, expr):
        return repr(float(expr))

    _print_Rational = _print_Float

    def _print_Pow(self, expr, rational=False):
        base = self.parenthesize(expr.base, 90)
        if expr.exp == 2 and expr.base.is_Symbol:
            return f"({base} * {base})"
        if expr.exp == -1:
            return f"(1.0 / {base})"
        if expr.exp == sp.Rational(1, 2):
            return f"torch.sqrt({self._print(expr.base)})"
        if expr.exp == -sp.Rational(1, 2):
            return f"torch.rsqrt({self._print(expr.base)})"
        if expr.base.is_number:
            return f"torch.pow({self._print(expr.base)}, {self._print(expr.exp)})"
        return f"({base} ** {self.parenthesize(expr.exp, 90)})"

    def _print_Max(self, expr):
        return self._fold("maximum", expr.args)

    def _print_Min(self, expr):
        return self._fold("minimum", expr.args)

    def _fold(self, name, arguments):
        text = self._print(arguments[0])
        for argument in arguments[1:]:
            text = f"{name}({text}, {self._print(argument)})"
        return text

    def _print_Heaviside(self, expr):
        at_zero = expr.args[1] if len(expr.args) > 1 else sp.Rational(1, 2)
        return f"heaviside({self._print(expr.args[0])}, {float(at_zero)!r})"

    def _print_Mod(self, expr):
        return f"torch.remainder({self._print(expr.args[0])}, {self._print(expr.args[1])})"

    def _print_Piecewise(self, expr) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        text = "float('nan')"
        for value, condition in reversed(expr.args):
            text = self._print(value) if condition == sp.true else self._where(condition, value, text)
        return text

    def _where(self, condition, value, otherwise):
        return f"where({self._print(condition)}, {self._print(value)}, {otherwise}, like)"

    def _print_And(self, expr):
        return "(" + " & ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Or(self, expr):
        return "(" + " | ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Not(self, expr):
        return f"(~({self._print(expr.args[0])}))"

    def _print_Relational(self, expr):
        return f"({self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)})"

    def _print_Function(self, expr):
        name = expr.func.__name__
        if name not in FUNCTIONS:
            raise ModelError(f"`{expr}`: the function `{name}` cannot be computed. Known are {', '.join(FUNCTIONS)}.")
        return f"{FUNCTIONS[name]}({', '.join(self._print(a) for a in expr.args)})"


def _maximum(a, b):
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(b, min=a)


def _minimum(a, b):
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(b, max=a)


def _heaviside(x, at_zero):
    return torch.where(x == 0, at_zero, (x > 0).to(x.dtype))


def _where(condition, a, b, like):
    # Two Python numbers would come out in torch's default dtype instead of the state's.
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = torch.as_tensor(a, dtype=like.dtype, device=like.device)
    return torch.where(condition, a, b)


def _network_outputs(network, x, derivatives: Sequence[tuple[int, ...]]):
    return [derivative(network, indices, x).unbind(-1) for indices in derivatives]


def torch_source(program: Program) -> str:
    """Python source of `function(t, y, p, networks, u)` for a Program."""
    printer = TorchPrinter()
    batched = {f"y[{i}]" for i in range(program.states)}
    lines = []
    for step in program.steps:
        if isinstance(step, Assign):
            lines.append(f"{step.target.name} = {printer.doprint(step.expression)}")
            if _names(step.expression) & batched:
                batched.add(step.target.name)
        else:
            lines += _call_lines(step, program, printer, batched)
            batched |= {output.target.name for output in step.outputs}
    results = [_full(expression, printer, batched) for expression in program.results]
    unpack = ["like = y", *(["y = y.unbind(-1)"] if program.states else []), "p = p.unbind(-1)"]
    used = set().union(*(_names(e) for e in _expressions(program)))
    if TIME.name in used:
        unpack.insert(0, "t = t[..., 0] if t.ndim == y.ndim else t")
    if used & {f"u[{i}]" for i in range(program.inputs)}:
        unpack.append("u = u.unbind(-1)")
    body = [*unpack, *lines, f"return torch.stack([{', '.join(results)}], -1)"]
    return "def function(t, y, p, networks, u=None):\n" + "".join(f"    {_slots(line)}\n" for line in body)


def _call_lines(call: Call, program: Program, printer: TorchPrinter, batched: set[str]) -> list[str]:
    whole_state = [i.name if i.is_Symbol else "" for i in call.inputs] == [f"y[{i}]" for i in range(program.states)]
    inputs = (
        "like" if whole_state else f"torch.stack([{', '.join(_full(i, printer, batched) for i in call.inputs)}], -1)"
    )
    derivatives = sorted({output.derivative for output in call.outputs})
    if derivatives == [()]:
        lines = [f"out = [networks[{call.network}]({inputs}).unbind(-1)]"]
    else:
        lines = [f"out = network_outputs(networks[{call.network}], {inputs}, {derivatives})"]
    for output in call.outputs:
        lines.append(f"{output.target.name} = out[{derivatives.index(output.derivative)}][{output.index}]")
    return lines


def _full(expression: sp.Expr, printer: TorchPrinter, batched: set[str]) -> str:
    text = printer.doprint(expression)
    return text if _names(expression) & batched else f"full({text}, like)"


def _expand(value, like):
    """A number, or a scalar shared by the batch, as a tensor of the batch's shape."""
    if not isinstance(value, Tensor):
        return like.new_full(like.shape[:-1], value)
    return value.expand(like.shape[:-1]) if value.ndim < like.ndim - 1 or value.ndim == 0 else value


def _names(expression: sp.Expr) -> set[str]:
    return {symbol.name for symbol in expression.free_symbols}


def _expressions(program: Program):
    for step in program.steps:
        yield from [step.expression] if isinstance(step, Assign) else step.inputs
    yield from program.results


def _slots(line: str) -> str:
    """Temporaries `c[3]` and network outputs `n[0]` are local variables in Python."""
    return re.sub(r"\b([cn])\[(\d+)\]", r"\1\2", line)


def torch_function(program: Program) -> Callable[..., Tensor]:
    """A Program as a function `(t, y, p, networks, u) -> results` of torch tensors.

    `y` is (..., states), `p` is (parameters) or (..., parameters), `u` (..., inputs) or None where there are none, and the
    results are stacked in the last dimension.
    """
    namespace = {
        "torch": torch,
        "maximum": _maximum,
        "minimum": _minimum,
        "heaviside": _heaviside,
        "where": _where,
        "full": _expand,
        "network_outputs": _network_outputs,
    }
    exec(compile(torch_source(program), "<generated torch program>", "exec"), namespace)
    return namespace["function"]
