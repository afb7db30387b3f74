"""Programs and the torch code printed from them: values against NumPy, shapes, dtypes, networks, Jacobians."""

import numpy as np
import pytest
import sympy as sp
import torch
from torch import nn

from sciml.errors import ModelError
from sciml.lowering.networks import ACTIVATION_MODULES, build_network, weights_of
from sciml.lowering.program import Call, lower, slot
from sciml.lowering.torch_backend import torch_function, torch_source
from sciml.lowering.vector_field import compile, trained_system
from sciml.symbolic.declarations import MLP, Parameter
from sciml.symbolic.system import System

x, y, k, c = sp.symbols("x y k c", real=True)
t = sp.Symbol("t", real=True)
f, g, h = sp.symbols("f g h", cls=sp.Function)
half, third = sp.Rational(1, 2), sp.Rational(1, 3)
PLANE = System({x: 0, y: 0})

# Arguments are drawn from (-2, 2); logarithms and roots are moved into their domain.
EXPRESSIONS = [
    *(function(x) for function in (sp.Abs, sp.asinh, sp.atan, sp.ceiling, sp.cos, sp.cosh, sp.erf, sp.erfc, sp.exp)),
    *(function(x) for function in (sp.floor, sp.sign, sp.sin, sp.sinh, sp.tan, sp.tanh)),
    *(function(x) for function in (sp.sec, sp.csc, sp.cot, sp.sech, sp.csch, sp.coth, sp.sinc)),
    *(function(x / 3) for function in (sp.acos, sp.asin, sp.atanh)),
    *(function(x + 3) for function in (sp.acosh, sp.log, sp.loggamma, sp.sqrt, sp.cbrt)),
    sp.atan2(y, x),
    sp.log(x + 3, 10),
    sp.Max(x, 0),
    sp.Max(x, y, 1),
    sp.Max(sp.sqrt(2) / 2, x),
    sp.Min(x, y),
    sp.Min(0, x, y),
    sp.Max(0, sp.Min(x, 1)),
    sp.Heaviside(x),
    sp.Heaviside(x, 1),
    sp.Heaviside(x - y) * x,
    sp.Mod(x, 2),
    sp.Mod(x, y),
    sp.Piecewise((x, x > 0), (y, True)),
    sp.Piecewise((1, x > 0), (0, True)),
    sp.Piecewise((x, x > third), (sp.sqrt(2), True)),
    sp.Piecewise((x, x > sp.sqrt(2) / 3), (sp.pi * x, x < -third), (third, True)),
    sp.Piecewise((1, sp.And(x > 0, y > 0)), (2, sp.Or(x < -1, y <= -1)), (3, True)),
    sp.Piecewise((x, sp.Not(sp.And(x > 0, y > 0))), (x * y, True)),
    sp.Piecewise((x, sp.Xor(x > 0, y > 0)), (0, True)),
    sp.Piecewise((x, sp.Ne(x, y)), (0, True)) + sp.Piecewise((x, sp.Eq(x, y)), (1, True)),
    sp.sqrt(2) * x,
    sp.sqrt(2) * x + sp.tanh(sp.sqrt(2)) * y,
    x / 3,
    third * x + sp.Rational(2, 7),
    sp.pi * x + sp.E * y + sp.GoldenRatio + sp.EulerGamma,
    sp.Integer(10) ** 20 * x + sp.Integer(2) ** 60,
    sp.log(2) * x + sp.exp(sp.sqrt(2)) * y,
    x**2,
    -(x**2),
    x**3,
    1 / x,
    x**-2,
    x**10,
    (x + 3) ** sp.Rational(3, 2),
    (x + 3) ** -half,
    (x**2 + y**2) ** sp.Rational(-3, 2),
    (x + 3) ** third,
    (x + 3) ** y,
    (x + 3) ** sp.pi,
    sp.Pow(x + 3, 2.5),
    2**x,
    half**x,
    sp.pi**x,
    sp.Integer(2) ** (x * y),
    x - (y - x),
    x / (y / (x + 3)),
    x * y / (1 + x**2),
    sp.sqrt(sp.Abs(x)) * sp.sign(x),
    sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi),
    sp.Float(0.1) * x,
]


def points(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).uniform(-2, 2, shape))


def evaluate(program, states, time=0.0, parameters=(), networks=()):
    function = torch_function(program)
    parameters = torch.tensor(parameters, dtype=states.dtype)
    return function(torch.as_tensor(time, dtype=states.dtype), states, parameters, networks)


def numpy_values(expression, states):
    function = sp.lambdify((x, y), expression, ["numpy", "scipy"])
    return np.broadcast_to(function(*states.numpy().T), len(states))


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_torch_computes_what_numpy_computes(expression):
    states = points(50, 2)
    program = lower(PLANE, [expression])
    batch = evaluate(program, states)[:, 0]
    assert batch.numpy() == pytest.approx(numpy_values(expression, states), rel=1e-13, abs=1e-14)
    single = torch.stack([evaluate(program, state)[0] for state in states[:5]])
    assert single.numpy() == pytest.approx(batch[:5].numpy(), rel=1e-14, abs=1e-15)
    nested = evaluate(program, states.reshape(5, 10, 2))
    assert nested.shape == (5, 10, 1)
    assert nested.flatten().numpy() == pytest.approx(batch.numpy(), rel=1e-14, abs=1e-15)
    assert evaluate(program, states.float()).dtype == torch.float32


# Values and slopes at the points where branches meet.
CORNERS = [
    (sp.sinc(x), 0.0, 1.0, 0.0),
    (sp.Max(x, 0), 1.0, 1.0, 1.0),
    (sp.Max(x, 0), -1.0, 0.0, 0.0),
    (sp.Abs(x), 0.0, 0.0, 0.0),
    (sp.Heaviside(x), 0.0, 0.5, 0.0),
    (sp.Heaviside(x, 1), 0.0, 1.0, 0.0),
    (sp.sign(x), 0.0, 0.0, 0.0),
    (sp.Piecewise((x**2, x > 0), (-x, True)), 0.0, 0.0, -1.0),
    (x**2, 0.0, 0.0, 0.0),
    (x**3, 0.0, 0.0, 0.0),
    (sp.Mod(x, 1), -0.25, 0.75, 1.0),
]


@pytest.mark.parametrize(("expression", "place", "value", "slope"), CORNERS, ids=lambda v: str(v))
def test_values_and_gradients_at_corners_are_finite_and_right(expression, place, value, slope):
    state = torch.tensor([place, 0.0], dtype=torch.float64, requires_grad=True)
    result = evaluate(lower(PLANE, [expression + y]), state).sum()
    (gradient,) = torch.autograd.grad(result, state)
    assert result.item() == value
    assert gradient[0].item() == slope


def test_an_unknown_function_is_refused_by_name():
    with pytest.raises(ModelError, match=r"the function `besselj` cannot be computed\. Known are Abs, acos"):
        compile(System({x: sp.besselj(0, x)}))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (sp.Integral(sp.exp(-(x**2)), (x, 0, 1)), "cannot be computed here: carry it out"),
        (sp.Derivative(sp.floor(x), x), "cannot be lowered: it is not one of a learned function"),
        (sp.sqrt(-2, evaluate=False) * x, "is not a finite real"),
    ],
    ids=["integral", "derivative", "complex constant"],
)
def test_what_cannot_be_lowered_is_refused(expression, message):
    with pytest.raises(ModelError, match=message):
        lower(PLANE, [expression])


def test_constants_and_parameters_fill_the_batch():
    system = System({x: sp.sqrt(2), y: k}, parameters={k: 3.0})
    field = compile(system)
    for shape in [(2,), (4, 2), (3, 4, 2)]:
        rates = field(0.0, torch.zeros(shape, dtype=torch.float64))
        assert rates.shape == shape
        assert torch.equal(rates, torch.tensor([2**0.5, 3.0], dtype=torch.float64).expand(shape))


@pytest.mark.parametrize(
    "time", [0.7, torch.tensor(0.7), torch.full((4, 1), 0.7), 1], ids=["float", "scalar", "column", "int"]
)
def test_time_is_a_number_a_scalar_or_a_column(time):
    system = System({x: y + sp.cos(t), y: -x * t})
    states = points(4, 2)
    value = float(time.flatten()[0]) if isinstance(time, torch.Tensor) else float(time)
    expected = np.stack([states[:, 1] + np.cos(value), -states[:, 0] * value], 1)
    if isinstance(time, torch.Tensor):
        time = time.double() * 0 + value
    assert compile(system)(time, states).detach().numpy() == pytest.approx(expected, rel=1e-14)


def test_every_row_has_its_own_time():
    system = System({x: t**2 * k, y: x}, parameters={k: 2.0})
    states, times = points(5, 2), torch.linspace(0, 2, 5, dtype=torch.float64)
    rates = compile(system)(times[:, None], states)
    assert rates[:, 0].tolist() == pytest.approx((2 * times**2).tolist())
    single = torch.stack([compile(system)(time, state) for time, state in zip(times, states)])
    assert torch.allclose(rates, single, rtol=1e-15)


def test_fields_work_in_single_precision():
    system = System(
        {x: f(x, y) + sp.sqrt(2), y: k * t}, parameters={k: 1.0}, learned={f: MLP(hidden=4, input_scale=(2, 3))}
    )
    states = points(4, 2)
    double = compile(system)(0.5, states)
    single = compile(system).float()(0.5, states.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, atol=1e-6)
    assert compile(system).float()(0.5, states[0].float()).dtype == torch.float32


def test_parameters_may_differ_along_the_batch():
    program = lower(System({x: -k * x}, parameters={k: 1.0}), [-k * x])
    states = points(3, 1)
    rates = torch_function(program)(torch.zeros(()), states, torch.tensor([[1.0], [2.0], [3.0]]).double(), [])
    assert torch.equal(rates[:, 0], -torch.tensor([1.0, 2.0, 3.0]) * states[:, 0])


def build(names, functions):
    """The same System under given names."""
    a, b, rate = (sp.Symbol(name, real=True) for name in names)
    F, G = (sp.Function(name) for name in functions)
    rhs = {a: -rate * a + F(a, b) * sp.exp(a * b), b: sp.exp(a * b) + G(a, b).diff(a) + F(a, 2 * b)}
    return System(rhs, parameters={rate: 1.0}, learned={F: MLP(), G: MLP()})


def test_programs_do_not_depend_on_the_names_of_the_user():
    def text(*names):
        system = build(*names)
        return torch_source(lower(system, system.equations.values()))

    plain = text("xyk", "fg")
    assert text("xyk", "fg") == plain
    assert text(["prey", "lambda", "rate[0]"], ["eaten", "import os"]) == plain
    for name in ("prey", "lambda", "rate", "eaten", "import"):
        assert name not in text(["prey", "lambda", "rate[0]"], ["eaten", "import os"])


def test_common_subexpressions_and_calls_are_computed_once():
    shared = sp.sin(x * y)
    system = System({x: shared + f(x), y: shared**2 + f(x) ** 2 + g(x)}, learned={(f, g): MLP()})
    program = lower(system, system.equations.values())
    assert torch_source(program).count("torch.sin") == 1
    assert sum(isinstance(step, Call) for step in program.steps) == 1
    assert program.outputs == 2


def test_a_change_of_sign_is_no_common_subexpression():
    a, b, c = sp.symbols("a b c", real=True)
    system = System({a: (b - c) * c - a, b: (c - a) * a - b, c: (a - b) * b - c})
    program = lower(system, system.equations.values())
    assert program.steps == ()
    assert program.results == tuple(
        e.xreplace({a: slot("y", 0), b: slot("y", 1), c: slot("y", 2)}) for e in system.equations.values()
    )


def test_learned_values_include_scales_and_factors():
    mlp = MLP(hidden=(5,), factors=(None, y), input_scale=(2.0, 4.0), output_scale=(3.0, 7.0))
    system = System({x: f(x, y), y: g(x, y) + g(x, y).diff(y)}, learned={(f, g): mlp})
    field = compile(system, seed=3)
    z = points(6, 2)
    first, second = field.networks[0](z / torch.tensor([2.0, 4.0])).unbind(-1)
    expected = torch.stack([3 * first, 7 * z[:, 1] * second], 1)
    assert torch.allclose(field.learned_values((f, g), z), expected, rtol=1e-14)
    rates = field(0.0, z)
    assert torch.allclose(rates[:, 0], expected[:, 0], rtol=1e-14)

    def factored(state):
        return 7 * state[1] * field.networks[0](state / torch.tensor([2.0, 4.0]))[1]

    slopes = torch.stack([torch.func.grad(factored)(state)[1] for state in z])
    assert torch.allclose(rates[:, 1] - expected[:, 1], slopes, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_higher_derivatives_of_a_function_with_factor_and_scales_follow_leibniz(order):
    mlp = MLP(hidden=(6,), factors=(x,), input_scale=(1.5, 2.0), output_scale=(3.0,))
    system = System({x: f(x, y).diff(x, order), y: f(x, y).diff(x, y)}, learned={f: mlp})
    field = compile(system, seed=1)

    def value(a, b):
        return 3.0 * a * field.networks[0](torch.stack([a / 1.5, b / 2.0]))[0]

    along = value
    for _ in range(order):
        along = torch.func.grad(along)
    for state in points(3, 2):
        mixed = torch.func.grad(torch.func.grad(value), argnums=1)(*state)
        expected = torch.stack([along(*state), mixed])
        assert torch.allclose(field(0.0, state), expected, rtol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATION_MODULES)
def test_networks_compute_their_formula(activation):
    formulas = {
        "tanh": np.tanh,
        "sin": np.sin,
        "cos": np.cos,
        "softplus": lambda z: np.log1p(np.exp(z)),
        "silu": lambda z: z / (1 + np.exp(-z)),
        "gelu": lambda z: z * sp.lambdify(k, (1 + sp.erf(k / sp.sqrt(2))) / 2, "scipy")(z),
        "relu": lambda z: np.maximum(z, 0),
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "rbf": lambda z: np.exp(-(z**2)),
        "identity": lambda z: z,
    }
    weights = np.random.default_rng(0).normal(size=2 * 3 + 3 + 3 * 2 + 2)
    W1, b1, W2, b2 = np.split(weights, [6, 9, 15])
    z = points(7, 2)
    hidden = formulas[activation](z.numpy() @ W1.reshape(3, 2).T + b1)
    expected = hidden @ W2.reshape(2, 3).T + b2
    network = build_network(MLP(hidden=(3,), activation=activation, weights=weights), 2, 2, seed=0)
    assert network(z).detach().numpy() == pytest.approx(expected, rel=1e-13)
    assert weights_of(network) == pytest.approx(weights)


def test_weights_depend_on_the_seed_alone():
    system = System({x: f(x), y: g(y)}, learned={f: MLP(), g: MLP()})
    assert weights_of(compile(system, seed=1)) == pytest.approx(weights_of(compile(system, seed=1)), abs=0)
    first, second = compile(system, seed=1).networks
    assert not np.allclose(weights_of(first), weights_of(second))
    assert not np.allclose(weights_of(first), weights_of(compile(system, seed=7).networks[0]))


def test_a_wrong_number_of_weights_is_refused():
    with pytest.raises(ModelError, match="3 weights were given for a network that has 4"):
        compile(System({x: f(x)}, learned={f: MLP(hidden=1, weights=np.zeros(3))}))
    compile(System({x: f(x)}, learned={f: MLP(hidden=1, weights=np.zeros(4))}))


def test_compiling_leaves_the_module_of_the_user_alone():
    module = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    before = weights_of(module)
    field = compile(System({x: f(x)}, learned={f: module}))
    with torch.no_grad():
        for weight in field.networks.parameters():
            weight.add_(1.0)
    assert weights_of(module) == pytest.approx(before, abs=0)
    assert field(0.0, points(2, 1)).shape == (2, 1)


def test_training_is_written_back_into_the_system():
    system = System(
        {x: k * f(x) + g(x)},
        parameters={k: Parameter(1.0, bounds=(0, 9))},
        learned={f: MLP(hidden=3), g: nn.Linear(1, 1).double()},
    )
    field = compile(system)
    with torch.no_grad():
        for weight in field.parameters():
            weight.add_(0.5)
    states = points(4, 1)
    trained = trained_system(field)
    assert trained.parameters[k] == Parameter(1.5, bounds=(0, 9))
    assert torch.equal(compile(trained, seed=5)(0.0, states), field(0.0, states))


JACOBIANS = {
    "polynomial": System({x: k * x**2 * y, y: -(x**3) + y}, parameters={k: 1.5}),
    "transcendental": System({x: sp.sin(x * y) * sp.exp(-y), y: sp.atan2(y, x) + sp.cos(t)}),
    "with corners": System({x: sp.Max(x, y, 0), y: sp.Abs(x) * sp.Piecewise((y, y > 0), (-2 * y, True))}),
    "learned": System({x: f(x, y) * y, y: f(y, x) + h(x)}, learned={f: MLP(hidden=5), h: MLP(hidden=4)}),
    "learned with scales": System(
        {x: f(x, y), y: g(x, y) + f(x * y, y)},
        learned={(f, g): MLP(hidden=5, factors=(None, y), input_scale=(2.0, 3.0), output_scale=(1.0, 5.0))},
    ),
    "derivative of learned": System({x: y, y: -f(x, y).diff(x)}, learned={f: MLP(hidden=5, input_scale=(2.0, 3.0))}),
    "user module": System({x: f(x, y), y: x}, learned={f: nn.Sequential(nn.Linear(2, 1), nn.Tanh()).double()}),
}


@pytest.mark.parametrize("system", JACOBIANS.values(), ids=JACOBIANS)
def test_the_symbolic_jacobian_is_the_derivative_of_the_field(system):
    field = compile(system)
    jacobian = torch_function(lower(system, list(system.jacobian())))
    for state in points(5, 2, seed=2):
        expected = torch.func.jacrev(lambda z: field(0.3, z))(state)
        got = jacobian(torch.tensor(0.3, dtype=torch.float64), state, field.p, field.networks).reshape(2, 2)
        assert torch.allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_observables_follow_the_states():
    system = System({x: y, y: -f(x)}, learned={f: MLP(hidden=3)}, observed={"force": -f(x), "time": t, "two": 2})
    field = compile(system)
    states = points(4, 2)
    seen = field.observe(torch.tensor(0.5, dtype=torch.float64), states)
    assert torch.equal(seen[:, :2], states)
    assert torch.allclose(seen[:, 2], field(0.0, states)[:, 1])
    assert seen[:, 3:].tolist() == [[0.5, 2.0]] * 4


def test_initial_values_are_computed_from_the_parameters():
    system = System({x: -x, y: -y}, parameters={k: 4.0}, initial={x: sp.sqrt(k), y: Parameter(3.0)})
    assert compile(system).initial.tolist() == [2.0, 3.0]
    assert compile(System({x: -x, y: -y}, initial={x: 1, y: 2})).initial.tolist() == [1.0, 2.0]
