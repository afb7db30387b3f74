"""Networks that stand for learned functions: MLPs from their declaration, and derivatives of any module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from sciml.errors import ModelError
from sciml.symbolic.declarations import MLP


class _Elementwise(nn.Module):
    """A module around one elementwise function."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _rbf(x: Tensor) -> Tensor:
    return torch.exp(-x * x)


ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sin": lambda: _Elementwise("sin", torch.sin),
    "cos": lambda: _Elementwise("cos", torch.cos),
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "rbf": lambda: _Elementwise("rbf", _rbf),
    "identity": nn.Identity,
}

STANDARD = {"approximate": "none", "beta": 1.0, "threshold": 20.0}
"""Settings of torch's activations with which they are those of the same name."""


def build_network(mlp: MLP, inputs: int, outputs: int, seed: int) -> nn.Sequential:
    r"""The torch module of a declared MLP, in float64.

    Hidden weights are drawn from :math:`N(0, 1/\text{inputs})`; periodic and radial units take phases from the whole
    circle, since all phases zero is a saddle of the loss (cos'(0) = 0). The last layer starts ten times smaller, so
    that a hybrid model starts close to its known part.

    Args:
        mlp: The declaration; its weights, if any, are used instead of random ones.
        inputs: Number of arguments of the functions.
        outputs: Number of functions.
        seed: Of the random weights.
    """
    generator = torch.Generator().manual_seed(seed)
    widths = [inputs, *mlp.hidden, outputs]
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        linear = nn.Linear(before, after, dtype=torch.float64)
        last = i == len(widths) - 2
        with torch.no_grad():
            scale = (0.1 if last else 1.0) / math.sqrt(before)
            linear.weight.normal_(0.0, scale, generator=generator)
            linear.bias.zero_()
            if mlp.activation in ("sin", "cos", "rbf") and not last:
                linear.bias.uniform_(0.0, 2 * math.pi, generator=generator)
        layers += [linear] if last else [linear, ACTIVATION_MODULES[mlp.activation]()]
    network = nn.Sequential(*layers)
    if mlp.weights is not None:
        set_weights(network, mlp.weights)
    return network


def weights_of(network: nn.Module) -> np.ndarray:
    """All trainable weights of a module as one flat vector, in torch's order."""
    parts = [p.detach().cpu().reshape(-1).to(torch.float64).numpy() for p in network.parameters()]
    return np.concatenate(parts) if parts else np.zeros(0)


def set_weights(network: nn.Module, vector: np.ndarray) -> None:
    """Write a flat vector of weights into a module."""
    size = sum(p.numel() for p in network.parameters())
    if len(vector) != size:
        raise ModelError(f"{len(vector)} weights were given for a network that has {size}.")
    with torch.no_grad():
        nn.utils.vector_to_parameters(torch.tensor(np.asarray(vector), dtype=torch.float64), network.parameters())


def set_all_weights(networks: Iterable[nn.Module], vector: np.ndarray) -> None:
    """Write a flat vector into several modules, one after another."""
    position = 0
    for network in networks:
        size = sum(p.numel() for p in network.parameters())
        set_weights(network, vector[position : position + size])
        position += size


def decayed(network: nn.Module) -> np.ndarray:
    """Which entries of the flat vector are weights (matrices) rather than biases: those that decay acts on."""
    parts = [np.full(p.numel(), p.ndim > 1) for p in network.parameters()]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def derivative(network: Callable[[Tensor], Tensor], indices: tuple[int, ...], x: Tensor) -> Tensor:
    """Mixed partial derivative of all outputs by the arguments `indices`, exact, by nested forward mode.

    Works for any module, batched, and can itself be differentiated backwards.
    """
    if not indices:
        return network(x)
    inner = partial(derivative, network, indices[:-1])
    direction = torch.zeros_like(x)
    direction[..., indices[-1]] = 1.0
    return torch.func.jvp(inner, (x,), (direction,))[1]


def architectures(networks: Iterable[nn.Module]) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Widths of every network, and the activation behind each of its linear layers.

    Raises:
        ModelError: A torch module that is not a plain perceptron in float64.
    """
    return [_architecture(network) for network in networks]


def _architecture(network: nn.Module) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names = {type(make()): name for name, make in ACTIVATION_MODULES.items()}
    linear: list[nn.Linear] = []
    activations: list[str] = []
    for layer in network if isinstance(network, nn.Sequential) else [network]:
        name = getattr(layer, "name", None) or names.get(type(layer))
        if type(layer) is nn.Linear and layer.bias is not None:
            activations += ["identity"] * (len(linear) - len(activations))
            linear.append(layer)
        elif name is not None and len(activations) < len(linear):
            activations.append(name)
        else:
            raise ModelError(
                f"the network `{type(network).__name__}` is no plain perceptron: `{type(layer).__name__}` is not a linear"
                " layer with a bias or a known activation behind one"
            )
        if any(getattr(layer, setting, usual) != usual for setting, usual in STANDARD.items()):
            raise ModelError(
                f"the network `{type(network).__name__}` has `{layer}`, which is not the standard activation"
            )
    if not linear:
        raise ModelError(f"the network `{type(network).__name__}` has no linear layer")
    activations += ["identity"] * (len(linear) - len(activations))
    if any(p.dtype.itemsize != 8 or p.device.type != "cpu" for p in network.parameters()):
        raise ModelError(f"the network `{type(network).__name__}` is not float64 on the CPU")
    if any(a.out_features != b.in_features for a, b in pairwise(linear)):
        raise ModelError(f"the network `{type(network).__name__}` has layers that do not fit")
    return (linear[0].in_features, *(layer.out_features for layer in linear)), tuple(activations)
