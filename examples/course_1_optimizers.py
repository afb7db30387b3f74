"""Optimizers as dynamical systems: gradient descent, noise, momentum, Nesterov and Adam beside the flows they follow.

Every row of the table holds a statement of theory and what a run measured: the order by which gradient descent stays
with its flow and with the flow of the modified loss, the variance at which noise and descent balance, friction and the
shrinking of volumes by momentum, the best heavy ball, Nesterov's equation on a quadratic, the Hamiltonian that depends on
time, Adam's equation, and the optimizers of torch stepped beside the maps on a real network. Figures: paths of all
optimizers on one valley, and a network's losses beside the flows'.
"""

import math

import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy.special import j1
from sklearn.datasets import load_diabetes

import sciml
from sciml import dynamics
from sciml.dynamics import AdamDescent, GradientDescent, Momentum, Nesterov
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report

x, y, t = sp.symbols("x y t", real=True)
VALLEY = (1 - x) ** 2 / 2 + 2 * (y - x**2) ** 2
START = {x: -1.0, y: 1.5}
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


def row(statement: str, theory: float, measured: float) -> dict[str, object]:
    return {"statement": statement, "theory": float(theory), "measured": float(measured)}


def orders() -> list[dict[str, object]]:
    """How the distance from descent to two flows at t = 1 falls with the step."""
    rates = 0.005 / 2 ** np.arange(4)
    errors = {"the flow of f": [], "the flow of f + h|∇f|²/4": []}
    for rate in rates:
        descent = GradientDescent(rate).descent(VALLEY, [x, y], initial=START)
        end = sciml.simulate(descent, [0, round(1 / rate)]).states[-1]
        losses = (VALLEY, dynamics.modified_loss(VALLEY, rate, [x, y]))
        for name, loss in zip(errors, losses):
            flow = GradientDescent(rate).flow(loss, [x, y], initial=START)
            errors[name].append(np.linalg.norm(end - sciml.simulate(flow, [0, 1], **TIGHT).states[-1]))
    fits = [np.polyfit(np.log(rates), np.log(error), 1)[0] for error in errors.values()]
    return [row(f"gradient descent to {name}: order", k + 1, fits[k]) for k, name in enumerate(errors)]


def noise(seed: int, steps: int) -> list[dict[str, object]]:
    """The variance of stochastic descent on λx²/2 with gradients of variance s², at a large and at a small step."""
    curvature, deviation, rng = 2.0, 0.5, np.random.default_rng(seed)
    rows = []
    for rate in (0.4, 0.01):
        weights = np.zeros(4000)
        total = 0.0
        for n in range(steps + 500):
            weights -= rate * (curvature * weights + deviation * rng.standard_normal(len(weights)))
            total += np.mean(weights**2) if n >= 500 else 0.0
        exact = rate * deviation**2 / (curvature * (2 - rate * curvature))
        rows.append(row(f"variance of SGD, rate {rate}", exact, total / steps))
    limit = rate * deviation**2 / (2 * curvature)
    rows.append(row("variance of SGD, rate 0.01, Ornstein-Uhlenbeck limit", limit, total / steps))
    diffusion = GradientDescent(rate).diffusion(curvature * x**2 / 2, [x], [[deviation**2]], initial={x: 0.0})
    ends = sciml.simulate(diffusion, [0.0, 3.0], paths=100 * steps, seed=seed)["x"][..., -1]
    rows.append(row("variance of its stochastic System", limit * (1 - math.exp(-2 * curvature * 3)), ends.var()))
    return rows


def momentum() -> list[dict[str, object]]:
    """Energy, volumes, and the best heavy ball on a quadratic of condition 100."""
    ball = Momentum(rate=0.01, momentum=0.9)
    flow = ball.flow(VALLEY, [x, y], initial=START)
    balance = dynamics.energy_balance(flow, ball.hamiltonian(VALLEY, [x, y]), np.linspace(0, 5, 101))
    px, py = sp.symbols("x_p y_p", real=True)
    surplus = sp.expand(balance.rate + ball.friction * (px**2 + py**2))
    numbers = max((abs(float(c)) for c in sp.Poly(surplus, x, y, px, py).coeffs()), default=0.0)
    states = np.random.default_rng(1).uniform(-1, 1, (50, 4))
    spectra = dynamics.jacobian_spectrum(ball.descent(VALLEY, [x, y]), states)
    shrinking = float(np.abs(np.prod(spectra, axis=1) - math.exp(-ball.friction * ball.duration * 2)).max())
    condition = 100.0
    best = Momentum(
        rate=4 / (math.sqrt(condition) + 1) ** 2,
        momentum=((math.sqrt(condition) - 1) / (math.sqrt(condition) + 1)) ** 2,
    )
    slowest = dynamics.fixed_points(
        best.descent(x**2 / 2 + condition * y**2 / 2, [x, y]), ([-1] * 4, [1] * 4), starts=4
    )
    radius = np.abs(slowest[0].eigenvalues).max()
    return [
        row("momentum: dH/dt + γ|p|², coefficients by algebra", 0, numbers),
        row("momentum: H against the integral of -γ|p|²", 0, balance.residual),
        row("momentum: det J - exp(-γ h d), at 50 points", 0, shrinking),
        row("heavy ball at its best, condition 100: spectral radius", 9 / 11, radius),
    ]


def nesterov() -> list[dict[str, object]]:
    """The equation on λx²/2 against Bessel's function, its bound, and the Hamiltonian that depends on time."""
    curvature, early = 3.0, 1e-3
    method, quadratic = Nesterov(1.0), 3.0 * x**2 / 2
    start = method.early(quadratic, [1.0], early, [x])
    flow = method.flow(quadratic, [x], initial=start)
    times = np.concatenate([[early], np.linspace(0.5, 20, 400)])
    path = sciml.simulate(flow, times, **TIGHT)
    z = math.sqrt(curvature) * times
    distance = np.abs(path["x"] - 2 * j1(z) / z).max()
    bound = np.max(curvature * path["x"] ** 2 / 2 * times**2 / 2)
    # H(z, q, a) = a f(q/a) + z²/2 with q = a x: dq/da = z, dz/da = -f'(q/a), the accelerated method in time a
    q, p = sp.symbols("q p", real=True)
    system = sciml.System.from_hamiltonian(t * VALLEY.subs({x: q / t, y: 0}) + p**2 / 2, {q: p})
    energy = t * VALLEY.subs({x: q / t, y: 0}) + p**2 / 2
    balance = dynamics.energy_balance(system, energy, np.linspace(1, 10, 91), initial={q: 2.0, p: 0.0})
    partial = sp.simplify(balance.rate - sp.diff(energy, t))
    return [
        row("Nesterov's equation against 2 J₁(√λ t)/(√λ t)", 0, distance),
        row("Nesterov: largest (f - f*) t² / (2|x₀ - x*|²), bound 1", 1, bound),
        row("Hamiltonian in time a: dH/da - ∂H/∂a by algebra", 0, float(partial)),
        row("Hamiltonian in time a: H against the integral of ∂H/∂a", 0, balance.residual),
    ]


def adam() -> list[dict[str, object]]:
    """The order by which Adam stays with its equation, memories held fixed in time."""
    rates, errors = 0.005 / 2 ** np.arange(4), []
    for rate in rates:
        method = AdamDescent(rate, betas=(1 - 4 * rate, 1 - rate), epsilon=1e-3)
        descent = method.descent(VALLEY, [x, y], initial=START)
        path = sciml.simulate(descent, [0, round(0.2 / rate), round(1 / rate)])
        begin = dict(zip(descent.states, path.states[1]))
        flow = method.flow(VALLEY, [x, y], initial=begin)
        end = sciml.simulate(flow, [0.2, 1.0], **TIGHT).states[-1]
        errors.append(np.linalg.norm(end[:2] - path.states[2][:2]))
    return [row("Adam to its equation: order", 1, np.polyfit(np.log(rates), np.log(errors), 1)[0])]


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()


def real_network(seed: int, steps: int) -> tuple[list[dict[str, object]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """torch.optim beside the maps and flows, on a regression of disease progression (442 patients, 10 measurements)."""
    data = load_diabetes()
    inputs = torch.tensor(data.data * math.sqrt(len(data.data)))
    target = torch.tensor((data.target - data.target.mean()) / data.target.std())[:, None]

    def error(net: torch.nn.Module) -> torch.Tensor:
        return ((net(inputs) - target) ** 2).mean() / 2

    loss, weights = dynamics.flat_loss(network(seed), error)
    cases = {
        "SGD": (GradientDescent(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        "SGD with momentum": (Momentum(0.05, 0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        "Adam": (AdamDescent(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    }
    rows, curves = [], {}
    for name, (method, build) in cases.items():
        net = network(seed)
        optimizer = build(net.parameters())
        for _ in range(steps):
            optimizer.zero_grad()
            error(net).backward()
            optimizer.step()
        stepped = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
        path = method.descent(loss).path(method.start(weights), steps)
        distance = (path[-1, : len(weights)] - stepped).abs().max()
        rows.append(row(f"torch.optim's {name} against the map, {steps} steps of a network", 0, distance))
        first = 5 if name == "Adam" else 0
        times = torch.arange(first, steps + 1, dtype=torch.float64) * method.duration
        flow = sciml.solve(method.flow(loss), path[first], times, rtol=1e-8, atol=1e-8).ys
        with torch.no_grad():
            curves[name] = tuple(
                torch.stack([loss(state[: len(weights)]) for state in states]).numpy()
                for states in (path[first:], flow)
            )
    return rows, curves


def drawn(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = figure_of(1, 2)
    grid = np.linspace(-1.7, 1.7, 200), np.linspace(-0.6, 2.2, 200)
    heights = sp.lambdify((x, y), VALLEY)(*np.meshgrid(*grid))
    axes[0].contour(*grid, heights, levels=np.geomspace(0.02, 20, 14), colors="0.85", linewidths=0.7)
    shown = {
        "gradient descent": GradientDescent(0.05),
        "momentum": Momentum(0.05, 0.85),
        "Nesterov": Nesterov(0.05),
        "Adam": AdamDescent(0.1),
    }
    for k, (name, method) in enumerate(shown.items()):
        path = sciml.simulate(method.descent(VALLEY, [x, y], initial=START), range(120))
        axes[0].plot(path["x"], path["y"], ".-", ms=3, lw=0.9, color=color(k), label=name)
    finish(axes[0], "x", "y")
    for k, (name, (descent, flow)) in enumerate(curves.items()):
        axes[1].plot(descent, lw=1.8, color=color(k), label=name)
        axes[1].plot(flow, "--", lw=1.0, color="k", label="their flows" if k == 0 else None)
    finish(axes[1], "step", "loss of the network")
    for panel in axes:
        legend(panel)
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    steps = 20 if arguments.quick else 200
    found, curves = real_network(arguments.seed, steps)
    rows = [*orders(), *noise(arguments.seed, 10 * steps), *momentum(), *nesterov(), *adam(), *found]
    report(rows, arguments, machine("torch", "sympy", "scikit-learn"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(drawn(curves), arguments.out / "course_1_optimizers.png")


if __name__ == "__main__":
    main()
