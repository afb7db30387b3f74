"""Simulations by torch and natively are the same; methods and backends are named where they do not fit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sympy as sp
import torch
from torch import nn

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
    assert in_torch.backend == "torch (it was asked for)"
    assert in_torch.backend == "torch (it was asked for)"


@pytest.mark.parametrize("solver", [Heun(), Bosh3(), Kvaerno3(), Kvaerno5()], ids=str)
def test_both_engines_take_the_same_steps(solver):
    system, times = sciml.models.lotka_volterra(), np.linspace(0, 3, 7)
    native, torch = (sciml.simulate(system, times, solver=solver, backend=b).values for b in ("native", "torch"))
    np.testing.assert_allclose(native, torch, rtol=1e-9, atol=1e-9)


def test_a_native_failure_tells_time_and_method():
    runaway = System({x: x**2}, initial={x: 1})
    for backend in ("native", "torch"):
        with pytest.raises(SolveError, match=r"step size fell below .* at t = (1|0\.99).* with `Tsit5`"):
            sciml.simulate(runaway, [0.0, 2.0], backend=backend)
    assert sciml.simulate(runaway, [0.0, 0.5], backend="native")["x"][-1] == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_an_initial_value_that_is_no_number_is_refused(backend):
    system = System({x: -x}, parameters={k: -1.0}, initial={x: sp.log(k)})
    with pytest.raises(sciml.DataError, match="`y0` is nan"):
        sciml.simulate(system, [0.0, 1.0], backend=backend)
    assert sciml.simulate(system, [0.0, 1.0], parameters={k: 2.0}, backend=backend)["x"][0] == pytest.approx(np.log(2))


def test_an_unknown_backend_is_refused():
    with pytest.raises(ModelError, match="backend 'numba' is not known"):
        sciml.simulate(sciml.models.lorenz(), [0.0, 1.0], backend="numba")


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


# Many trajectories


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_lists_of_values_make_trajectories_each_as_if_it_were_alone(backend):
    system, times = sciml.models.lotka_volterra(), np.linspace(0, 3, 5)
    first, second = system.states
    rate = next(iter(system.parameters))
    starts, rates = [0.5, 1.0, 2.0], [0.4, 0.5, 0.6]
    options = {"backend": backend, "rtol": 1e-9, "atol": 1e-9}
    many = sciml.simulate(system, times, initial={first: starts, second: 0.7}, parameters={rate: rates}, **options)
    assert many.states.shape == (3, 5, 2)
    for i, (start, value) in enumerate(zip(starts, rates)):
        one = sciml.simulate(system, times, initial={first: start, second: 0.7}, parameters={rate: value}, **options)
        np.testing.assert_allclose(many.states[i], one.states, rtol=1e-9)
    frame = many.to_frame()
    assert frame.index.names == ["trajectory", "t"]
    np.testing.assert_array_equal(frame.loc[1, str(first)], many[first][1])


def test_observables_follow_each_trajectory_and_its_parameters():
    system = System({x: -k * x}, parameters={k: 1.0}, initial={x: k}, observed={"rate": k * x})
    simulation = sciml.simulate(system, [0.0, 1.0], parameters={k: [1.0, 2.0]})
    np.testing.assert_allclose(simulation["x"][:, 0], [1.0, 2.0])
    np.testing.assert_allclose(simulation["rate"], simulation["x"] * [[1.0], [2.0]])


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_one_failing_trajectory_leaves_the_others_alone(backend):
    runaway = System({x: x**2}, initial={x: 1})
    with pytest.raises(SolveError, match=r"trajectory 1 .* 1 of 3 trajectories failed"):
        sciml.simulate(runaway, [0.0, 1.0], initial={x: [0.1, 2.0, 0.5]}, backend=backend)
    kept = sciml.simulate(runaway, [0.0, 1.0], initial={x: [0.1, 2.0, 0.5]}, backend=backend, throw=False)
    assert [status.name for status in kept.status] == ["SUCCESS", "STEP_UNDERFLOW", "SUCCESS"]
    np.testing.assert_allclose(kept["x"][[0, 2], -1], [1 / 9, 1.0], rtol=1e-4)
    assert np.isnan(kept["x"][1, -1])


def test_lists_that_do_not_fit_are_refused_and_their_neighbors_accepted():
    system = System({x: -k * x, y: -y}, parameters={k: 1.0}, initial={x: 1, y: 1})
    with pytest.raises(sciml.DataError, match="different lengths: 2 of `k`, 3 of `x`"):
        sciml.simulate(system, [0.0, 1.0], initial={x: [1, 2, 3]}, parameters={k: [1, 2]})
    with pytest.raises(sciml.DataError, match=r"values of `x` have shape \(1, 2\)"):
        sciml.simulate(system, [0.0, 1.0], initial={x: [[1, 2]]})
    assert sciml.simulate(system, [0.0, 1.0], initial={x: [1, 2, 3]}, parameters={k: 2.0}).states.shape == (3, 2, 2)


def test_a_compiled_field_is_simulated_with_the_values_it_has_at_the_time():
    field = sciml.compile(System({x: -k * x}, parameters={k: 1.0}, initial={x: 1}))
    first = sciml.simulate(field, [0.0, 1.0])
    with torch.no_grad():
        field.p[0] = 2.0
    second = sciml.simulate(field, [0.0, 1.0])
    np.testing.assert_allclose([first["x"][-1], second["x"][-1]], np.exp([-1.0, -2.0]), rtol=1e-5)
    assert first.parameters[0] == 1.0


def test_what_has_no_native_form_runs_by_torch_and_says_why():
    system = System({x: f(x)}, learned={f: torch.nn.GRUCell(1, 1).double()}, initial={x: 1})
    simulation = sciml.simulate(system, [0.0, 0.1])
    assert "no plain perceptron: `GRUCell` is not a linear layer" in simulation.backend
    with pytest.raises(ModelError, match="cannot be simulated natively: the network `GRUCell`"):
        sciml.simulate(system, [0.0, 0.1], backend="native")
    assert sciml.simulate(sciml.models.lorenz(), [0.0, 0.1]).backend == "native"


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Linear(1, 3), nn.Softplus(threshold=5.0), nn.Linear(3, 1)], "`Softplus(beta=1.0, threshold=5.0)`"),
        ([nn.Linear(1, 3), nn.GELU(approximate="tanh"), nn.Linear(3, 1)], "is not the standard activation"),
        ([nn.Tanh(), nn.Linear(1, 1)], "no plain perceptron: `Tanh`"),
        ([nn.Linear(1, 3), nn.Tanh(), nn.Sigmoid(), nn.Linear(3, 1)], "no plain perceptron: `Sigmoid`"),
        ([nn.Linear(1, 1, bias=False)], "no plain perceptron: `Linear`"),
        ([], "has no linear layer"),
        ([nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2), nn.Linear(2, 1), nn.Softplus()], None),
    ],
)
def test_a_network_is_native_if_it_is_a_chain_of_linear_layers_and_known_activations(layers, reason):
    system = System({x: f(x)}, learned={f: nn.Sequential(*layers).double()}, initial={x: 1})
    backend = sciml.simulate(system, [0.0, 0.1]).backend
    assert backend == "native" if reason is None else reason in backend


def test_a_simulation_keeps_the_weights_it_was_made_with():
    system = System({x: f(x)}, learned={f: MLP(hidden=3)}, initial={x: 1.0}, observed={"slope": f(x)})
    field = sciml.compile(system)
    before = sciml.simulate(field, [0.0, 1.0])
    with torch.no_grad():
        for weight in field.networks.parameters():
            weight += 1.0
    after = sciml.simulate(field, [0.0, 1.0])
    first = sciml.simulate(system, [0.0, 1.0])
    np.testing.assert_array_equal(before["slope"], first["slope"])
    assert abs(after["slope"][0] - before["slope"][0]) > 0.1


def test_threads_that_share_a_field_do_not_disturb_each_other():
    field, times = sciml.compile(sciml.models.lorenz()), np.linspace(0, 5, 50)
    starts = np.linspace(0.5, 1.5, 64)
    alone = [sciml.simulate(field, times, initial={"x": start}).states for start in starts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda start: sciml.simulate(field, times, initial={"x": start}).states, starts))
    np.testing.assert_array_equal(alone, together)
