"""Recurrent networks as maps: gradients are products of Jacobians, and vanish or explode by Lyapunov exponents.

Theory beside measurement for a fixed linear recurrence, for independent Gaussian matrices, for the bound that no gradient
breaks, and for the onset of chaos in random tanh networks of 500 units. Then a tanh network, an LSTM and a GRU on real
sequences (handwritten digits read pixel by pixel, 64 steps): gradients through time before and after training, beside the
Lyapunov exponent of the trained map along its sequences. Figures: exponents at the edge of chaos, gradients through time.
"""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import digamma
from sklearn.datasets import load_digits
from torch import nn

from sciml import dynamics
from sciml.dynamics import Map
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report

HIDDEN = 32


def row(statement: str, theory: float, measured: float) -> dict[str, object]:
    return {"statement": statement, "theory": float(theory), "measured": float(measured)}


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(seed: int) -> list[dict[str, object]]:
    """Products of one matrix many times, and of many random ones."""
    rows, size, steps = [], 20, 5000
    w = random(size, size, seed=seed) / math.sqrt(size)
    recurrence = Map(lambda y: y @ w.T)
    path = torch.zeros(steps + 1, size, dtype=torch.float64)
    growth = dynamics.backpropagate(recurrence, path, random(size, seed=seed + 1)).growth
    radius = float(torch.linalg.eigvals(w).abs().max())
    rows.append(row("one matrix: growth of the gradient per step, log ρ(W)", math.log(radius), float(growth)))
    for gain in (0.8, 1.2):
        many = gain / math.sqrt(size) * random(steps, size, size, seed=seed + 2)
        drawn = Map(lambda n, y, many=many: y @ many[int(n)].T, counted=True)
        growth = dynamics.backpropagate(drawn, path, random(size, seed=seed + 3)).growth
        theory = math.log(gain) + (math.log(2) + digamma(size / 2) - math.log(size)) / 2
        rows.append(row(f"Gaussian matrices, g = {gain}: growth per step", theory, float(growth)))
    return rows


def bound(seed: int) -> dict[str, object]:
    """How far the gradients of 100 random tanh networks stay below (sup φ' σ_max)^(T-t)."""
    worst = -math.inf
    for k in range(100):
        gain = 0.5 + 0.02 * k
        w = gain / math.sqrt(30) * random(30, 30, seed=seed + k)
        network = Map(lambda y, w=w: torch.tanh(y @ w.T))
        path = network.path(random(30, seed=k), 50)
        logs = dynamics.backpropagate(network, path, random(30, seed=k + 1)).log_norms
        steps = torch.arange(50, -1, -1, dtype=torch.float64)
        excess = logs - logs[-1] - steps * math.log(torch.linalg.matrix_norm(w, 2))
        worst = max(worst, float(excess[:-1].max()))
    return row("100 tanh networks: largest log |g_t| over its bound, at most 0", 0, worst)


def mean_field(gain: float) -> float:
    """The largest exponent of infinitely many units: the average of log|g φ'| over their Gaussian states."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights, variance = weights / weights.sum(), 1.0
    for _ in range(3000):
        variance = gain**2 * (weights * np.tanh(math.sqrt(variance) * nodes) ** 2).sum()
    return float(np.log(gain**2 * (weights * (1 - np.tanh(math.sqrt(variance) * nodes) ** 2) ** 2).sum()) / 2)


def edge(seed: int, quick: bool) -> tuple[list[dict[str, object]], np.ndarray, np.ndarray]:
    """The largest exponent of random tanh networks over their gain.

    Below the edge all states die out by log(g ρ(W)): there it passes through zero at 1/ρ(W). Just above it a network of
    finite size can settle on a cycle instead of chaos, and its exponent stays at zero for a while.
    """
    size, gains = 100 if quick else 500, torch.linspace(0.8, 1.6, 17, dtype=torch.float64)
    w = random(size, size, seed=seed) / math.sqrt(size)
    networks = Map(lambda y: torch.tanh(gains[:, None] * (y @ w.T)))
    duration = 200 if quick else 2000
    found = dynamics.lyapunov_spectrum(
        networks, random(len(gains), size, seed=seed + 1), duration=duration, transient=duration // 2, count=1
    )
    exponents, values = found.exponents[:, 0], gains.numpy()
    quiet = values < 0.95
    onset = math.exp(float((np.log(values) - exponents)[quiet].mean()))
    rows = [
        row(f"random tanh networks of {size}: gain at which silence ends", 1, onset),
        row("the first gain with a positive exponent (1 for infinitely many)", 1, values[np.argmax(exponents > 1e-3)]),
        row("exponent at g = 1.6 against infinitely many units", mean_field(1.6), exponents[-1]),
    ]
    return rows, values, exponents


class Reader(nn.Module):
    """A recurrent cell that reads pixels one at a time, and a linear layer behind its last state."""

    def __init__(self, cell: type[nn.Module]):
        super().__init__()
        self.cell = cell(1, HIDDEN)
        self.head = nn.Linear(HIDDEN, 10)
        self.size = 2 * HIDDEN if cell is nn.LSTMCell else HIDDEN

    def step(self, pixels: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        if isinstance(self.cell, nn.LSTMCell):
            return torch.cat(self.cell(pixels, torch.chunk(state, 2, dim=-1)), dim=-1)
        return self.cell(pixels, state)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        state = sequences.new_zeros(sequences.shape[1], self.size)
        for pixels in sequences:
            state = self.step(pixels, state)
        return self.head(state[:, :HIDDEN])

    def along(self, sequences: torch.Tensor) -> Map:
        """The cell driven by sequences, a map whose step n reads pixel n."""
        return Map(lambda n, h: self.step(sequences[int(n)], h), counted=True)


def reading(seed: int, epochs: int) -> tuple[list[dict[str, object]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Three cells on digits: gradients through time before and after training, and Lyapunov exponents."""
    data = load_digits()
    pixels = torch.tensor(data.data / 16 - 0.5).T[..., None]
    labels = torch.tensor(data.target)
    rows, curves = [], {}
    for name, cell in {"tanh": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}.items():
        torch.manual_seed(seed)
        reader = Reader(cell).double()
        before, _ = through_time(reader, pixels[:, 1500:], labels[1500:])
        optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
        for _ in range(epochs):
            for batch in torch.randperm(1500).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(reader(pixels[:, batch]), labels[batch]).backward()
                nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
                optimizer.step()
        after, exponent = through_time(reader, pixels[:, 1500:], labels[1500:])
        with torch.no_grad():
            accuracy = (reader(pixels[:, 1500:]).argmax(dim=-1) == labels[1500:]).double().mean()
        curves[name] = before, after
        rows.append({"cell": name, "test accuracy": float(accuracy), "growth per step before": _slope(before)})
        rows[-1] |= {"after": _slope(after), "Lyapunov exponent after": exponent}
    return rows, curves


def _slope(logs: np.ndarray) -> float:
    return float((logs[0] - logs[-1]) / (len(logs) - 1))


def through_time(reader: Reader, sequences: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, float]:
    """Mean logarithms of |dL/dh_t| over test sequences, and the mean exponent of the map along them."""
    driven, start = reader.along(sequences), sequences.new_zeros(sequences.shape[1], reader.size)
    path = driven.path(start, len(sequences)).transpose(0, 1)
    last = path[-1].clone().requires_grad_()
    loss = nn.functional.cross_entropy(reader.head(last[:, :HIDDEN]), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, last)
    logs = dynamics.backpropagate(driven, path, gradient).log_norms.mean(dim=1).numpy()
    found = dynamics.lyapunov_spectrum(driven, start, duration=len(sequences), count=1)
    return logs, float(found.exponents.mean())


def by_products(seed: int) -> dict[str, object]:
    """dL/dW of a tanh cell as the sum over steps of products of Jacobians, against autograd."""
    torch.manual_seed(seed)
    reader, sequences = Reader(nn.RNNCell).double(), random(20, 5, 1, seed=seed)
    driven, start = reader.along(sequences), torch.zeros(5, HIDDEN, dtype=torch.float64)
    path = driven.path(start, 20).transpose(0, 1)
    back = dynamics.backpropagate(driven, path, path[-1]).gradients
    slopes = 1 - path[1:] ** 2
    by_hand = torch.einsum("tbi,tbj->ij", back[1:] * slopes, path[:-1])
    state = start
    for pixels in sequences:
        state = reader.step(pixels, state)
    ((state**2).sum() / 2).backward()
    return row(
        "dL/dW as a sum of products against autograd", 0, float((by_hand - reader.cell.weight_hh.grad).abs().max())
    )


def picture(gains: np.ndarray, exponents: np.ndarray, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = figure_of(1, 2)
    axes[0].axhline(0, color="0.7", lw=0.8)
    axes[0].plot(gains[gains <= 1], np.log(gains[gains <= 1]), "--", color="0.4", label="log g")
    above = gains[gains > 1.02]
    axes[0].plot(above, [mean_field(g) for g in above], "-", lw=1, color="0.4", label="infinitely many units")
    axes[0].plot(gains, exponents, "o", ms=4, color=color(0), label="largest exponent")
    finish(axes[0], "gain g", "per step")
    for k, (name, (before, after)) in enumerate(curves.items()):
        axes[1].plot(before / math.log(10), ":", color=color(k), label=f"{name}, before")
        axes[1].plot(after / math.log(10), color=color(k), label=f"{name}, after")
    finish(axes[1], "step t", "log₁₀ |∂L/∂h_t|, mean")
    for panel in axes:
        legend(panel)
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    onset, gains, exponents = edge(arguments.seed, arguments.quick)
    rows = [*linear(arguments.seed), bound(arguments.seed), by_products(arguments.seed), *onset]
    found, curves = reading(arguments.seed, 1 if arguments.quick else 40)
    tables = {"theory and measurement": rows, "digits, read pixel by pixel": found}
    report(tables, arguments, machine("torch", "scikit-learn"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(picture(gains, exponents, curves), arguments.out / "course_3_recurrent.png")


if __name__ == "__main__":
    main()
