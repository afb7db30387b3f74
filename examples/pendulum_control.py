"""Swing a pendulum up and hold it there, by a motor that is too weak to lift it: a feedback learned from a cost.

theta'' = -sin(theta) - theta'/10 + u with |u| <= 1/2: time in units of sqrt(l/g), torque in units of m g l, theta = 0 below.
Half of the torque that holds the pendulum level has to pump. The feedback u = tanh(policy(sin, cos, theta'))/2 is one small
network; it is trained by what 64 trajectories of 15 time units cost, from initial states drawn at random. The table holds
20 initial states that it was not trained on, over four times that horizon: when each is upright to stay, within 0.1 rad and
0.1 rad per time unit, and how far it is off at most from then on.
"""

import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import sciml
from sciml import LBFGS, MLP, Adam, Box, Problem, System
from sciml.scripts import machine, options, report

theta, omega, t = sp.symbols("theta omega t", real=True)
policy = sp.Function("policy")
LIMIT, HORIZON, LONG, STARTS, UPRIGHT = 0.5, 15.0, 60.0, 20, 0.1
RANGES = {theta: (-np.pi, np.pi), omega: (-1.0, 1.0)}
torque = LIMIT * sp.tanh(policy(sp.sin(theta), sp.cos(theta), omega))


def problem(seed: int, count: int) -> Problem:
    """The pendulum, and what its motion costs: height that is missing, speed, and a little torque."""
    system = System(
        {theta: omega, omega: -sp.sin(theta) - omega / 10 + torque},
        learned={policy: MLP(hidden=(16, 16), decay=0.01)},
        observed={"torque": torque},
    )
    running = 1 + sp.cos(theta) + omega**2 / 20 + torque**2 / 100
    cost = sp.Integral(running, (t, 0, HORIZON))
    return Problem(system, cost=cost, initial_states=Box(RANGES, count, seed), rtol=1e-5, atol=1e-5)


def trials(fit: sciml.Fit, seed: int) -> sciml.Simulation:
    """Motion from initial states that the feedback has not been trained on."""
    draw = np.random.default_rng(1000 + seed)
    initial = {x: draw.uniform(low, high, STARTS) for x, (low, high) in RANGES.items()}
    return sciml.simulate(fit.system, np.linspace(0, LONG, 1201), initial=initial)


def rows(motion: sciml.Simulation) -> list[dict[str, object]]:
    """One row for each trial."""
    off = np.abs(motion["theta"] % (2 * np.pi) - np.pi)
    near = (off < UPRIGHT) & (np.abs(motion["omega"]) < UPRIGHT)
    found = []
    for k, inside in enumerate(near):
        outside = np.flatnonzero(~inside)
        first = 0 if not len(outside) else outside[-1] + 1
        held = first < len(inside)
        found.append(
            {
                "trial": k + 1,
                "theta(0)": motion["theta"][k, 0],
                "omega(0)": motion["omega"][k, 0],
                "upright from": motion.times[first] if held else np.nan,
                "off at most": off[k, first:].max() if held else np.nan,
                "largest torque": np.abs(motion["torque"][k]).max(),
            }
        )
    return found


def picture(fit: sciml.Fit, motion: sciml.Simulation) -> Figure:
    """The feedback over the phase plane with trajectories; angles and torques over time."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    phase, (above, below) = left.subplots(), right.subplots(2, 1, sharex=True)
    angles, speeds = np.linspace(0, 2 * np.pi, 241), np.linspace(-2.7, 2.7, 181)
    grid = np.stack(np.meshgrid(angles, speeds), axis=-1)
    arguments = np.stack([np.sin(grid[..., 0]), np.cos(grid[..., 0]), grid[..., 1]], axis=-1)
    values = LIMIT * np.tanh(fit.learned_values(policy, arguments.reshape(-1, 3)).reshape(grid.shape[:2]))
    shown = phase.pcolormesh(angles, speeds, values, cmap="RdBu_r", vmin=-LIMIT, vmax=LIMIT, shading="auto", alpha=0.75)
    figure.colorbar(shown, ax=phase, label="torque u / (m g l)")
    for k in range(STARTS):
        _wrapped(phase, motion["theta"][k] % (2 * np.pi), motion["omega"][k])
        turns = 2 * np.pi * np.round((motion["theta"][k, -1] - np.pi) / (2 * np.pi))
        above.plot(motion.times, motion["theta"][k] - turns, lw=0.8, color="#0072B2", alpha=0.6)
    phase.plot(motion["theta"][:, 0] % (2 * np.pi), motion["omega"][:, 0], "o", ms=4, color="black", label="start")
    phase.plot([np.pi], [0], "*", ms=14, color="#F0E442", mec="black", label="upright")
    phase.set(xlim=(0, 2 * np.pi), ylim=(speeds[0], speeds[-1]), xlabel="angle θ / rad", ylabel="speed θ′")
    phase.set_xticks([0, np.pi, 2 * np.pi], ["0", "π", "2π"])
    phase.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    above.axhline(np.pi, color="0.5", lw=0.8, ls=":")
    above.set_ylabel("angle θ / rad")
    above.set_yticks(np.pi * np.arange(-1, 4), ["−π", "0", "π", "2π", "3π"])
    above.set_title(f"{STARTS} starts, each turned to end at π", fontsize=10)
    longest = int(np.argmin(np.cos(motion["theta"][:, 0] - np.pi)))
    below.plot(motion.times, motion["torque"][longest], lw=1.0, color="#D55E00")
    below.set(ylabel="torque u / (m g l)", xlabel="time t / √(l/g)", xlim=(0, 2 * HORIZON), ylim=(-0.56, 0.56))
    below.set_title("the start nearest to hanging down", fontsize=10)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(HORIZON, color="0.7", lw=0.8)
    above.annotate(
        "training\nended here", (HORIZON, 0.5), xytext=(4, 0), textcoords="offset points", fontsize=8, color="0.4"
    )
    return figure


def _wrapped(axes: Axes, angle: np.ndarray, speed: np.ndarray) -> None:
    """A line that is broken where the angle jumps by a turn."""
    jumps = np.flatnonzero(np.abs(np.diff(angle)) > np.pi) + 1
    axes.plot(np.insert(angle, jumps, np.nan), np.insert(speed, jumps, np.nan), lw=0.7, color="black", alpha=0.6)


def main() -> None:
    arguments = options(__doc__).parse_args()
    stages = [Adam(steps=30), LBFGS(steps=10)] if arguments.quick else [Adam(steps=1500, rate=0.01), LBFGS(steps=500)]
    trained = problem(arguments.seed, count=8 if arguments.quick else 64)
    fit = sciml.fit(trained, optimizers=stages, seed=arguments.seed, progress=False)
    print(f"trained in {fit.seconds:.0f} s, {fit.evaluations} evaluations, by the engine {fit.backend}")
    print(f"cost of a trajectory: mean {fit.costs.mean():.2f}, worst {fit.costs.max():.2f}\n")
    motion = trials(fit, arguments.seed)
    table = rows(motion)
    report(table, arguments, machine("torch", "numba", "sympy"))
    times = [float(row["upright from"]) for row in table if np.isfinite(row["upright from"])]  # pyright: ignore
    print(f"upright and held to t = {LONG:g}: {len(times)} of {STARTS} (target {STARTS})", end="")
    print(f"; after {np.median(times):.1f} in the median, {max(times):.1f} at most" if times else "")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        picture(fit, motion).savefig(arguments.out / "pendulum_control.png", dpi=150)


if __name__ == "__main__":
    main()
