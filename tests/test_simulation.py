"""Simulations by torch and natively are the same; methods and backends are named where they do not fit."""

import numpy as np
import pytest
import sympy as sp

import sciml
from sciml import MLP, Bosh3, Heun, Kvaerno3, Kvaerno5, ModelError, Parameter, SolveError, System, Tsit5

x, y, k = sp.symbols("x y k", real=True)
f = sp.Function("f")


def systems() -> dict[str, System]:
    return {
        "law": sciml.models.lotka_volterra(),
        "observed": sciml.models.kepler(),
        "hybrid": System(
            {x: -k * x + f(x, y), y: x - y},
            parameters={k: 1.5},
            learned={f: MLP(hidden=(6, 5))},
            initial={x: 1.0, y: 0.5},
        ),
        "learned potential": System.from_hamiltonian(
            y**2 / 2 + f(x), {x: y}, learned={f: MLP(hidden=4)}, initial={x: 1, y: 0}
        ),
    }


@pytest.mark.parametrize("name", systems())
@pytest.mark.parametrize("solver", [Tsit5(), Kvaerno5()], ids=["explicit", "stiff"])
def test_torch_and_native_simulations_agree(name, solver):
    system, times = systems()[name], np.linspace(0, 3, 7)
    options = {"rtol": 1e-10, "atol": 1e-10, "seed": 3}
    reference = sciml.simulate(system, times, backend="torch", **options)
    native = sciml.simulate(system, times, backend="native", solver=solver, **options)
    np.testing.assert_allclose(native.values, reference.values, rtol=1e-7, atol=1e-8)
    assert native.names == reference.names


def test_a_stiff_method_is_native_by_itself_and_the_same_in_torch():
    system = System({x: -1000 * (x - sp.cos(y)), y: 1}, initial={x: 0, y: 0})
    simulation = sciml.simulate(system, [0.0, 1.0, 2.0], solver=Kvaerno5())
    # On the slow manifold x = cos(y) + O(1/1000).
    np.testing.assert_allclose(simulation["x"][1:], np.cos([1.0, 2.0]), atol=2e-3)
    in_torch = sciml.simulate(system, [0.0, 1.0, 2.0], solver=Kvaerno5(), backend="torch")
    np.testing.assert_allclose(in_torch.values, simulation.values, atol=1e-6)
    assert len(in_torch.solution.stats.accepted) == 1
    assert in_torch.solution.stats.accepted[0] > 0


@pytest.mark.parametrize("solver", [Heun(), Bosh3(), Kvaerno3(), Kvaerno5()], ids=str)
def test_both_engines_take_the_same_steps(solver):
    system, times = sciml.models.lotka_volterra(), np.linspace(0, 3, 7)
    native, torch = (sciml.simulate(system, times, solver=solver, backend=b).values for b in ("native", "torch"))
    np.testing.assert_allclose(native, torch, rtol=1e-9, atol=1e-9)


def test_a_native_failure_tells_time_and_method():
    runaway = System({x: x**2}, initial={x: 1})
    with pytest.raises(SolveError, match=r"stopped at t = (1|0\.99).* with `Tsit5`"):
        sciml.simulate(runaway, [0.0, 2.0], backend="native")
    assert sciml.simulate(runaway, [0.0, 0.5], backend="native")["x"][-1] == pytest.approx(2.0, rel=1e-5)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ModelError, match="backend 'numba' is not known"):
        sciml.simulate(sciml.models.lorenz(), [0.0, 1.0], backend="numba")


def test_diffusion_terms_are_refused_until_they_are_solved():
    system = System({x: -x}, noise={x: 0.1 * x}, initial={x: 1})
    with pytest.raises(ModelError, match="`x` has a diffusion term"):
        sciml.simulate(system, [0.0, 1.0])


def test_a_stiff_system_is_fitted_and_kept(tmp_path):
    a, b, c = sp.symbols("a b c", real=True)
    z = sp.symbols("z", real=True)
    positive = (0, None)
    rates = {
        a: Parameter(0.05, bounds=positive),
        b: Parameter(2e7, bounds=positive),
        c: Parameter(1.5e4, bounds=positive),
    }
    robertson = System(
        {x: -a * x + c * y * z, y: a * x - c * y * z - b * y**2, z: b * y**2},
        parameters=rates,
        initial={x: 1, y: 0, z: 0},
    )
    times = np.array([0, 0.1, 1, 4, 10, 40, 100, 1000])
    truth = robertson.with_parameters({"a": 0.04, "b": 3e7, "c": 1e4})
    data = sciml.simulate(truth, times, solver=Kvaerno5(), rtol=1e-9, atol=1e-13).to_frame()
    noise = {x: sciml.Normal(1e-3), y: sciml.Normal(1e-7), z: sciml.Normal(1e-3)}
    problem = sciml.Problem(robertson, data, noise, solver=Kvaerno5(), rtol=1e-7, atol=1e-11)
    fit = sciml.fit(problem, sciml.SingleShooting(start=None), progress=False)
    assert fit.backend == "native"
    assert fit.estimates == pytest.approx({"a": 0.04, "b": 3e7, "c": 1e4}, rel=1e-3)
    again = sciml.load(fit.save(tmp_path / "robertson.sciml"))
    assert again.problem.solver == Kvaerno5()
    assert again.loss == fit.loss
