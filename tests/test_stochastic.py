"""Stochastic Systems: paths and their statistics, orders, gradients, and what they refuse."""

import math

import numpy as np
import pytest
import sympy as sp
import torch

import sciml
from sciml import MLP, DataError, ModelError, SolveError, System
from sciml.lowering.diffusion import Diffusion
from sciml.stochastic import SRK, EulerMaruyama, Milstein, ReversibleHeun, solve_sde
from sciml.symbolic import wiener
from sciml.symbolic.serialize import decode_system, encode_system

x, y, mu, s, theta = sp.symbols("x y mu s theta", real=True)
GBM = System({x: mu * x}, noise={x: s * x}, parameters={mu: 0.5, s: 0.8}, initial={x: 1.0})
OU = System({x: -theta * x}, noise={x: s}, parameters={theta: 1.0, s: 0.5}, initial={x: 2.0})
PAIR = System(
    {x: -x, y: x - 2 * y},
    noise={x: {"W": 0.3, "V": 0.4 * y}, y: {"W": 0.5}},
    initial={x: 1.0, y: 0.0},
)


def test_the_noise_of_a_system_is_a_matrix_of_states_and_processes():
    assert GBM.diffusion == sp.Matrix([[s * x]])
    assert [str(w) for w in GBM.processes] == ["W_x"]
    assert PAIR.diffusion == sp.Matrix([[0.3, 0.4 * y], [0.5, 0]])
    assert not wiener.is_diagonal(PAIR.noise)
    assert wiener.is_diagonal(System({x: -x, y: -y}, noise={x: {"A": 1}, y: {"B": x}}).noise)
    kinds = [Diffusion(sciml.compile(system)).kind for system in (GBM, OU, PAIR)]
    assert kinds == ["diagonal", "additive", "general"]


def test_the_noise_of_a_covariance_has_that_covariance():
    covariance = np.array([[2.0, -0.6], [-0.6, 1.0]])
    matrix = np.array(System({x: -x, y: -y}, noise=sciml.correlated([x, y], covariance)).diffusion, dtype=float)
    assert matrix @ matrix.T == pytest.approx(covariance)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_paths_have_the_moments_of_the_exact_solution(backend):
    found = sciml.simulate(OU, [0.0, 0.5, 1.0], paths=4000, seed=1, solver=EulerMaruyama(0.01), backend=backend)
    assert found.backend.startswith(backend)
    assert found.states.shape == (4000, 3, 1)
    mean, std = 2 * math.exp(-1), 0.5 * math.sqrt((1 - math.exp(-2)) / 2)
    assert found.mean()["x"].iloc[-1] == pytest.approx(mean, abs=4 * std / math.sqrt(4000) + 0.01)
    assert found["x"][:, -1].std() == pytest.approx(std, rel=0.05)
    bands = found.quantiles([0.1, 0.9])
    width = bands.loc[0.9, "x"].iloc[-1] - bands.loc[0.1, "x"].iloc[-1]
    assert width == pytest.approx(2 * 1.2816 * std, rel=0.08)


def test_native_and_torch_paths_have_the_same_covariance():
    states = [
        sciml.simulate(PAIR, [0.0, 1.0], paths=4000, seed=3, solver=EulerMaruyama(0.02), backend=b).states[:, -1]
        for b in ("native", "torch")
    ]
    a, b = (np.cov(part.T) for part in states)
    assert a == pytest.approx(b, abs=0.02)
    assert states[0].mean(axis=0) == pytest.approx(states[1].mean(axis=0), abs=0.04)


def test_paths_by_eight_follow_the_equation_as_single_ones_do():
    """Euler-Maruyama of the same numbers, recovered from a System whose state is the Wiener process."""
    w, v = sp.symbols("w v", real=True)
    equations = {x: -theta * x + sp.sin(y), y: x - y, w: sp.S.Zero, v: sp.S.Zero}
    noise = {x: {"W": s * sp.sqrt(1 + x**2), "V": 0.2}, y: {"V": 0.5 * sp.cos(x)}, w: {"W": 1}, v: {"V": 1}}
    initial = {x: 1.0, y: 0.5, w: 0.0, v: 0.0}
    system = System(equations, noise=noise, parameters={theta: 1.0, s: 0.4}, initial=initial)
    rates, h = np.linspace(0.5, 2.0, 21), 0.02
    found = sciml.simulate(system, h * np.arange(26), parameters={theta: rates}, seed=3, solver=EulerMaruyama(h))
    assert found.backend == "native"
    a, b = np.full(21, 1.0), np.full(21, 0.5)
    for k, (dw, dv) in enumerate(zip(np.diff(found["w"]).T, np.diff(found["v"]).T)):
        kick = 0.4 * np.sqrt(1 + a**2) * dw + 0.2 * dv, 0.5 * np.cos(a) * dv
        a, b = a + h * (-rates * a + np.sin(b)) + kick[0], b + h * (a - b) + kick[1]
        np.testing.assert_allclose(found.states[:, k + 1, :2], np.stack([a, b], axis=1), rtol=1e-10, atol=1e-12)
    steps = np.concatenate([np.diff(found["w"]).ravel(), np.diff(found["v"]).ravel()]) / np.sqrt(h)
    assert abs(steps.mean()) < 0.1
    assert steps.std() == pytest.approx(1, abs=0.08)


def test_seeds_repeat_and_lists_of_values_make_paths_of_each():
    options = {"solver": EulerMaruyama(0.05), "initial": {"x": [1.0, 2.0, 3.0]}, "paths": 2}
    found = sciml.simulate(GBM, [0.0, 1.0], seed=4, **options)
    assert found.states[:, 0, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert np.array_equal(found.states, sciml.simulate(GBM, [0.0, 1.0], seed=4, **options).states)
    assert not np.array_equal(found.states, sciml.simulate(GBM, [0.0, 1.0], seed=5, **options).states)
    assert sciml.simulate(GBM, [0.0, 1.0]).states.shape == (2, 1)


def strong_errors(solver, drift, diffusion, stratonovich, noise, exact, steps, paths=400):
    """Mean distance of paths to the exact ones on the same Wiener processes, for several numbers of steps."""
    import torchsde

    ts, y0 = torch.tensor([0.0, 1.0]).double(), torch.ones(paths, 1).double()
    levy = "space-time" if solver is SRK else "none"
    motion = torchsde.BrownianInterval(
        0.0, 1.0, size=(paths, 1), dtype=torch.float64, entropy=7, levy_area_approximation=levy, tol=1e-8
    )
    w = motion(0.0, 1.0)
    errors = []
    for n in steps:
        options = {"noise": noise, "processes": 1, "solver": solver(1 / n), "stratonovich": stratonovich}
        end = solve_sde(drift, diffusion, y0, ts, motion=motion, **options)[:, -1]
        errors.append(float((end - exact(w)).abs().mean()))
    return errors


@pytest.mark.parametrize(
    ("solver", "order"),
    [(EulerMaruyama, 0.5), (Milstein, 1.0), (SRK, 1.5), (ReversibleHeun, 1.0)],
    ids=lambda v: str(v)[-12:],
)
def test_strong_errors_fall_at_the_stated_order(solver, order):
    a, b = 0.3, 0.9
    errors = strong_errors(
        solver,
        lambda t, y: a * y,
        lambda t, y: b * y,
        lambda t, y: (a - b**2 / 2) * y,
        "diagonal",
        lambda w: torch.exp(a - b**2 / 2 + b * w),
        (16, 64, 256),
    )
    assert math.log2(errors[0] / errors[-1]) / 4 == pytest.approx(order, abs=0.2)


def test_gradients_by_the_adjoint_and_through_the_steps_are_the_known_ones():
    class Owner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    owner = Owner()
    y0, ts = torch.ones(64, 1).double(), torch.tensor([0.0, 1.0]).double()
    options = {"noise": "diagonal", "processes": 1, "owner": owner, "seed": 3}
    b = 0.4

    def gradient(solver, adjoint):
        ys = solve_sde(
            lambda t, y: owner.a * y,
            lambda t, y: b * y,
            y0,
            ts,
            solver=solver,
            adjoint=adjoint,
            stratonovich=lambda t, y: (owner.a - b**2 / 2) * y,
            **options,
        )
        (slope,) = torch.autograd.grad(ys[:, -1].mean(), owner.a)
        # x = exp((a - b^2/2) t + b W): the derivative by a is t x
        return float(slope), float(ys[:, -1].mean().detach())

    for solver in (ReversibleHeun(1 / 128), Milstein(1 / 128)):
        direct, mean = gradient(solver, adjoint=False)
        assert direct == pytest.approx(mean, rel=0.01)
        assert gradient(solver, adjoint=True)[0] == pytest.approx(
            direct, rel=1e-6 if solver.method == "reversible_heun" else 0.02
        )


def test_learned_noise_is_simulated_by_both_engines():
    f, g = sp.symbols("f g", cls=sp.Function)
    system = System({x: -f(x)}, noise={x: g(x)}, learned={f: MLP(hidden=(4,)), g: MLP(hidden=(4,))}, initial={x: 1.0})
    ends = [
        sciml.simulate(system, [0.0, 1.0], paths=2000, solver=EulerMaruyama(0.02), backend=b)["x"][:, -1]
        for b in ("native", "torch")
    ]
    assert ends[0].mean() == pytest.approx(ends[1].mean(), abs=4 * ends[0].std() / math.sqrt(1000))
    assert ends[0].std() == pytest.approx(ends[1].std(), rel=0.1)


def test_the_stratonovich_drift_holds_the_correction_of_every_process():
    drift = wiener.stratonovich_drift(PAIR.equations, PAIR.noise)
    # G = [[0.3, 0.4 y], [0.5, 0]]: of dG_01/dy = 0.4 the second row of the second column, 0, is taken
    assert [sp.simplify(d - f) for d, f in zip(drift, PAIR.equations.values())] == [0, 0]
    (drift,) = wiener.stratonovich_drift(GBM.equations, GBM.noise)
    assert sp.expand(drift - (mu - s**2 / 2) * x) == 0


def test_noise_is_saved_exported_and_substituted():
    again = decode_system(*encode_system(PAIR))
    assert again.noise == PAIR.noise
    assert GBM.substitute({s: 2 * mu}).noise == {x: 2 * mu * x}
    assert r"\dot{W_{x}}" in sciml.export.latex(GBM)
    assert "| `x` | `V` | `0.4*y` |" in sciml.export.markdown(PAIR)
    namespace = {}
    exec(sciml.export.python(PAIR), namespace)
    assert np.asarray(namespace["diffusion"](0.0, [1.0, 2.0])) == pytest.approx(np.array([[0.3, 0.8], [0.5, 0.0]]))


BAD = [
    (
        lambda: sciml.correlated([x, y], [[1.0, 2.0], [2.0, 1.0]]),
        "is not positive definite: its smallest eigenvalue is -1",
    ),
    (lambda: sciml.correlated([x, y], [[1.0, 0.5], [0.0, 1.0]]), "must be symmetric and finite"),
    (lambda: sciml.correlated([x, y], [[1.0]]), "has shape (1, 1); 2 states need (2, 2)"),
    (lambda: System({x: -x}, noise={x: {}}), "the noise of `x` is an empty dict"),
    (lambda: System({x: -x}, noise={x: {3: 1.0}}), "names the Wiener process 3: give a symbol"),
    (lambda: System({x: -x}, noise={y: 1.0}), "`y` is not a state"),
    (lambda: System({x: -x}, noise={x: s * x}), "`s` in the noise of `x` is neither a state nor a parameter"),
    (lambda: System({x: x / 2}, noise={x: 1.0}, discrete=True), "has no diffusion, and this one has noise on `x`"),
    (lambda: sciml.simulate(GBM, [0.0, 1.0], paths=0), "`paths=0` must be a whole number from 1"),
    (lambda: sciml.simulate(GBM, [1.0, 0.0]), "must increase: Wiener processes run forwards"),
    (
        lambda: sciml.simulate(GBM, [0.0, 1.0], solver=sciml.Tsit5()),
        "is for ordinary equations, and the System has noise",
    ),
    (
        lambda: sciml.simulate(GBM, [0.0, 1.0], solver=SRK(0.1), backend="native"),
        "`SRK` is not native; `EulerMaruyama` is",
    ),
    (
        lambda: sciml.simulate(PAIR, [0.0, 1.0], solver=Milstein(0.1)),
        "`Milstein` is for diagonal and additive noise, and this is general",
    ),
    (
        lambda: sciml.simulate(System({x: -x}, initial={x: 1.0}), [0.0, 1.0], paths=3),
        "`paths=3` is for stochastic Systems",
    ),
    (lambda: EulerMaruyama(-0.1), "`step=-0.1` of `EulerMaruyama` must be a positive number"),
    (lambda: sciml.simulate(OU, [0.0, 1.0]).quantiles(), "there is one trajectory only"),
    (lambda: sciml.export.julia(GBM), "has a diffusion term, which the Julia source cannot hold"),
    (
        lambda: sciml.dynamics.fixed_points(GBM, bounds={x: (-1, 1)}),
        "the System has noise; analyze its deterministic part",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises((ModelError, DataError)) as error:
        call()
    assert message in str(error.value)


def test_paths_that_leave_the_finite_numbers_are_named_or_marked():
    wild = System({x: x**3}, noise={x: 1.0}, initial={x: 5.0})
    for backend in ("native", "torch"):
        options = {"paths": 3, "solver": EulerMaruyama(0.01), "backend": backend}
        with pytest.raises(SolveError, match=r"3 of 3 paths left the finite numbers, path 0 behind t = "):
            sciml.simulate(wild, [0.0, 0.5, 2.0], **options)
        found = sciml.simulate(wild, [0.0, 0.5, 2.0], throw=False, **options)
        assert np.isnan(found.states[:, -1]).all()
        assert {status.name for status in found.status} == {"NON_FINITE"}
