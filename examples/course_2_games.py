"""Adversarial training as a dynamical system: why it turns in circles, and what stops it.

First the Dirac-GAN, one number against one number: eigenvalues, the missing potential, the conserved distance, the moduli
of simultaneous and alternating descent, and the remedies (R1, consensus, extragradient), theory beside measurement. Then
a real generator and discriminator on a ring of eight Gaussians: the spectrum of the game's Jacobian, and how much of the
ring each way of training covers. What is a remedy for one number is not always one for networks: here only R1 trains.
Figures: the flows with and without R1, spectra, and the rings.
"""

import math

import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from torch import nn

import sciml
from sciml import dynamics, models
from sciml.dynamics import Game
from sciml.plot.style import color, figure_of, finish, legend, written
from sciml.scripts import machine, options, report

theta, psi = sp.symbols("theta psi", real=True)
SLOPE = 0.5  # f'(0) of f(s) = -log(1 + exp(-s))
RATE, PENALTY = 0.2, 0.4
PAYOFF = -sp.log(1 + sp.exp(-psi * theta))
RING = torch.tensor([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)], dtype=torch.float64)


def row(statement: str, theory: float, measured: float) -> dict[str, object]:
    return {"statement": statement, "theory": float(theory), "measured": float(measured)}


def modulus(game_map: sciml.System) -> float:
    """Largest modulus of the eigenvalues at the equilibrium."""
    return float(np.abs(dynamics.jacobian_spectrum(game_map, np.zeros((1, 2)))).max())


def dirac() -> list[dict[str, object]]:
    """One number against one number: theory beside measurement."""
    plain, game = models.dirac_gan(), Game([PAYOFF, -PAYOFF], [[theta], [psi]])
    (values,) = dynamics.jacobian_spectrum(plain, np.zeros((1, 2)))
    gradient = dynamics.is_gradient_field(plain, {"theta": (-1, 1), "psi": (-1, 1)})
    balance = dynamics.energy_balance(plain, theta**2 + psi**2, np.linspace(0, 100, 201), rtol=1e-10, atol=1e-10)
    (damped,) = dynamics.jacobian_spectrum(models.dirac_gan(penalty=PENALTY), np.zeros((1, 2)))
    weak = -PENALTY / 2 + np.emath.sqrt(PENALTY**2 / 4 - SLOPE**2)
    (strong,) = dynamics.jacobian_spectrum(models.dirac_gan(penalty=2.0), np.zeros((1, 2)))
    # near the equilibrium the field is J y with J = f'(0) (0, -1; 1, 0): consensus adds -w J^T J
    (calmed,) = dynamics.jacobian_spectrum(game.consensus(0.4).flow(), np.zeros((1, 2)))
    h = RATE * SLOPE
    return [
        row("eigenvalue, imaginary part", SLOPE, values[0].imag),
        row("eigenvalue, real part", 0, values[0].real),
        row("asymmetry of the Jacobian where it is worst (1: antisymmetric)", 1, gradient.asymmetry),
        row("flow: change of θ² + ψ² up to t = 100", 0, balance.drift),
        row(f"simultaneous descent, step {RATE}: modulus", math.sqrt(1 + h**2), modulus(game.simultaneous(RATE))),
        row(f"alternating descent, step {RATE}: modulus", 1, modulus(game.alternating(RATE))),
        row("alternating descent, step 3.9: modulus", 1, modulus(game.alternating(3.9))),
        row("alternating descent, step 4.5: modulus", _alternating(4.5 * SLOPE), modulus(game.alternating(4.5))),
        row("R1, weight 0.4: real part", weak.real, damped[0].real),
        row("R1, weight 0.4: imaginary part", weak.imag, damped[0].imag),
        row("R1, weight 2: slower eigenvalue", -1 + math.sqrt(1 - SLOPE**2), strong[0].real),
        row("consensus, weight 0.4: real part", -0.4 * SLOPE**2, calmed[0].real),
        row(f"extragradient, step {RATE}: modulus", math.hypot(1 - h**2, h), modulus(game.extragradient(RATE))),
    ]


def _alternating(h: float) -> float:
    """Larger modulus of the eigenvalues of ((1, -h), (h, 1 - h²))."""
    return float(np.abs(np.linalg.eigvals([[1, -h], [h, 1 - h**2]])).max())


class Pair(nn.Module):
    """A generator and a discriminator, whose weights are one vector, and the samples of the present step."""

    def __init__(self, width: int = 24):
        super().__init__()

        def network(outputs: int) -> nn.Module:
            parts = (nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs))
            return nn.Sequential(*parts).double()

        self.generator, self.discriminator = network(2), network(1)
        self.noise = self.real = torch.empty(0)

    def draw(self, samples: int) -> None:
        """New noise and new points of the ring."""
        self.noise = torch.randn(samples, 2, dtype=torch.float64)
        self.real = RING[torch.randint(8, (samples,))] + 0.05 * torch.randn(samples, 2, dtype=torch.float64)

    def generating(self) -> torch.Tensor:
        """The generator's loss: its points are told apart."""
        return nn.functional.softplus(-self.discriminator(self.generator(self.noise))).mean()

    def discriminating(self, penalty: float) -> torch.Tensor:
        """The discriminator's loss, with R1 on the real points."""
        told = nn.functional.softplus(self.discriminator(self.generator(self.noise))).mean()
        told = told + nn.functional.softplus(-self.discriminator(self.real)).mean()
        if penalty:
            slopes = torch.func.vmap(torch.func.grad(lambda point: self.discriminator(point).squeeze()))(self.real)
            told = told + penalty / 2 * (slopes**2).sum(dim=-1).mean()
        return told

    def game(self, penalty: float = 0.0) -> tuple[Game, torch.Tensor]:
        """The game on the samples of the present step, and the weights now."""
        generating, weights = dynamics.flat_loss(self, Pair.generating)
        discriminating, _ = dynamics.flat_loss(self, lambda pair: pair.discriminating(penalty))
        sizes = [sum(p.numel() for p in net.parameters()) for net in (self.generator, self.discriminator)]
        return Game([generating, discriminating], sizes), weights

    @torch.no_grad()
    def generated(self, weights: torch.Tensor) -> np.ndarray:
        """Points of the generator that has these weights."""
        torch.nn.utils.vector_to_parameters(weights, self.parameters())
        noise = torch.randn(1024, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return self.generator(noise).numpy()


def covered(points: np.ndarray) -> tuple[int, float]:
    """How many of the eight modes have a fair share of points, and the share of points near any mode."""
    distance = np.linalg.norm(points[:, None] - RING.numpy(), axis=-1)
    nearest, near = distance.argmin(axis=1), distance.min(axis=1) < 0.2
    counts = np.bincount(nearest[near], minlength=8)
    return int((counts > len(points) / 40).sum()), float(near.mean())


def trained(
    seed: int, steps: int, width: int
) -> tuple[list[dict[str, object]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The ring by five ways of training: modes, share near a mode, and the spectrum at the end."""
    rate, rows, pictures = 0.3, [], {}
    ways = {
        "simultaneous": lambda game: game.simultaneous(rate),
        "alternating": lambda game: game.alternating(rate),
        "extragradient": lambda game: game.extragradient(rate),
        "alternating, R1": lambda game: game.alternating(rate),
        "consensus": lambda game: game.consensus(0.1).simultaneous(rate),
    }
    for name, way in ways.items():
        torch.manual_seed(seed)
        pair = Pair(width)
        game, weights = pair.game(penalty=0.2 if "R1" in name else 0.0)
        step, state = way(game), weights[None]
        with torch.no_grad():
            for n in range(steps):
                pair.draw(128)
                state = step(n, state)
        pair.draw(256)
        (spectrum,) = dynamics.jacobian_spectrum(game.flow(), state)
        modes, near = covered(pair.generated(state[0]))
        turning = np.abs(spectrum.imag).max()
        rows.append({"training": name, "modes of 8": modes, "share near a mode": near})
        rows[-1] |= {"largest real part": float(spectrum.real.max()), "largest imaginary part": float(turning)}
        pictures[name] = pair.generated(state[0]), spectrum
    return rows, pictures


def portraits() -> Figure:
    figure, axes = figure_of(1, 2)
    for panel, penalty in zip(axes, (0.0, PENALTY)):
        system = models.dirac_gan(penalty=penalty)
        u = np.linspace(-1.6, 1.6, 31)
        grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
        rates = sciml.compile(system)(0.0, torch.as_tensor(grid)).detach().numpy().reshape(31, 31, 2)
        panel.streamplot(u, u, rates[..., 0], rates[..., 1], color="0.8", linewidth=0.7, arrowsize=0.7)
        flow = sciml.simulate(system, np.linspace(0, 40, 801))
        panel.plot(flow["theta"], flow["psi"], color=color(0), label="flow")
        if not penalty:
            game = Game([PAYOFF, -PAYOFF], [[theta], [psi]], initial={theta: 1.0, psi: 0.0})
            for k, (name, way) in enumerate(
                (("simultaneous", game.simultaneous(0.5)), ("alternating", game.alternating(0.5)))
            ):
                path = sciml.simulate(way, range(35))
                panel.plot(path["theta"], path["psi"], ".-", ms=4, lw=0.7, color=color(k + 1), label=name)
        panel.set_xlim(-1.6, 1.6)
        panel.set_ylim(-1.6, 1.6)
        finish(panel, "θ (generator)", "ψ (discriminator)")
        legend(panel, title=f"R1 with weight {penalty:g}")
    return figure


def rings(pictures: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure, axes = figure_of(2, len(pictures))
    figure.set_size_inches(2.6 * len(pictures), 5.4)
    for k, (name, (points, spectrum)) in enumerate(pictures.items()):
        above, below = axes[k], axes[k + len(pictures)]
        above.plot(*RING.numpy().T, "o", ms=12, mfc="none", mec="0.6")
        above.plot(*points.T, ".", ms=2, color=color(0))
        limit = max(1.6, 1.1 * float(np.quantile(np.abs(points), 0.95)))  # generators that ran away are shown, too
        above.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=name)
        finish(above, "", "")
        below.axvline(0, color="0.7", lw=0.8)
        below.plot(spectrum.real, spectrum.imag, ".", ms=3, color=color(1))
        for panel in (above, below):
            panel.locator_params(nbins=3)
        finish(below, "real part", "imaginary part" if k == 0 else "")
    return figure


def main() -> None:
    arguments = options(__doc__).parse_args()
    found, pictures = trained(arguments.seed, 3 if arguments.quick else 5000, 6 if arguments.quick else 24)
    tables = {"one number against one number": dirac(), "networks on a ring of eight Gaussians": found}
    report(tables, arguments, machine("torch", "sympy"))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        written(portraits(), arguments.out / "course_2_dirac.png")
        written(rings(pictures), arguments.out / "course_2_ring.png")


if __name__ == "__main__":
    main()
