"""Diffusion models with known scores: processes, samplers, densities and guidance against the exact answers."""

import math

import pytest
import sympy as sp
import torch
from mixtures import Mixture, ring, sliced_wasserstein

import sciml
from sciml import MLP, DataError, Dopri8, ModelError, SolveError, System
from sciml.diffusion import (
    EDM,
    VE,
    VP,
    Ancestral,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Exact,
    Guided,
    Heun,
    Hutchinson,
    Karras,
    LinearInverse,
    PredictorCorrector,
    ProbabilityFlow,
    StochasticHeun,
    SubVP,
    Times,
    Uniform,
    bits_per_dimension,
    inpainting,
    log_density,
    probability_flow,
    reverse_sde,
    sample,
)
from sciml.diffusion.processes.protocol import T, X

PROCESSES = [VP(), SubVP(), VE(sigma_min=0.002), EDM()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)


@named
def test_marginals_solve_the_moment_equations_of_the_process(process):
    f = process.formulas
    rate = sp.diff(f.drift, X)
    mean = sp.lambdify(T, sp.diff(f.mean, T) - rate * f.mean, "mpmath")
    variance = sp.lambdify(T, sp.diff(f.std**2, T) - 2 * rate * f.std**2 - f.diffusion**2, "mpmath")
    for share in (0.02, 0.3, 0.7, 1.0):
        t = process.start + share * (process.end - process.start)
        assert abs(mean(t)) < 1e-12
        assert abs(variance(t)) < 1e-12 * max(1.0, float(f.diffusion.subs(T, t)) ** 2)


@named
def test_the_time_of_a_noise_level_is_the_inverse(process):
    t = torch.linspace(process.start, process.end, 50, dtype=torch.float64)
    assert torch.allclose(process.time(process.noise_level(t)), t, rtol=1e-10, atol=1e-14)


@named
def test_reverse_sde_and_flow_hold_the_drift_that_the_formulas_give(process):
    t = torch.tensor([process.start, 0.3 * process.end, process.end], dtype=torch.float64)
    rate = sp.lambdify(T, sp.diff(process.formulas.drift, X), "math")
    rates = torch.tensor([float(rate(v)) for v in t.tolist()], dtype=torch.float64)
    for found, share in ((process.reverse_coefficients(t), 1.0), (process.flow_coefficients(t), 0.5)):
        assert torch.allclose(found[0], rates)
        assert torch.allclose(found[1], -share * process.diffusion(t) ** 2)


def test_the_reverse_of_a_system_holds_divergence_and_score():
    x, y, t = sp.symbols("x y t", real=True)
    system = System({x: -y, y: x}, noise={x: {"W": x}, y: {"W": 1, "V": sp.sin(t)}})
    reverse, flow = reverse_sde(system, MLP()), probability_flow(system, MLP())
    u, v = (sp.Function(f"score_{s}")(x, y, t) for s in (x, y))
    # D = [[x**2, x], [x, 1 + sin(t)**2]], so div D = (2 x, 1)
    expected = {x: -y - 2 * x - x**2 * u - x * v, y: x - 1 - x * u - (1 + sp.sin(t) ** 2) * v}
    for state, form in expected.items():
        assert sp.simplify(reverse.equations[state] - form) == 0
        assert sp.simplify(2 * flow.equations[state] - form - system.equations[state]) == 0
    assert reverse.noise == system.noise
    assert not flow.noise


def test_the_flow_of_a_system_moves_a_gaussian_as_its_equation_says():
    x, s = sp.symbols("x s", real=True)
    t = sp.Symbol("t", real=True)
    ornstein = System({x: -x}, noise={x: sp.sqrt(2)}, parameters={s: 0.5})
    flow = probability_flow(ornstein, MLP())
    variance = 1 + (s**2 - 1) * sp.exp(-2 * t)
    closed = flow.substitute({sp.Function("score_x"): lambda x, t: -x / variance})
    end = sciml.simulate(closed, [0.0, 1.0], initial={x: [0.5, -1.0]}, rtol=1e-9, atol=1e-9)["x"][:, -1]
    factor = math.sqrt(1 + (0.25 - 1) * math.exp(-2)) / 0.5
    assert end == pytest.approx([0.5 * factor, -1.0 * factor], rel=1e-7)


@named
@pytest.mark.parametrize(("sampler", "order"), [(Euler, 1), (Heun, 2), (DPMSolverPP, 2)], ids=lambda s: str(s)[-12:])
def test_errors_along_paths_fall_at_the_stated_order(process, sampler, order):
    mixture, start = ring(process), torch.tensor(process.end, dtype=torch.float64)
    noise = process.std(start) * torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"initial": noise, "shape": noise.shape}
    exact = sample(process, mixture, sampler=ProbabilityFlow(Dopri8(), 1e-9, 1e-9), **options)
    found = [sample(process, mixture, sampler=sampler(n, to_zero=False), **options) for n in (150, 300)]
    errors = [float((x - exact).norm(dim=1).median()) for x in found]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


SAMPLERS = [
    EulerMaruyama(200),
    PredictorCorrector(100),
    Ancestral(60),
    StochasticHeun(20, churn=5),
    Heun(20),
    DPMSolverPP(40),
    ProbabilityFlow(rtol=1e-3, atol=1e-3),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("process", [VP(), EDM()], ids=lambda p: type(p).__name__)
def test_samples_have_the_distribution_of_the_data(process, sampler):
    mixture = ring(process)
    found = sample(process, mixture, (4000, 2), sampler=sampler, seed=1)
    # Two sets of 4000 exact samples are 0.03 apart in the mean, 0.06 at most.
    assert sliced_wasserstein(found, mixture.sample(4000, 2)) < 0.07
    assert torch.equal(found, sample(process, mixture, (4000, 2), sampler=sampler, seed=1))


@named
def test_log_density_is_exact_with_the_exact_end(process):
    mixture = ring(process)
    x = mixture.sample(10, 3)
    end = lambda noise: mixture.log_density(noise, process.end)  # noqa: E731
    found = log_density(process, mixture, x, solver=Dopri8(), rtol=1e-8, atol=1e-8, end_density=end)
    assert (found - mixture.log_density(x, process.start)).abs().max() < 1e-5


def test_hutchinson_agrees_with_the_exact_trace_in_the_mean():
    mixture = ring(VP())
    x = mixture.sample(1, 3).expand(400, 2)
    exact = log_density(VP(), mixture, x[:1], trace=Exact())
    random = log_density(VP(), mixture, x, trace=Hutchinson(), rtol=1e-4, atol=1e-4)
    assert float(random.mean()) == pytest.approx(float(exact[0]), abs=4 * float(random.std()) / 20)
    assert float(random.std()) > 0.01
    fewer = log_density(VP(), mixture, x[:100], trace=Hutchinson(16), rtol=1e-4, atol=1e-4)
    assert float(fewer.std()) < 0.5 * float(random.std())


def test_bits_of_uniform_data_are_those_of_their_levels():
    bits = bits_per_dimension(torch.tensor([-4 * math.log(2.0)]), 4, width=2 / 16)
    assert float(bits) == pytest.approx(4.0)
    with pytest.raises(DataError, match=r"`dimension=0` and `width=1.0` must be positive"):
        bits_per_dimension(torch.zeros(1), 0)


def two_modes(process) -> Mixture:
    return Mixture(process, torch.tensor([[-1.0, 0.5], [1.0, -0.2]]).double(), torch.tensor([3.0, 1.0]).double(), 0.2)


def seen(mixture: Mixture, y: float, noise: float):
    """log p(y | x_t) of a measured first component, exact at every time of EDM."""

    def log_likelihood(x, t):
        means, v = mixture.means, mixture.std**2
        total = v + t**2
        shares = torch.log_softmax(
            (mixture.weights / mixture.weights.sum()).log() - (x[:, None] - means).square().sum(-1) / total / 2, dim=1
        )
        center = means[:, 0] + v / total * (x[:, None, 0] - means[:, 0])
        spread = v * t**2 / total + noise**2
        return torch.logsumexp(shares - (y - center) ** 2 / spread / 2 - spread.log() / 2, dim=1)

    return log_likelihood


def posterior_weight(mixture: Mixture, y: float, noise: float) -> float:
    """Exact probability of the second mode given a measured first component."""
    spread = mixture.std**2 + noise**2
    terms = mixture.weights * torch.exp(-((y - mixture.means[:, 0]) ** 2) / spread / 2)
    return float(terms[1] / terms.sum())


def test_guidance_by_the_exact_likelihood_samples_the_exact_posterior():
    process = EDM()
    mixture, y, noise = two_modes(process), 0.1, 0.5
    guided = Guided(mixture, seen(mixture, y, noise))
    found = sample(process, guided, (4000, 2), sampler=Heun(40))
    share = float((found[:, 0] > 0).double().mean())
    assert share == pytest.approx(posterior_weight(mixture, y, noise), abs=0.035)


def test_linear_guidance_is_exact_for_gaussians_and_gets_mode_weights_wrong():
    process = EDM()
    normal = lambda x, t: -x / (1 + t**2)  # noqa: E731
    operator, measured = torch.tensor([[1.0, 1.0]]).double(), torch.tensor([2.0]).double()
    found = sample(process, LinearInverse(process, normal, operator, measured, noise=0.5), (4000, 2), sampler=Heun(40))
    assert found.mean(dim=0).tolist() == pytest.approx([2 / 2.25, 2 / 2.25], abs=0.05)
    assert float(found[:, 0].var()) == pytest.approx(1 - 1 / 2.25, abs=0.04)
    mixture, y, noise = two_modes(process), 0.1, 0.5
    known = torch.tensor([y, 0.0], dtype=torch.float64), torch.tensor([True, False])
    half = inpainting(process, mixture, *known, noise=noise, spread=1.0)
    share = float((sample(process, half, (4000, 2), sampler=Heun(40))[:, 0] > 0).double().mean())
    # The documented fault: modes are right, their weights are not.
    assert abs(share - posterior_weight(mixture, y, noise)) > 0.04


BAD = [
    (lambda: VP(beta_min=-0.1), "`beta_min=-0.1` of `VP` must be positive: variances would be negative"),
    (lambda: VP(start=0.5, end=0.4), "`VP` runs from 0.5 to 0.4"),
    (lambda: VE(sigma_min=2.0, sigma_max=1.0), "`sigma_max=1.0` must be above `sigma_min=2.0`"),
    (lambda: EDM(start=0.0), "`start=0.0` of `EDM` must be positive"),
    (lambda: SubVP(beta_min=2.0, beta_max=1.0), "`beta_max=1.0` must not be below `beta_min=2.0`"),
    (lambda: Heun(1), "`steps=1` of `Heun` must be a whole number from 2"),
    (lambda: Heun(10, grid=7), "`grid=7` is not known: use `Karras()`"),
    (lambda: Karras(rho=0.0), "`rho=0.0` of the grid must be positive"),
    (lambda: PredictorCorrector(10, corrections=0), "`corrections=0` must be a whole number from 1"),
    (lambda: StochasticHeun(10, churn=-1.0), "`churn=-1.0` of `StochasticHeun` must not be negative"),
    (lambda: ProbabilityFlow("tsit5"), "`solver='tsit5'` is no method: use `Tsit5"),
    (lambda: Hutchinson(0), "`probes=0` of `Hutchinson`"),
    (lambda: Guided(ring(EDM()), None), "guidance needs a condition: `log_likelihood=None`"),
    (
        lambda: sciml.diffusion.ClassifierFree(ring(EDM()), 3),
        "needs a score of `train(..., condition=...)`, not a `Mixture`",
    ),
    (lambda: Guided(ring(EDM()), lambda x, t: x, scale=-1.0), "`scale=-1.0` of the guidance must not be negative"),
    (lambda: sample("edm", ring(EDM()), (2, 2)), "`process` is of type `str`. Expected `VP()`"),
    (lambda: sample(EDM(), ring(EDM()), (2,)), "`shape=(2,)` must be positive numbers"),
    (lambda: sample(EDM(), ring(EDM()), (2, 2), sampler=20), "`sampler=20` is none: use `Heun(20)`"),
    (
        lambda: sample(EDM(), lambda x, t: x[:, :1], (3, 2)),
        "the score returns shape (3, 1) for samples of shape (3, 2)",
    ),
    (
        lambda: sample(EDM(), lambda x, t: x, (3, 2), initial=torch.ones(2, 2)),
        "`initial` has shape (2, 2). Expected (3, 2)",
    ),
    (
        lambda: sample(VP(), ring(VP()), (2, 2), sampler=Heun(3, Times([2.0, 1.0, 0.5]))),
        "the time grid runs from 2 to 0.5, outside",
    ),
    (lambda: sample(VP(), ring(VP()), (2, 2), sampler=Heun(3, Times([0.5, 0.7, 0.2]))), "times that fall strictly"),
    (
        lambda: sample(VP(), ring(VP()), (2, 2), sampler=Heun(5, Times([0.9, 0.5, 0.2]))),
        "3 times for 4 intervals: give 5",
    ),
    (
        lambda: log_density(VP(), ring(VP()), torch.full((2, 2), float("nan"))),
        "`x` must be a finite floating point tensor",
    ),
    (lambda: inpainting(EDM(), ring(EDM()), torch.ones(2), torch.tensor([False, False])), "`mask` is false everywhere"),
    (
        lambda: LinearInverse(EDM(), ring(EDM()), torch.ones(1, 2), torch.ones(3)),
        "`operator` has shape (1, 2) and `measured` (3,)",
    ),
    (
        lambda: LinearInverse(EDM(), ring(EDM()), torch.ones(1, 2), torch.ones(1), noise=-1.0),
        "`noise=-1.0` must not be negative",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises((ModelError, DataError)) as error:
        call()
    assert message in str(error.value)


def test_the_accepted_neighbours_of_bad_input():
    assert sample(VP(), ring(VP()), (2, 2), sampler=Heun(3, Times([0.9, 0.5, 0.2]))).shape == (2, 2)
    assert sample(EDM(), ring(EDM()), (3, 2), initial=torch.ones(3, 2).double()).shape == (3, 2)
    assert sample(EDM(), ring(EDM()), (2, 2), sampler=EulerMaruyama(50, grid=Uniform())).shape == (2, 2)


def test_samples_that_leave_the_finite_numbers_are_counted():
    broken = lambda x, t: torch.where(x[:, :1] > 0, float("nan"), -x / (1 + t**2))  # noqa: E731
    with pytest.raises(SolveError, match=r"of 50 samples left the finite numbers under `Heun`"):
        sample(EDM(), broken, (50, 2))
