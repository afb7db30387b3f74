"""Models written out by hand for the compiled engine, the same in torch, and what their tests compare by."""

import itertools
import math

import numpy as np
import torch

from sciml.native import transforms
from sciml.native.loss import Column, Coordinates
from sciml.native.model import Model
from sciml.native.networks import Perceptron, aligned
from sciml.native.preambles import PREAMBLE

TORCH_ACTIVATIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
    "softplus": lambda x: torch.nn.functional.softplus(x, threshold=1e9),
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "rbf": lambda x: torch.exp(-x * x),
    "identity": lambda x: x,
}


# p: birth, eaten, born, death, noise.
LOTKA_VOLTERRA = """
@value
def field_value(t, y, p, u, tape, out):
    out[0] = p[0] * y[0] - p[1] * y[0] * y[1]
    out[1] = p[2] * y[0] * y[1] - p[3] * y[1]

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = g[0] * (p[0] - p[1] * y[1]) + g[1] * p[2] * y[1]
    gy[1] = -g[0] * p[1] * y[0] + g[1] * (p[2] * y[0] - p[3])
    gp[0] += g[0] * y[0]
    gp[1] -= g[0] * y[0] * y[1]
    gp[2] += g[1] * y[0] * y[1]
    gp[3] -= g[1] * y[1]
"""


# Means are the states, the scale of both is p[{noise}].
OBSERVABLES = """
@value
def observables_value(t, y, p, u, tape, out):
    out[0] = y[0]
    out[1] = y[1]
    out[2] = p[{noise}]

@vjp
def observables_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = g[0]
    gy[1] = g[1]
    gp[{noise}] += g[2]
"""


# The initial state is the two free values times p[0], with an input on top.
INITIAL = """
@value
def initial_value(t, y, p, u, tape, out):
    out[0] = p[0] * y[0] + u[0]
    out[1] = p[0] * y[1]

@vjp
def initial_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = p[0] * g[0]
    gy[1] = p[0] * g[1]
    gp[0] += g[0] * y[0] + g[1] * y[1]
"""


# p: birth, death, noise, weights; a network of two outputs stands for both interactions.
HYBRID = """
@prepare
def copies(p):
    n0_prepare(p)

prepare = copies

@value
def field_value(t, y, p, u, tape, out):
    tape[0] = y[0]
    tape[1] = y[1]
    n0_forward(p, tape, 0)
    out[0] = p[0] * y[0] - tape[{output}]
    out[1] = tape[{output} + 1] - p[1] * y[1]

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    tape[{output_cotangent}] = -g[0]
    tape[{output_cotangent} + 1] = g[1]
    n0_backward(p, tape, 0)
    gy[0] = p[0] * g[0] + tape[{input_cotangent}]
    gy[1] = -p[1] * g[1] + tape[{input_cotangent} + 1]
    gp[0] += g[0] * y[0]
    gp[1] -= g[1] * y[1]

@weights
def field_weights(tapes, rows, gp):
    n0_weights(tapes, rows, {tape}, 0, gp)
"""


START = np.array([0.44249296, 4.6280594])


TIMES = np.linspace(0.0, 3.0, 31)


def lotka_volterra(initial: bool = False) -> Model:
    source = PREAMBLE + LOTKA_VOLTERRA + OBSERVABLES.format(noise=4) + (INITIAL if initial else "")
    return Model(source, states=2, parameters=5, storage=5, free=2, outputs={"observables": 3})


def hybrid(widths: tuple[int, ...] = (2, 32, 32, 2), activation: str = "tanh") -> Model:
    parameters = 3 + sum((n + 1) * m for n, m in itertools.pairwise(widths))
    activations = (*[activation] * (len(widths) - 2), "identity")
    network = Perceptron("n0", widths, activations, weights=3, copies=aligned(parameters))
    names = ("output", "output_cotangent", "input_cotangent", "tape")
    field = HYBRID.format(**{name: getattr(network, name) for name in names})
    return Model(
        PREAMBLE + network.source() + field + OBSERVABLES.format(noise=2),
        states=2,
        parameters=parameters,
        storage=aligned(parameters) + network.scratch,
        free=2,
        outputs={"observables": 3},
        tapes={"field": network.tape},
    )


def random_weights(widths: tuple[int, ...], seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    parts = []
    for n, m in itertools.pairwise(widths):
        parts += [generator.normal(0, 0.7 / math.sqrt(n), n * m), generator.normal(0, 0.1, m)]
    parts[-2] *= 0.3
    return np.concatenate(parts)


def torch_network(x: torch.Tensor, weights: torch.Tensor, widths: tuple[int, ...], activation: str) -> torch.Tensor:
    position = 0
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        matrix = weights[position : position + n * m].view(m, n)
        x = x @ matrix.T + weights[position + n * m : position + (n + 1) * m]
        position += (n + 1) * m
        if i < len(widths) - 2:
            x = TORCH_ACTIVATIONS[activation](x)
    return x


def torch_hybrid(widths: tuple[int, ...], activation: str):
    def field(t, y, p):
        n = torch_network(y, p[3:], widths, activation)
        return torch.stack([p[0] * y[0] - n[0], n[1] - p[1] * y[1]])

    return field


def torch_lotka_volterra(t, y, p):
    return torch.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]])


def replay(field, p, y0, times, steps, tableau):
    """The states at `times` from given steps, in torch, for autograd."""
    a, c = torch.tensor(tableau.a), tableau.c
    y, row, states = y0, 0, []
    while row < len(times) and times[row] == steps[0][0]:
        states, row = [*states, y], row + 1
    for number, (t, h) in enumerate(steps):
        k = [field(t, y, p)]
        for i in range(1, tableau.stages):
            new = y + h * sum(a[i, j] * k[j] for j in range(i))
            k.append(field(t + c[i] * h, new, p))
        last = number == len(steps) - 1
        while row < len(times) and (last or times[row] <= t + h):
            w = tableau.dense_weights(np.array((times[row] - t) / h))
            states, row = [*states, y + h * sum(x * kj for x, kj in zip(w, k))], row + 1
        y = new
    return torch.stack(states)


def everything_free(numbers: np.ndarray, positive: tuple[int, ...] = (), precision: float = 0.0) -> Coordinates:
    count = len(numbers)
    codes = np.zeros(count, dtype=np.int64)
    codes[list(positive)] = transforms.EXP
    return Coordinates(
        places=np.arange(count),
        codes=codes,
        a=np.zeros(count),
        b=np.ones(count),
        mean=np.full(count, 0.1),
        precision=np.full(count, precision),
    )


def noisy(times: np.ndarray, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    clean = np.stack([0.5 * np.exp(0.5 * times), 4.5 * np.exp(-0.9 * times)], axis=1)
    return clean * np.exp(0.05 * generator.normal(size=clean.shape))


def differences(function, theta: np.ndarray, places, step: float = 1e-5) -> np.ndarray:
    """Fourth-order central differences."""
    result = []
    for place in places:
        e = np.zeros_like(theta)
        e[place] = step
        near = function(theta + e) - function(theta - e)
        far = function(theta + 2 * e) - function(theta - 2 * e)
        result.append((8 * near - far) / (12 * step))
    return np.array(result)


def close(actual, expected, tolerance: float) -> bool:
    actual, expected = np.asarray(actual), np.asarray(expected)
    return bool(np.abs(actual - expected).max() <= tolerance * np.abs(expected).max())


def one_state(rate: str) -> Model:
    field = f"""
@value
def field_value(t, y, p, u, tape, out):
    out[0] = {rate}

@vjp
def field_vjp(t, y, p, u, tape, g, gy, gp):
    gy[0] = 0.0
"""
    return Model(PREAMBLE + field, states=1, parameters=1, storage=1, free=1)


COLUMNS = [Column("normal", 0, 2), Column("lognormal", 1, 2)]
