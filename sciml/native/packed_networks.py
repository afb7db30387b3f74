"""Source code of perceptrons that take packs: eight trajectories side by side, forwards only.

Layouts differ from those of `networks`: every number is a pack, a row of eight, so that a weight multiplies eight
inputs at once and nothing is summed across lanes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sciml.native.networks import Perceptron


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
    def places(self) -> tuple[tuple[int, int], ...]:
        """For each layer, where its products and its outputs start on the tape; the inputs are at its beginning."""
        end, places = self.network.widths[0], []
        for layer in self.network.layers:
            output = end + layer.activation.keeps_input * layer.outputs
            places.append((end, output))
            end = output + layer.outputs
        return tuple(places)

    @property
    def tape(self) -> int:
        """Length of the tape section, in packs."""
        return self.output + self.network.widths[-1]

    @property
    def output(self) -> int:
        """Where the outputs are on the tape."""
        return self.places[-1][1]

    def forward(self) -> Iterator[str]:
        """Lines of `NAME_forward(p, tape)`."""
        yield from ("@device", f"def {self.name}_forward(p, tape):")
        source = 0
        for layer, (raw, output) in zip(self.network.layers, self.places):
            matrix, bias = f"at(p, {layer.transposed})", f"at(p, {layer.bias})"
            sizes = f"{layer.inputs}, {layer.outputs}"
            yield f"    multiply_packs({matrix}, {_at('tape', source)}, {bias}, {_at('tape', raw)}, {sizes})"
            if not layer.linear:
                # Offsets from one pointer: of two, LLVM would not know whether they overlap.
                yield f"    for m in range({8 * layer.outputs}):"
                yield f"        tape[{8 * output} + m] = {layer.activation.value}(tape[{8 * raw} + m])"
            source = output


def _at(name: str, place: int) -> str:
    return f"at({name}, {8 * place})"
