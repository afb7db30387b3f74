"""The Lotka-Volterra problem of the gradient benchmarks, and its loss in other libraries."""

import importlib.util
import os
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import sympy as sp
import torch
from torch import Tensor, nn

from sciml import MLP, Normal, Problem, System, simulate

# XLA reads this when jax is first imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
RATES, SIGNS, NOISE, TOLERANCE = (1.3, -1.8), (-1.0, 1.0), 0.5, 1e-6
START = (0.44249296, 4.6280594)
Gradient = Callable[[], np.ndarray]


def installed(*packages: str) -> set[str]:
    """Those of the packages that can be imported; says which are skipped."""
    found = {package for package in packages if importlib.util.find_spec(package)}
    for package in sorted(set(packages) - found):
        print(f'{package} is not installed and is skipped; pip install "sciml-hybrid[bench]" brings it.')
    return found


def problem(hidden: tuple[int, ...], starts: np.ndarray, rows: int = 31) -> Problem:
    """Both interactions learned by one network; every row of `starts` is an experiment with fitted initial values."""
    x, y = sp.symbols("x y", real=True)
    eaten, born = sp.symbols("eaten born", cls=sp.Function)
    truth = System({x: RATES[0] * x - 0.9 * x * y, y: 0.9 * x * y + RATES[1] * y})
    times = np.linspace(0.0, 3.0, rows)
    frames: list[pd.DataFrame] = [
        simulate(truth, times, initial={x: a, y: b}, rtol=1e-9, atol=1e-9).to_frame() for a, b in starts
    ]
    network = MLP(hidden=hidden, decay=0.0, input_scale=(1.0, 1.0), output_scale=(1.0, 1.0))
    model = System({x: RATES[0] * x - eaten(x, y), y: RATES[1] * y + born(x, y)}, learned={(eaten, born): network})
    return Problem(model, frames, noise={x: Normal(NOISE), y: Normal(NOISE)}, rtol=TOLERANCE, atol=TOLERANCE)


def arrays(of: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Times, and data by experiment, time and state."""
    return of.experiments[0].times, np.stack([experiment.values for experiment in of.experiments])


def _layers(widths: tuple[int, ...], weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    layers, position = [], 0
    for inputs, outputs in pairwise(widths):
        matrix = weights[position : position + inputs * outputs].reshape(outputs, inputs)
        position += inputs * outputs
        layers.append((matrix, weights[position : position + outputs]))
        position += outputs
    return layers


def diffrax(
    widths: tuple[int, ...], weights: np.ndarray, ts: np.ndarray, data: np.ndarray
) -> tuple[Gradient, Gradient]:
    """Gradient by the weights, and the forward solution: jitted, float64, Tsit5, default adjoint, vmap of a batch."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax
    import jax.numpy as jnp

    def field(t, y, layers):
        z = y
        for matrix, bias in layers[:-1]:
            z = jnp.tanh(matrix @ z + bias)
        matrix, bias = layers[-1]
        return jnp.array(RATES) * y + jnp.array(SIGNS) * (matrix @ z + bias)

    def states(layers, y0):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), ts[0], ts[-1], None, y0, layers, saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        )  # fmt: skip
        return solution.ys

    many = states if len(data) == 1 else jax.vmap(states, in_axes=(None, 0))
    target = data[0] if len(data) == 1 else data

    def loss(unknown):
        return 0.5 * jnp.sum(((many(*unknown) - target) / NOISE) ** 2)

    evaluate, solve = jax.jit(jax.value_and_grad(loss)), jax.jit(many)
    unknown = jax.tree.map(jnp.asarray, (_layers(widths, weights), target[..., 0, :]))

    def gradient() -> np.ndarray:
        _, (layers, _) = jax.block_until_ready(evaluate(unknown))
        return np.concatenate([np.asarray(part).ravel() for layer in layers for part in layer])

    return gradient, lambda: np.asarray(solve(*unknown))


class _Field(nn.Module):
    def __init__(self, widths: tuple[int, ...], weights: np.ndarray) -> None:
        super().__init__()
        pairs = [(nn.Linear(a, b, dtype=torch.float64), nn.Tanh()) for a, b in pairwise(widths)]
        self.network = nn.Sequential(*[layer for pair in pairs for layer in pair][:-1])
        nn.utils.vector_to_parameters(torch.tensor(weights), self.network.parameters())
        self.register_buffer("rates", torch.tensor(RATES, dtype=torch.float64))
        self.register_buffer("signs", torch.tensor(SIGNS, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.rates * y + self.signs * self.network(y)


def _torch(states: Callable[[Tensor], Tensor], field: _Field, data: np.ndarray) -> tuple[Gradient, Gradient]:
    target = torch.tensor(data)
    y0 = target[:, 0].clone().requires_grad_()

    def gradient() -> np.ndarray:
        loss = 0.5 * ((states(y0) - target) / NOISE).square().sum()
        slopes = torch.autograd.grad(loss, [*field.parameters(), y0])[:-1]
        return torch.cat([slope.ravel() for slope in slopes]).numpy()

    def solution() -> np.ndarray:
        with torch.no_grad():
            return states(y0).numpy()

    return gradient, solution


def torchdiffeq(
    widths: tuple[int, ...], weights: np.ndarray, ts: np.ndarray, data: np.ndarray
) -> tuple[Gradient, Gradient]:
    """Gradient by backpropagation and forward solution; one step size for the batch."""
    from torchdiffeq import odeint

    field, times = _Field(widths, weights), torch.tensor(ts)
    options = {"rtol": TOLERANCE, "atol": TOLERANCE, "method": "dopri5"}
    return _torch(lambda y0: odeint(field, y0, times, **options).transpose(0, 1), field, data)


def torchode(
    widths: tuple[int, ...], weights: np.ndarray, ts: np.ndarray, data: np.ndarray
) -> tuple[Gradient, Gradient]:
    """Gradient by backpropagation and forward solution; one step size per trajectory."""
    import torchode

    field = _Field(widths, weights)
    term = torchode.ODETerm(field)
    controller = torchode.IntegralController(atol=TOLERANCE, rtol=TOLERANCE, term=term)
    solver = torchode.AutoDiffAdjoint(torchode.Tsit5(term=term), controller)
    times = torch.tensor(ts).expand(len(data), -1)
    return _torch(lambda y0: solver.solve(torchode.InitialValueProblem(y0=y0, t_eval=times)).ys, field, data)


def flop_floor(evaluations: int, widths: tuple[int, ...], passes: int) -> float:
    """Seconds that the network's multiplications alone would take at the speed of a large matrix product."""
    matrix = np.random.default_rng(0).normal(size=(768, 768))
    times = []
    for _ in range(8):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    products = sum(a * b for a, b in pairwise(widths))
    return 2 * passes * products * evaluations * min(times) / (2 * 768**3)


def difference(found: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference, relative to the largest entry."""
    return float(np.abs(found - reference).max() / np.abs(reference).max())
