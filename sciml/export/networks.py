r"""Networks, and their derivatives of any order, as steps on whole layers that every language can take.

A value and the wanted partial derivatives go through every layer together: a linear layer acts on each alike, its bias on
the value only, and an activation :math:`\sigma` by the formula of Faà di Bruno,

.. math:: \partial_D \, \sigma(a) = \sum_{\pi} \sigma^{(|\pi|)}(a) \prod_{B \in \pi} \partial_B a,

over the partitions :math:`\pi` of the indices D.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from sciml.errors import ModelError, quoted
from sciml.lowering.networks import architectures, weights_of
from sciml.lowering.program import Call, Program, as_float
from sciml.lowering.slopes import slope
from sciml.symbolic.declarations import MLP
from sciml.symbolic.system import System

Index = tuple[int, ...]
A, Z = sp.symbols("a z", real=True)
SIGMOID = (1 + sp.tanh(A / 2)) / 2  # neither it nor its derivatives overflow
NORMAL = (1 + sp.erf(A / sp.sqrt(2))) / 2

# The activation at a, and its slope in terms of a and of its own value z.
ACTIVATIONS: dict[str, tuple[sp.Expr, sp.Expr]] = {
    "tanh": (sp.tanh(A), 1 - Z**2),
    "sin": (sp.sin(A), sp.cos(A)),
    "cos": (sp.cos(A), -sp.sin(A)),
    "softplus": (sp.Max(A, 0) + sp.log(1 + sp.exp(-sp.Abs(A))), SIGMOID),
    "silu": (A * SIGMOID, SIGMOID + A * SIGMOID * (1 - SIGMOID)),
    "gelu": (A * NORMAL, NORMAL + A * sp.exp(-(A**2) / 2) / sp.sqrt(2 * sp.pi)),
    "relu": (sp.Max(A, 0), sp.Heaviside(A, 0)),
    "sigmoid": (SIGMOID, Z * (1 - Z)),
    "rbf": (sp.exp(-(A**2)), -2 * A * Z),
    "identity": (A, sp.Integer(1)),
}


@cache
def activation(name: str, order: int) -> sp.Expr:
    """The derivative of some order of an activation, in terms of its argument `a` and its value `z`.

    Example:
        >>> activation("tanh", 2)
        -2*z*(1 - z**2)
    """
    value, first = ACTIVATIONS[name]
    if order < 2:
        return first if order else value
    before = activation(name, order - 1)
    return slope(before, A) + slope(before, Z) * first


@dataclass(frozen=True)
class Affine:
    """`target = W source`, and the bias where `bias`."""

    target: str
    layer: int
    source: str
    bias: bool


@dataclass(frozen=True)
class Column:
    """`target` = column `argument` of the first layer's W: the derivative by an argument."""

    target: str
    argument: int


@dataclass(frozen=True)
class Elementwise:
    """`target_i = expression_i` for each unit i of a layer; the symbols of the expression are arrays."""

    target: str
    layer: int
    expression: sp.Expr


@dataclass(frozen=True)
class Network:
    """The weights of one learned group: a matrix and a bias for every layer."""

    number: int
    matrices: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activation: str
    words: str

    @property
    def inputs(self) -> int:
        return self.matrices[0].shape[1]

    def width(self, layer: int) -> int:
        """Number of units behind a layer."""
        return self.matrices[layer].shape[0]


@dataclass(frozen=True)
class Evaluation:
    """A function of the arguments that computes some outputs of a network, differentiated as asked.

    Args:
        name: Of the function.
        network: Whose outputs.
        wanted: Output and by which arguments it is differentiated.
        steps: What to compute from `x`, the arguments.
        results: Array and entry of each wanted number; None where it is zero.
    """

    name: str
    network: Network
    wanted: tuple[tuple[int, Index], ...]
    steps: tuple[Affine | Column | Elementwise, ...]
    results: tuple[tuple[str, int] | None, ...]


def networks(system: System) -> tuple[Network, ...]:
    """The weights of all learned functions of a System.

    Raises:
        ModelError: A network without weights, or a module that is no plain perceptron.
    """
    return tuple(_network(system, k, group, network) for k, (group, network) in enumerate(system.learned.items()))


def _network(system: System, number: int, group: tuple, network: object) -> Network:
    words = quoted(group)
    if isinstance(network, MLP):
        if network.weights is None:
            raise ModelError(
                f"the network of {words} has no weights yet: export `fit.system`, or give them as `MLP(weights=...)`."
            )
        widths, name, weights = (system.arity(group), *network.hidden, len(group)), network.activation, network.weights
    else:
        try:
            [(widths, name)] = architectures([network])
        except ModelError as error:
            raise ModelError(f"{words} cannot be exported: {error}.") from error
        weights = weights_of(network)
    matrices, biases, position = [], [], 0
    for before, after in pairwise(widths):
        matrices.append(weights[position : position + before * after].reshape(after, before))
        biases.append(weights[position + before * after :][:after])
        position += (before + 1) * after
    return Network(number, tuple(matrices), tuple(biases), name, words)


def evaluations(programs: Iterable[Program], known: tuple[Network, ...]) -> dict[tuple, Evaluation]:
    """One function for each way in which the programs ask a network, by `asked(call)`."""
    found: dict[tuple, Evaluation] = {}
    for program in programs:
        for step in program.steps:
            if isinstance(step, Call) and asked(step) not in found:
                number = sum(key[0] == step.network for key in found)
                name = f"network_{step.network}" + (f"_{number}" if number else "")
                found[asked(step)] = evaluation(name, known[step.network], asked(step)[1])
    return found


def asked(call: Call) -> tuple[int, tuple[tuple[int, Index], ...]]:
    """Which network, and what is asked of it."""
    return call.network, tuple((output.index, output.derivative) for output in call.outputs)


def evaluation(name: str, network: Network, wanted: tuple[tuple[int, Index], ...]) -> Evaluation:
    """The steps that compute outputs of a network and their derivatives."""
    indices = {part for _, index in wanted for n in range(len(index) + 1) for part in combinations(index, n)}
    ordered = sorted({(), *indices}, key=lambda index: (len(index), index))
    steps: list[Affine | Column | Elementwise] = [Affine("a0", 0, "x", True)]
    present: dict[Index, str] = {(): "a0"}
    for i in sorted({i for index in ordered for i in index}):
        present[(i,)] = _array("a", 0, (i,))
        steps.append(Column(present[(i,)], i))
    for layer in range(len(network.matrices) - 1):
        value = sp.Symbol(f"z{layer}", real=True)
        behind: dict[Index, str] = {}
        for index in ordered:
            expression = _chain(network.activation, index, present, value)
            if expression != 0:
                behind[index] = _array("z", layer, index)
                steps.append(Elementwise(behind[index], layer, as_float(expression)))
        present = {index: _array("a", layer + 1, index) for index in behind}
        steps += [Affine(present[i], layer + 1, source, i == ()) for i, source in behind.items()]
    results = tuple((present[index], output) if index in present else None for output, index in wanted)
    needed = {array for array, _ in filter(None, results)}
    kept: list[Affine | Column | Elementwise] = []
    for step in reversed(steps):
        if step.target in needed:
            kept.append(step)
            needed |= _sources(step)
    return Evaluation(name, network, wanted, tuple(reversed(kept)), results)


def _sources(step: Affine | Column | Elementwise) -> set[str]:
    if isinstance(step, Elementwise):
        return {str(symbol) for symbol in step.expression.free_symbols}
    return {step.source} if isinstance(step, Affine) else set()


def _array(kind: str, layer: int, index: Index) -> str:
    return f"{kind}{layer}" + ("_d" + "_".join(map(str, index)) if index else "")


def _chain(name: str, index: Index, present: dict[Index, str], value: sp.Symbol) -> sp.Expr:
    """The derivative of the activation's value by the arguments in `index`."""
    a = sp.Symbol(present[()], real=True)
    if not index:
        return activation(name, 0).xreplace({A: a})
    total: sp.Expr = sp.S.Zero
    for partition in multiset_partitions(list(range(len(index)))):
        blocks = [tuple(sorted(index[i] for i in block)) for block in partition]
        if all(block in present for block in blocks):
            factor = activation(name, len(blocks)).xreplace({A: a, Z: value})
            total += factor * sp.Mul(*(sp.Symbol(present[block], real=True) for block in blocks))
    return total
