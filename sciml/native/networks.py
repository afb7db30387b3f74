r"""Source code of multilayer perceptrons with literal sizes: forward, input gradient, weight gradient.

A network of layer widths :math:`n_0, \dots, n_L` computes :math:`h_l = \sigma_l(W_l h_{l-1} + b_l)`, as a rule with the
identity in the last layer. Its weights lie in the flat vector in torch's order: weight as (out, in), then bias, layer
after layer. One evaluation owns a section of the tape, which holds the inputs, the layers' outputs (before and after
:math:`\sigma_l` where its derivative needs both) and the cotangents of all these.

A product runs over rows of the matrix that it multiplies, so forward and backward want it in two layouts; and loads
that cross a cache line cost double. `prepare` therefore copies each matrix once per loss, transposed and plain, to
the start of a cache line, and tape sections start on one, too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from sciml.native.activations import ACTIVATIONS, Activation
from sciml.native.packs import SIZE

CACHE_LINE = 8


def aligned(count: int) -> int:
    """The count of numbers, rounded up to whole cache lines."""
    return -(-count // CACHE_LINE) * CACHE_LINE


@dataclass(frozen=True)
class Layer:
    """Where a layer keeps its numbers: the first four in `p`, the others in the tape section."""

    inputs: int
    outputs: int
    activation: Activation
    weight: int
    bias: int
    transposed: int
    plain: int
    source: int
    raw: int
    output: int
    cotangent: int
    source_cotangent: int

    @property
    def linear(self) -> bool:
        """Whether there is nothing behind the product."""
        return self.activation == ACTIVATIONS["identity"]

    def in_packs(self, count: int) -> bool:
        """Whether so many numbers are activated eight at a time; others were not written so, and would be waited for."""
        return self.activation.packs and count % SIZE == 0

    def slope(self, count: int) -> str:
        """Name of the function for the slopes of so many numbers, behind the network's."""
        return self.activation.slope + "_in_packs" * self.in_packs(count)


def value_loop(layer: Layer, raw: str, output: str, count: int) -> Iterator[str]:
    """Lines that apply a layer's activation to so many numbers of the tape, from one place to another."""
    value = layer.activation.value
    if layer.in_packs(count):
        yield f"    for m in range({count // SIZE}):"
        yield f"        store(at(tape, {output}), m, {value}(load(at(tape, {raw}), m)))"
    elif not layer.linear:
        # Offsets from one pointer: of two, LLVM would not know whether they overlap.
        yield f"    for m in range({count}):"
        yield f"        tape[{output} + m] = {value}(tape[{raw} + m])"


def slope_functions(prefix: str, layers: Iterable[Layer]) -> Iterator[str]:
    """Lines of `PREFIX_SLOPE(x, h, g, count)`, which multiply cotangents by the slopes of these layers' activations.

    They have a count, as a short loop of literal length is unrolled and then not vectorized.
    """
    for slope, packs in sorted(
        {(layer.activation.slope, layer.activation.packs) for layer in layers if not layer.linear}
    ):
        yield from ("@device", f"def {prefix}_{slope}(x, h, g, count):", "    for m in range(count):")
        yield from (f"        g[m] *= {slope}(x[m], h[m])", "", "")
        if packs:
            yield from (
                "@device",
                f"def {prefix}_{slope}_in_packs(x, h, g, count):",
                f"    for m in range(count // {SIZE}):",
            )
            yield from (f"        store(g, m, load(g, m) * {slope}(load(x, m), load(h, m)))", "", "")


@dataclass(frozen=True)
class Perceptron:
    """Layout of a network's weights and tape.

    Args:
        name: Prefix of the generated functions.
        widths: Numbers of units from the input to the output.
        activations: One of `ACTIVATIONS` for each layer; "identity" is none.
        weights: Where the weights start in `p`.
        copies: Where the copies that `prepare` makes start in `p`: behind all parameters, at a multiple of 8.
    """

    name: str
    widths: tuple[int, ...]
    activations: tuple[str, ...]
    weights: int
    copies: int

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum((n + 1) * m for n, m in zip(self.widths, self.widths[1:]))

    @property
    def scratch(self) -> int:
        """Length of the copies that `prepare` makes."""
        return sum(2 * aligned(n * m) for n, m in zip(self.widths, self.widths[1:]))

    @property
    def tape(self) -> int:
        """Length of the tape section."""
        return self.layers[-1].cotangent + aligned(self.widths[-1])

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layout of every layer."""
        layers: list[Layer] = []
        weight, copy, source, end = self.weights, self.copies, 0, 2 * aligned(self.widths[0])
        source_cotangent = aligned(self.widths[0])
        for i, (n, m) in enumerate(zip(self.widths, self.widths[1:])):
            activation = ACTIVATIONS[self.activations[i]]
            raw = end
            output = raw + activation.keeps_input * aligned(m)
            cotangent = output + aligned(m)
            places = {"weight": weight, "bias": weight + n * m, "transposed": copy, "plain": copy + aligned(n * m)}
            places |= {"source": source, "raw": raw, "output": output}
            places |= {"cotangent": cotangent, "source_cotangent": source_cotangent}
            layers.append(Layer(n, m, activation, **places))
            weight, copy, end = weight + (n + 1) * m, copy + 2 * aligned(n * m), cotangent + aligned(m)
            source, source_cotangent = output, cotangent
        return tuple(layers)

    @property
    def output(self) -> int:
        """Where the outputs are in the tape section; the inputs are at its start."""
        return self.layers[-1].output

    @property
    def output_cotangent(self) -> int:
        """Where the caller of the backward function leaves the cotangents of the outputs."""
        return self.layers[-1].cotangent

    @property
    def input_cotangent(self) -> int:
        """Where the backward function leaves the cotangents of the inputs."""
        return self.layers[0].source_cotangent

    def source(self) -> str:
        """The generated functions; `row` is the start of the section in a tape (row).

        `NAME_prepare(p)`, `NAME_forward(p, tape, row)`, `NAME_backward(p, tape, row)`, which leaves the layers'
        cotangents in the tape, and `NAME_weights(tapes, rows, width, row, gp)`, which adds the weight gradient of
        that many tape rows of `width` numbers.
        """
        parts = [self._prepare(), self._forward(), self._backward(), self._weights()]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _prepare(self) -> Iterator[str]:
        yield from ("@device", f"def {self.name}_prepare(p):")
        for layer in self.layers:
            n, m = layer.inputs, layer.outputs
            yield f"    for i in range({n * m}):"
            yield f"        p[{layer.plain} + i] = p[{layer.weight} + i]"
            yield f"    for i in range({n}):"
            yield f"        for o in range({m}):"
            yield f"            p[{layer.transposed} + i * {m} + o] = p[{layer.weight} + o * {n} + i]"

    def _forward(self) -> Iterator[str]:
        yield from ("@device", f"def {self.name}_forward(p, tape, row):")
        for layer in self.layers:
            matrix, x = f"at(p, {layer.transposed})", f"at(tape, row + {layer.source})"
            bias, y = f"at(p, {layer.bias})", f"at(tape, row + {layer.raw})"
            yield f"    multiply({matrix}, {x}, {bias}, {y}, {layer.inputs}, {layer.outputs})"
            yield from value_loop(layer, f"row + {layer.raw}", f"row + {layer.output}", layer.outputs)

    def _backward(self) -> Iterator[str]:
        yield from slope_functions(self.name, self.layers)
        yield from ("@device", f"def {self.name}_backward(p, tape, row):")
        for layer in reversed(self.layers):
            matrix, g = f"at(p, {layer.plain})", f"at(tape, row + {layer.cotangent})"
            if not layer.linear:
                x, h = f"at(tape, row + {layer.raw})", f"at(tape, row + {layer.output})"
                yield f"    {self.name}_{layer.slope(layer.outputs)}({x}, {h}, {g}, {layer.outputs})"
            y = f"at(tape, row + {layer.source_cotangent})"
            yield f"    multiply({matrix}, {g}, None, {y}, {layer.outputs}, {layer.inputs})"

    def _weights(self) -> Iterator[str]:
        yield from ("@device", f"def {self.name}_weights(tapes, rows, width, row, gp):")
        for layer in self.layers:
            matrix, left = f"at(gp, {layer.weight})", f"at(tapes, row + {layer.cotangent})"
            right = f"at(tapes, row + {layer.source})"
            yield f"    update({matrix}, {left}, {right}, width, rows, {layer.outputs}, {layer.inputs})"
            yield f"    add_rows(at(gp, {layer.bias}), {left}, width, rows, {layer.outputs})"
