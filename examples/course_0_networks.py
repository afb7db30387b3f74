"""A feed-forward network as a composition of maps, and backpropagation as the chain rule, written out.

One network three times: as matrices in SymPy, as torch modules, and as a discrete System whose step n is layer n. The
same numbers come out of all three. Then its gradient: the chain rule printed factor by factor, multiplied by hand from
the right (backpropagation), by `backpropagate` along the layers, by autograd, and by finite differences. Figure: the
states of two moons on their way through a trained network.
"""

import numpy as np
import sympy as sp
import torch
from sklearn.datasets import make_moons
from torch import nn

import sciml
from sciml import dynamics
from sciml.dynamics import Map
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report

WIDTH = 2
DEPTH = 3


def layers(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of a small network."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(WIDTH, WIDTH)), rng.normal(size=WIDTH) / 2) for _ in range(DEPTH)]


def by_sympy(weights: list[tuple[np.ndarray, np.ndarray]], x: sp.Matrix) -> list[sp.Matrix]:
    """States before the first and after each layer, as formulas of the input."""
    states = [x]
    for w, b in weights:
        states.append((sp.Matrix(w) * states[-1] + sp.Matrix(b)).applyfunc(sp.tanh))
    return states


def by_torch(weights: list[tuple[np.ndarray, np.ndarray]]) -> nn.Sequential:
    """The same network as modules."""
    net = nn.Sequential()
    for w, b in weights:
        linear = nn.Linear(WIDTH, WIDTH).double()
        linear.weight.data, linear.bias.data = torch.tensor(w), torch.tensor(b)
        net.extend([linear, nn.Tanh()])
    return net


def as_map(net: nn.Sequential) -> Map:
    """The network as a map whose step n is layer n."""
    return Map(lambda n, y: net[2 * int(n) + 1](net[2 * int(n)](y)), counted=True)


def as_system(weights: list[tuple[np.ndarray, np.ndarray]], x: sp.Matrix) -> sciml.System:
    """The network as a discrete System: which layer comes next depends on the time n."""
    n = sp.Symbol("n", real=True)

    def entry(values: list[float]) -> sp.Expr:
        return sp.Piecewise(*((value, n < k + 0.5) for k, value in enumerate(values[:-1])), (values[-1], True))

    w = sp.Matrix(WIDTH, WIDTH, lambda i, j: entry([float(w[i, j]) for w, _ in weights]))
    b = sp.Matrix(WIDTH, 1, lambda i, _: entry([float(b[i]) for _, b in weights]))
    following = (w * x + b).applyfunc(sp.tanh)
    return sciml.System(dict(zip(x, following)), time=n, discrete=True)


def printed_chain() -> None:
    """The chain rule of the network in symbols, as backpropagation multiplies it."""
    names = [sp.MatrixSymbol(f"W{k + 1}", WIDTH, WIDTH) for k in range(DEPTH)]
    slopes = [sp.MatrixSymbol(f"D{k + 1}", WIDTH, WIDTH) for k in range(DEPTH)]
    last = sp.MatrixSymbol("dL/dx3", WIDTH, 1)
    print("x_k = tanh(W_k x_(k-1) + b_k),  D_k = diag(1 - x_k²)")
    gradient = last
    for k in reversed(range(DEPTH)):
        print(f"dL/dW{k + 1} = {slopes[k] * gradient} x{k}ᵀ")
        gradient = names[k].T * slopes[k] * gradient
        print(f"dL/dx{k} = {gradient}")


def gradients(seed: int) -> list[dict[str, object]]:
    """Values and gradients of |x_3|²/2, by every way."""
    weights, point = layers(seed), np.array([0.3, -0.7])
    x = sp.Matrix(sp.symbols("x0:2", real=True))
    states = [np.array(s.subs(dict(zip(x, point))), dtype=float).ravel() for s in by_sympy(weights, x)]
    net = by_torch(weights)
    start = torch.tensor(point)
    path = as_map(net).path(start, DEPTH)
    simulated = sciml.simulate(as_system(weights, x), range(DEPTH + 1), initial=dict(zip(map(str, x), point)))
    # by hand: from the last layer back
    gradient, by_hand = states[-1], []
    for k in reversed(range(DEPTH)):
        slope = 1 - states[k + 1] ** 2
        by_hand.append(np.outer(slope * gradient, states[k]))
        gradient = weights[k][0].T @ (slope * gradient)
    loss = (net(start) ** 2).sum() / 2
    loss.backward()
    by_autograd = [net[2 * k].weight.grad.numpy() for k in range(DEPTH)]
    carried = dynamics.backpropagate(as_map(net), path, path[-1].detach()).gradients[0].numpy()
    formula = (by_sympy(weights, x)[-1].T * by_sympy(weights, x)[-1])[0] / 2
    slopes = np.array([sp.diff(formula, s).subs(dict(zip(x, point))) for s in x], dtype=float)

    def value(w: np.ndarray) -> float:
        state = point
        for matrix, bias in [(w, weights[0][1]), *weights[1:]]:
            state = np.tanh(matrix @ state + bias)
        return float(state @ state / 2)

    step, differences = 1e-6, np.empty((WIDTH, WIDTH))
    for index in np.ndindex(WIDTH, WIDTH):
        moved = np.zeros((WIDTH, WIDTH))
        moved[index] = step
        differences[index] = (value(weights[0][0] + moved) - value(weights[0][0] - moved)) / (2 * step)
    pairs = {
        "states: SymPy against torch": (np.stack(states), path.detach().numpy()),
        "states: SymPy against the discrete System": (np.stack(states), simulated.states),
        "dL/dW of all layers: by hand against autograd": (np.stack(by_hand[::-1]), np.stack(by_autograd)),
        "dL/dW1: by hand against finite differences": (by_hand[-1], differences),
        "dL/dx0: by hand against SymPy": (gradient, slopes),
        "dL/dx0: by hand against backpropagate": (gradient, carried),
    }
    return [{"what": name, "largest difference": float(np.abs(a - b).max())} for name, (a, b) in pairs.items()]


def picture(seed: int, steps: int, path) -> float:
    """Two moons on their way through a trained network of planes; its accuracy."""
    torch.manual_seed(seed)
    points, labels = make_moons(400, noise=0.08, random_state=seed)
    inputs, target = torch.tensor(points), torch.tensor(labels, dtype=torch.float64)
    net = nn.Sequential(*(part for _ in range(5) for part in (nn.Linear(2, 2), nn.Tanh()))).double()
    for part in net[::2]:
        part.weight.data = 1.5 * torch.eye(2, dtype=torch.float64) + 0.3 * torch.randn(2, 2, dtype=torch.float64)
    head = nn.Linear(2, 1).double()
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(net(inputs))[:, 0], target).backward()
        optimizer.step()
    with torch.no_grad():
        states = as_map(net).path(inputs, 5)
        accuracy = float(((head(net(inputs))[:, 0] > 0) == (target > 0)).double().mean())
    figure, axes = figure_of(1, 3)
    for panel, layer in zip(axes, (0, 2, 5)):
        for k in (0, 1):
            panel.plot(*states[labels == k, layer].T.numpy(), ".", ms=4, color=color(k), label=f"class {k}")
        finish(panel, "first unit", "second unit")
        legend(panel, title=f"after {layer} layers" if layer else "input")
    if path:
        written(figure, path)
    return accuracy


def main() -> None:
    arguments = options(__doc__).parse_args()
    printed_chain()
    report(gradients(arguments.seed), arguments, machine("torch", "sympy"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "course_0_layers.png" if arguments.out else None
    accuracy = picture(arguments.seed, 100 if arguments.quick else 2000, target)
    print(f"two moons through five layers of two units each: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
