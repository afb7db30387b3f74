r"""Source code of perceptrons that take packs: eight trajectories side by side.

Layouts differ from those of `networks`: every number is a pack, a row of eight, so that a weight multiplies eight
inputs at once, nothing is summed across lanes, and only the gradient of the weights is a sum over them. Cotangents
stand apart from the tape, because they are used up after every step while the tape is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sciml.native.networks import Layer, Perceptron, slope_functions, value_loop


@dataclass(frozen=True)
class PackedPerceptron:
    """Layout of a network's packs; weights and their copies are the network's own.

    Args:
        network: The network.
    """

    network: Perceptron

    @property
    def name(self) -> str:
        """Prefix of the generated functions."""
        return f"{self.network.name}_pack"

    @cached_property
    def places(self) -> tuple[tuple[int, int, int], ...]:
        """For each layer, where its products and outputs start on the tape, and its cotangents beside it."""
        tape, cotangent, places = self.network.widths[0], self.network.widths[0], []
        for layer in self.network.layers:
            output = tape + layer.activation.keeps_input * layer.outputs
            places.append((tape, output, cotangent))
            tape, cotangent = output + layer.outputs, cotangent + layer.outputs
        return tuple(places)

    @property
    def tape(self) -> int:
        """Length of the tape section, in packs; the inputs are at its start."""
        return self.output + self.network.widths[-1]

    @property
    def cotangents(self) -> int:
        """Length of the cotangents' section, in packs; those of the inputs are at its start."""
        return self.output_cotangent + self.network.widths[-1]

    @property
    def output(self) -> int:
        """Where the outputs are on the tape."""
        return self.places[-1][1]

    @property
    def output_cotangent(self) -> int:
        """Where the caller of the backward function leaves the cotangents of the outputs."""
        return self.places[-1][2]

    def _layers(self) -> Iterator[tuple[Layer, tuple[int, int], tuple[int, int, int]]]:
        """Each layer, where its inputs and their cotangents are, and where its own numbers are."""
        source = (0, 0)
        for layer, (raw, output, cotangent) in zip(self.network.layers, self.places):
            yield layer, source, (raw, output, cotangent)
            source = (output, cotangent)

    def forward(self) -> Iterator[str]:
        """Lines of `NAME_forward(p, tape)`."""
        yield from ("@device", f"def {self.name}_forward(p, tape):")
        for layer, (source, _), (raw, output, _) in self._layers():
            matrix, bias = f"at(p, {layer.transposed})", f"at(p, {layer.bias})"
            sizes = f"{layer.inputs}, {layer.outputs}"
            yield f"    multiply_packs({matrix}, {_at('tape', source)}, {bias}, {_at('tape', raw)}, {sizes})"
            yield from value_loop(layer, f"{8 * raw}", f"{8 * output}", 8 * layer.outputs)

    def backward(self) -> Iterator[str]:
        """Lines of `NAME_backward(p, tape, cotangents)`."""
        yield from slope_functions(self.name, self.network.layers)
        yield from ("@device", f"def {self.name}_backward(p, tape, cotangents):")
        for layer, (_, below), (raw, output, cotangent) in reversed(list(self._layers())):
            g, sizes = _at("cotangents", cotangent), f"{layer.outputs}, {layer.inputs}"
            if not layer.linear:
                arrays = f"{_at('tape', raw)}, {_at('tape', output)}, {g}"
                yield f"    {self.name}_{layer.slope(8 * layer.outputs)}({arrays}, {8 * layer.outputs})"
            yield f"    multiply_packs(at(p, {layer.plain}), {g}, None, {_at('cotangents', below)}, {sizes})"

    def weights(self) -> Iterator[str]:
        """Lines of `NAME_weights(tapes, cotangents, rows, width, span, gp)`, for rows of these lengths."""
        yield from ("@device", f"def {self.name}_weights(tapes, cotangents, rows, width, span, gp):")
        for layer, (source, _), (_, _, cotangent) in self._layers():
            left, right = _at("cotangents", cotangent), _at("tapes", source)
            sizes = f"{layer.outputs}, {layer.inputs}"
            yield f"    update_by_packs(at(gp, {layer.weight}), {left}, span, {right}, width, rows, {sizes})"
            yield f"    add_packs(at(gp, {layer.bias}), {left}, span, rows, {layer.outputs})"


def _at(name: str, place: int) -> str:
    return f"at({name}, {8 * place})"
