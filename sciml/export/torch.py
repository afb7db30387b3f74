"""Systems as source of a torch module that needs torch only: batched, on any device, trained further if wanted."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sciml.export.code import indented, numbers
from sciml.export.networks import Evaluation, Network
from sciml.export.protocol import finish, header
from sciml.export.python import ArrayPrinter
from sciml.export.routines import Routine, routines
from sciml.symbolic.system import System

NAMES = ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp",
         "log", "sqrt", "erf", "erfc", "floor", "sign")  # fmt: skip

HELPERS = '''
def maximum(a, b):
    """The larger of two tensors, or of a tensor and a number."""
    return torch.maximum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, min=b)


def minimum(a, b):
    """The smaller of two tensors, or of a tensor and a number."""
    return torch.minimum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, max=b)


def where(condition, a, b, like):
    """One value or the other; numbers take the dtype of `like`."""
    a, b = (torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in (a, b))
    return torch.where(condition, a, b)


def stacked(values, like):
    """Tensors and numbers of any batch shapes along a new last dimension."""
    tensors = [torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(torch.broadcast_tensors(*tensors, like[..., 0])[:-1], -1)
'''.strip().splitlines()


class _Printer(ArrayPrinter):
    language, module = "torch", "torch"
    reserved = ArrayPrinter.reserved | {"torch", "self", "like", "maximum", "minimum", "where", "stacked", "super"}
    functions: ClassVar = {name: f"torch.{name}" for name in NAMES} | {
        "Abs": "torch.abs", "Mod": "torch.remainder", "ceiling": "torch.ceil", "Ceiling": "torch.ceil",
        "Floor": "torch.floor", "Sign": "torch.sign", "loggamma": "torch.lgamma",
    }  # fmt: skip
    maximum, minimum = "maximum", "minimum"

    def conditional(self, condition, value, otherwise):
        return f"where({condition}, {value}, {otherwise}, like)"

    def power(self, base, exponent):
        # A number to the power of a tensor.
        if base.is_number:
            return f"torch.pow({self._print(base)}, {self._print(exponent)})"
        return super().power(base, exponent)

    def invoke(self, evaluation, inputs, targets):
        arguments = f"stacked([{', '.join(inputs)}], like)"
        return [f"{', '.join(targets)}{',' * (len(targets) == 1)} = self.{evaluation.name}({arguments})"]

    def array_step(self, step, evaluation):
        # Rows are points: x W^T instead of W x.
        [line] = super().array_step(step, evaluation)
        k = evaluation.network.number
        if " @ " not in line:
            return [line.replace(f"W{k}_", f"self.W{k}_")]
        target, value = line.split(" = ")
        matrix, _, source = value.partition(" @ ")
        source, plus, bias = source.partition(" + ")
        return [f"{target} = {source} @ self.{matrix}.T{plus}{'self.' if plus else ''}{bias}"]

    def evaluation(self, evaluation: Evaluation) -> list[str]:
        head, words, _, *body, last = super().evaluation(evaluation)
        entries = [f"{p[0]}[..., {p[1]}]" if p else "0.0" for p in evaluation.results]
        last = f"    return {', '.join(entries)}{',' * (len(entries) == 1)}"
        return [head.replace("(x)", "(self, x)"), words, "    like = x", *body, last]

    def weights(self, network: Network) -> list[str]:
        lines = [f"# The network of {network.words}."]
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases)):
            rows = [f"    [{numbers(row)}]," for row in matrix]
            parameter = "torch.nn.Parameter(torch.tensor(["
            k = f"{network.number}_{layer}"
            lines += [f"self.W{k} = {parameter}", *rows, "], dtype=torch.float64))"]
            lines += [f"self.B{k} = {parameter}{numbers(bias)}], dtype=torch.float64))"]
        return lines

    def routine(self, routine: Routine) -> list[str]:
        name = "forward" if routine.name == "rhs" else routine.name
        time = self.time
        lines = [f'"""{routine.words[0].upper()}{routine.words[1:]}, for states of shape (..., {len(self.states)})."""']
        lines += ["like = state", f"{time} = torch.as_tensor({time}, dtype=state.dtype, device=state.device)"]
        lines += [*self.unpacked(routine), *self.statements(routine)]
        lines += [f"return stacked([{', '.join(self.results(routine))}], like)"]
        arguments = ["self", *(time if a == "time" else a for a in routine.arguments if a != "parameters")]
        return [f"def {name}({', '.join(arguments)}):", *indented(lines)]

    def unpacked(self, routine):
        texts = {"parameters": "self.values", "inputs": "torch.as_tensor(inputs, dtype=like.dtype, device=like.device)"}
        return [
            f"{', '.join(names)}{',' * (len(names) == 1)} = {texts.get(vector, vector)}.unbind(-1)"
            for vector, names, _ in self.vectors(routine)
        ]

    def initial(self, routine):
        lines = ['"""Initial states."""', "like = self.values", *self.unpacked(routine), *self.statements(routine)]
        body = [*lines, f"return stacked([{', '.join(self.results(routine))}], torch.zeros(1, dtype=torch.float64))"]
        return ["def initial(self):", *indented(body)]

    def source(self) -> str:
        """The whole module."""
        system = self.routines.system
        values = numbers(p.value for p in system.parameters.values())
        setup = [f"self.values = torch.nn.Parameter(torch.tensor([{values}], dtype=torch.float64))"]
        for network in self.routines.networks:
            setup += self.weights(network)
        methods = [["def __init__(self):", *indented(["super().__init__()", *setup])]]
        methods += [self.evaluation(e) for e in self.routines.evaluations.values()]
        methods += [self.routine(r) for r in self.routines.functions]
        methods += [self.initial(self.routines.initial)] if self.routines.initial else []
        docstring = '"""' + "\n".join(header(system, self.names.changed)).replace("\\", r"\\") + '\n"""'
        lines = [*docstring.splitlines(), "", "import torch", "", *self.tables(), "", "", *HELPERS, "", ""]
        lines += ["class Field(torch.nn.Module):", '    """The right-hand side."""']
        for method in methods:
            lines += ["", *indented(method)]
        return "\n".join(lines) + "\n"


def torch(system: System, path: str | Path | None = None) -> str:
    """A System as source of a stand-alone torch module: `Field()(t, state)`.

    States have shape (..., states), time is a number or a tensor of shape (...). `field.values` holds the parameters and
    `field.W0_0`, `field.B0_0`, ... the networks' weights, all of them trainable and in float64. With inputs it is
    `Field()(t, state, inputs)`, their values at time t of shape (..., inputs), and so for all methods but `events`.

    Args:
        system: Learned functions are written out with their weights.
        path: Where to write it, too.

    Returns:
        The source. `Field` has the methods `forward`, and where the System has them `initial`, `observe`, `diffusion`,
        `events` and `reset_0`, ...

    Raises:
        ModelError: A function that torch lacks, or a network without weights or of another kind than `MLP`.

    Example:
        >>> import sympy as sp, torch as pytorch
        >>> from sciml import System
        >>> x, k = sp.symbols("x k", real=True)
        >>> scope = {}
        >>> exec(torch(System({x: -k * x}, parameters={k: 0.5})), scope)
        >>> scope["Field"]()(0.0, pytorch.tensor([[2.0], [4.0]], dtype=pytorch.float64)).tolist()
        [[-1.0], [-2.0]]
    """
    return finish(_Printer(routines(system, jacobian=False)).source(), path)
