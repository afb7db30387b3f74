r"""Source code of a network's derivatives by its inputs, up to second order, with their reverse pass.

A jet carries, through every layer, the values and the wanted partial derivatives :math:`h_\alpha`, with the multi-index
:math:`\alpha` running over (), (i), (i, j). Linear layers act on each alike, :math:`z_\alpha = W h_\alpha` (the bias on the
value only); an activation :math:`\sigma` by the chain rule:

.. math:: h = \sigma(z), \quad h_i = \sigma' z_i, \quad h_{ij} = \sigma'' z_i z_j + \sigma' z_{ij}.

The reverse pass transposes these lines; it needs one derivative of :math:`\sigma` more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from sciml.native.activations import ACTIVATIONS
from sciml.native.networks import Perceptron, aligned

Index = tuple[int, ...]

THIRD = {
    "tanh": "(1.0 - h * h) * (6.0 * h * h - 2.0)",
    "sigmoid": "h * (1.0 - h) * (1.0 - 6.0 * h + 6.0 * h * h)",
    "relu": "0.0",
    "identity": "0.0",
    "sin": "-math.cos(x)",
    "cos": "math.sin(x)",
    "softplus": "sigmoid(x) * (1.0 - sigmoid(x)) * (1.0 - 2.0 * sigmoid(x))",
    "silu": "sigmoid(x) * (1.0 - sigmoid(x)) * (3.0 * (1.0 - 2.0 * sigmoid(x))"
    " + x * (1.0 - 6.0 * sigmoid(x) * (1.0 - sigmoid(x))))",
    "gelu": "0.3989422804014327 * exp(-0.5 * x * x) * x * (x * x - 4.0)",
    "rbf": "(12.0 * x - 8.0 * x * x * x) * h",
}
"""Third derivative of each activation at x, where its value is h."""


def closure(indices: Iterable[Index]) -> tuple[Index, ...]:
    """The multi-indices needed to compute some: the value, and of each mixed derivative its two halves.

    Example:
        >>> closure([(0, 1)])
        ((), (0,), (1,), (0, 1))
    """
    wanted = {(), *indices}
    wanted |= {(i,) for index in indices if len(index) == 2 for i in index}
    return tuple(sorted(wanted, key=lambda index: (len(index), index)))


@dataclass(frozen=True)
class Jet:
    """Layout of a network's derivatives on the tape; weights and their copies are the network's own.

    Args:
        network: Whose derivatives.
        name: Prefix of the generated functions.
        indices: What to carry, from `closure`.
    """

    network: Perceptron
    name: str
    indices: tuple[Index, ...]

    @cached_property
    def places(self) -> tuple[dict[tuple[str, Index], int], ...]:
        """For the inputs and each layer, where its numbers start in the tape section.

        Kinds are `h` (what the next layer takes), `z` (what the linear map gave) and `g` (cotangent of h, turned into
        that of z in place).
        """
        end = 0
        tables = []
        for depth, width in enumerate(self.network.widths):
            table = {}
            for index in self.indices:
                for kind in ("h", "g") if depth == 0 or self.network.layers[depth - 1].linear else ("z", "h", "g"):
                    table[kind, index] = end
                    end += aligned(width)
            tables.append(table)
        tables.append({("end", ()): end})
        return tuple(tables)

    @property
    def tape(self) -> int:
        """Length of the tape section; the inputs are at its start."""
        return self.places[-1]["end", ()]

    def output(self, index: Index) -> int:
        """Where a derivative of the outputs is."""
        return self.places[-2]["h", index]

    def output_cotangent(self, index: Index) -> int:
        """Where the caller of the backward function leaves its cotangents."""
        return self.places[-2]["g", index]

    @property
    def input_cotangent(self) -> int:
        """Where the backward function leaves the cotangents of the inputs."""
        return self.places[0]["g", ()]

    def source(self) -> str:
        """`NAME_forward(p, tape, row)`, `NAME_backward(p, tape, row)` and `NAME_weights(tapes, rows, width, row, gp)`."""
        names = sorted(set(self.network.activations) - {"identity"})
        parts = [
            *map(self._activate, names),
            self._forward(),
            *map(self._pull, names),
            self._backward(),
            self._weights(),
        ]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _names(self, kind: str) -> list[str]:
        """Argument names such as `z`, `z_0`, `z_0_1`, in the order of the indices."""
        return ["_".join([kind, *map(str, index)]) for index in self.indices]

    def _pointers(self, depth: int, kind: str) -> str:
        table = self.places[depth]
        return ", ".join(f"at(tape, row + {table[kind, index]})" for index in self.indices)

    def _activate(self, name: str) -> Iterator[str]:
        activation = ACTIVATIONS[name]
        arguments = ", ".join([*self._names("z"), *self._names("h"), "count"])
        yield from ("@device", f"def {self.name}_activate_{name}({arguments}):", "    for m in range(count):")
        yield f"        value = {activation.value}(z[m])"
        yield f"        slope = {activation.slope}(z[m], value)"
        yield f"        bend = {activation.curvature}(z[m], value)"
        yield "        h[m] = value"
        for index in self.indices:
            if len(index) == 1:
                yield f"        h_{index[0]}[m] = slope * z_{index[0]}[m]"
            elif len(index) == 2:
                i, j = index
                yield f"        h_{i}_{j}[m] = bend * z_{i}[m] * z_{j}[m] + slope * z_{i}_{j}[m]"

    def _forward(self) -> Iterator[str]:
        widths, layers = self.network.widths, self.network.layers
        yield from ("@device", f"def {self.name}_forward(p, tape, row):")
        for index in self.indices[1:]:
            place = self.places[0]["h", index]
            for i in range(widths[0]):
                yield f"    tape[row + {place + i}] = {float(index == (i,))}"
        for depth, layer in enumerate(layers, start=1):
            for index in self.indices:
                x, y = self.places[depth - 1]["h", index], self.places[depth]["h" if layer.linear else "z", index]
                bias = "None" if index else f"at(p, {layer.bias})"
                sizes = f"{layer.inputs}, {layer.outputs}"
                yield f"    multiply(at(p, {layer.transposed}), at(tape, row + {x}), {bias}, at(tape, row + {y}), {sizes})"
            if not layer.linear:
                pointers = f"{self._pointers(depth, 'z')}, {self._pointers(depth, 'h')}"
                yield f"    {self.name}_activate_{self.network.activations[depth - 1]}({pointers}, {layer.outputs})"

    def _pull(self, name: str) -> Iterator[str]:
        activation = ACTIVATIONS[name]
        arguments = ", ".join([*self._names("z"), "h", *self._names("g"), "count"])
        second = [index for index in self.indices if len(index) == 2]
        yield from ("@device", f"def {self.name}_third_{name}(x, h):", f"    return {THIRD[name]}", "", "")
        yield from ("@device", f"def {self.name}_pull_{name}({arguments}):", "    for m in range(count):")
        yield f"        slope = {activation.slope}(z[m], h[m])"
        yield f"        bend = {activation.curvature}(z[m], h[m])"
        value = ["slope * g[m]"]
        value += [f"bend * z_{i[0]}[m] * g_{i[0]}[m]" for i in self.indices if len(i) == 1]
        if second:
            yield f"        third = {self.name}_third_{name}(z[m], h[m])"
            value += [f"(third * z_{i}[m] * z_{j}[m] + bend * z_{i}_{j}[m]) * g_{i}_{j}[m]" for i, j in second]
        yield f"        g[m] = {' + '.join(value)}"
        for index in self.indices:
            if len(index) == 1:
                # In a second derivative (i, j) the line of z_i holds z_j, twice where they are the same.
                (k,) = index
                parts = [f"slope * g_{k}[m]"]
                for i, j in second:
                    parts += [f"bend * z_{j}[m] * g_{i}_{j}[m]"] if i == k else []
                    parts += [f"bend * z_{i}[m] * g_{i}_{j}[m]"] if j == k else []
                yield f"        g_{k}[m] = {' + '.join(parts)}"
        for i, j in second:
            yield f"        g_{i}_{j}[m] *= slope"

    def _backward(self) -> Iterator[str]:
        layers = self.network.layers
        yield from ("@device", f"def {self.name}_backward(p, tape, row):")
        for depth in range(len(layers), 0, -1):
            layer = layers[depth - 1]
            if not layer.linear:
                h = f"at(tape, row + {self.places[depth]['h', ()]})"
                pointers = f"{self._pointers(depth, 'z')}, {h}, {self._pointers(depth, 'g')}"
                yield f"    {self.name}_pull_{self.network.activations[depth - 1]}({pointers}, {layer.outputs})"
            for index in self.indices:
                x, y = self.places[depth]["g", index], self.places[depth - 1]["g", index]
                sizes = f"{layer.outputs}, {layer.inputs}"
                yield f"    multiply(at(p, {layer.plain}), at(tape, row + {x}), None, at(tape, row + {y}), {sizes})"

    def _weights(self) -> Iterator[str]:
        yield from ("@device", f"def {self.name}_weights(tapes, rows, width, row, gp):")
        for depth, layer in enumerate(self.network.layers, start=1):
            for index in self.indices:
                left, right = self.places[depth]["g", index], self.places[depth - 1]["h", index]
                arrays = f"at(gp, {layer.weight}), at(tapes, row + {left}), at(tapes, row + {right})"
                yield f"    update({arrays}, width, rows, {layer.outputs}, {layer.inputs})"
            left = f"at(tapes, row + {self.places[depth]['g', ()]})"
            yield f"    add_rows(at(gp, {layer.bias}), {left}, width, rows, {layer.outputs})"
