"""Runs exported code in the languages that are here: each runner gives values of the functions at points."""

import ctypes
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch

import sciml
from sciml import MLP, Event, Parameter, System
from sciml.lowering.program import lower
from sciml.lowering.torch_backend import torch_function
from sciml.lowering.vector_field import trained_system

TIME = 0.7


def hybrids():
    """Systems with networks: values, several arguments and outputs, factors, scales, first and second derivatives."""
    x, y, q, p, k = sp.symbols("x y q p k", real=True)
    f, g, V = sp.symbols("f g V", cls=sp.Function)
    shared = System(
        {x: k * x - f(x, y), y: g(x, y) - sp.sin(3 * sp.Symbol("t", real=True)) * y},
        {k: Parameter(1.3, bounds=(0, 2))},
        {(f, g): MLP((5, 4), factors=(x, None), input_scale=(2.0, 0.7), output_scale=(1.5, 0.3))},
        initial={x: 2 * k, y: 0.5},
        observed={"born": g(x, y), "slope": f(x, y).diff(y)},
    )
    mixed = System(
        {x: f(x, x * y).diff(x), y: -f(y, x**2) + V(2 * x).diff(x, 2)},
        learned={f: MLP((4,), "softplus", factors=(None,)), V: MLP((), "tanh")},
    )
    potential = System.from_hamiltonian(p**2 / 2 + V(q), {q: p}, learned={V: MLP((4, 3))}, initial={q: 1.0, p: 0.0})
    systems = {"shared": shared, "mixed": mixed, "potential": potential}
    for name in ("sin", "cos", "softplus", "silu", "gelu", "relu", "sigmoid", "rbf", "identity"):
        # torch has no forward derivative of the reverse derivative of silu.
        other = f(x, y) if name == "silu" else f(x, y).diff(x)
        systems[name] = System({x: f(x, y), y: other}, learned={f: MLP((4, 3), name)})
    return {name: trained_system(sciml.compile(system, seed=5)) for name, system in systems.items()}


def eventful():
    """Two events, one with a reset by parameters, one that ends the solve."""
    x, v, e = sp.symbols("x v e", real=True)
    return System(
        {x: v, v: -x - e * v},
        {e: 0.8},
        initial={x: 1.0, v: e},
        noise={v: 0.1 * x},
        events=[Event(x - e, "rising", reset={v: -e * v}), Event(v * x, terminal=True)],
    )


def driven():
    """Two inputs in all that may depend on them, a network included; the name of one is a keyword in many languages."""
    x, v, k, drive, heat = sp.symbols("x v k drive in", real=True)
    f = sp.Function("f")
    return trained_system(
        sciml.compile(
            System(
                {x: v * drive, v: -k * x - f(x, heat) * v + drive**2},
                {k: 0.8},
                {f: MLP((4, 3))},
                initial={x: 1.0, v: k},
                observed={"power": drive * v + f(x, heat).diff(heat)},
                noise={v: 0.1 * heat},
                events=[Event(x - k, "rising", reset={v: -heat * v})],
                inputs={drive: "linear", heat: "constant"},
            ),
            seed=5,
        )
    )


def signals(system, points):
    """Values of the inputs at each point."""
    return np.random.default_rng(1).uniform(-1.0, 2.0, (len(points), len(system.inputs)))


def reference(system, points):
    """What our own torch field gives, function by function, one row per point."""
    field = sciml.compile(system)
    y = torch.tensor(points)
    u = torch.tensor(signals(system, points)) if system.inputs else None
    with torch.no_grad():
        found = {"rhs": field(TIME, y, u=u), "jacobian": field.jacobian(TIME, y, u=u).flatten(-2)}
        count = len(system.states)
        if system.observed:
            found["observe"] = field.observe(TIME, y, u=u)[:, count:]
        if system.noise:
            program = lower(system, [system.noise.get(x, sp.S.Zero) for x in system.states])
            found["diffusion"] = torch_function(program)(torch.tensor(TIME), y, field.p, field.networks, u)
        events = field.events_at(field.p, lambda t, y: u)
        if events:
            found["events"] = torch.stack([event.condition(torch.tensor(TIME), y) for event in events], -1)
        for i, event in enumerate(events):
            if event.reset:
                found[f"reset_{i}"] = event.reset(torch.tensor(TIME), y)
        if set(system.initial) == set(system.states):
            found["initial"] = field.initial[None]
    return {name: values.numpy() for name, values in found.items()}


def by_python(system, points, folder):
    """NumPy."""
    module = {}
    exec(compile(sciml.export.python(system, jacobian=True), "exported", "exec"), module)
    return _called(module, system, points)


def by_jax(system, points, folder):
    """jax, with the Jacobian by its own derivative."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    module = {}
    exec(compile(sciml.export.jax(system), "exported", "exec"), module)
    return _called(module | {"jacobian": jax.jacfwd(module["rhs"], argnums=1)}, system, points)


def _called(module, system, points):
    names = ("rhs", "jacobian", "observe", "diffusion", "events", *(f"reset_{i}" for i in range(9)))
    rows = [(y, u) if system.inputs else (y,) for y, u in zip(points, signals(system, points))]
    found = {}
    for name in (n for n in names if n in module):
        # Conditions of events take no inputs.
        found[name] = np.array([np.ravel(module[name](TIME, *row[: 1 if name == "events" else 2])) for row in rows])
    if "initial" in module:
        found["initial"] = np.array([module["initial"]()])
    return found


def by_torch(system, points, folder):
    """A stand-alone torch module, batched."""
    module = {}
    exec(compile(sciml.export.torch(system), "exported", "exec"), module)
    field, y = module["Field"](), torch.tensor(points)
    u = (torch.tensor(signals(system, points)),) if system.inputs else ()
    names = ("forward", "observe", "diffusion", "events", *(f"reset_{i}" for i in range(9)))
    with torch.no_grad():
        present = [name for name in names if hasattr(field, name)]
        found = {n: getattr(field, n)(TIME, y, *(() if n == "events" else u)) for n in present}
        found |= {"initial": field.initial()[None]} if hasattr(field, "initial") else {}
    found["rhs"] = found.pop("forward")
    found["jacobian"] = torch.func.vmap(torch.func.jacrev(lambda y, *u: field(TIME, y, *u)))(y, *u).flatten(-2)
    return {name: values.detach().numpy() for name, values in found.items()}


def by_c(system, points, folder):
    """C, compiled by gcc with all warnings as errors."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, library = folder / "law.c", folder / "law.so"
    sciml.export.c(system, source)
    flags = [
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-const-variable",
        "-pedantic",
        "-O1",
        "-shared",
        "-fPIC",
    ]
    subprocess.run(["gcc", *flags, "-o", library, source, "-lm"], check=True, capture_output=True, text=True)
    law = ctypes.CDLL(str(library))
    vector = ctypes.POINTER(ctypes.c_double)
    count = len(system.states)
    sizes = {"rhs": count, "jacobian": count**2, "observe": len(system.observed), "events": len(system.events)}
    sizes |= {"diffusion": count} | {f"reset_{i}": count for i in range(len(system.events))}
    parameters = np.zeros(max(1, len(system.parameters)))
    if system.parameters:
        parameters[:] = np.ctypeslib.as_array((ctypes.c_double * len(parameters)).in_dll(law, "law_defaults"))
    found = {}
    for name, size in sizes.items():
        if hasattr(law, f"law_{name}"):
            rows = np.full((len(points), size), np.nan)
            for y, u, row in zip(points, signals(system, points), rows):
                given = (u,) if system.inputs and name != "events" else ()
                arguments = [np.ascontiguousarray(a).ctypes.data_as(vector) for a in (y, *given, parameters)]
                getattr(law, f"law_{name}")(ctypes.c_double(TIME), *arguments, row.ctypes.data_as(vector))
            found[name] = rows
    if hasattr(law, "law_initial"):
        found["initial"] = np.full((1, count), np.nan)
        law.law_initial(parameters.ctypes.data_as(vector), found["initial"].ctypes.data_as(vector))
    return found


OCTAVE = """
model = law();
points = {points};
signals = {signals};
for name = {{'rhs', 'jacobian', 'observe', 'diffusion', 'conditions', 'reset_0'}}
  if isfield(model, name{{1}})
    f = model.(name{{1}});
    for k = 1:rows(points)
      given = {{points(k, :)'}};
      if isfield(model, 'inputs') && ! strcmp(name{{1}}, 'conditions')
        given{{end + 1}} = signals(k, :)';
      end
      printf('%s', name{{1}}); printf(' %.17g', f({time}, given{{:}}, model.defaults).'); printf('\\n');
    end
  end
end
if isfield(model, 'initial')
  printf('initial'); printf(' %.17g', model.initial(model.defaults)); printf('\\n');
end
"""


def by_octave(system, points, folder):
    """MATLAB's language, run by Octave."""
    if shutil.which("octave-cli") is None:
        pytest.skip("octave is not installed")
    sciml.export.matlab(system, folder / "law.m")
    matrices = [_matrix(points), _matrix(signals(system, points))]
    (folder / "run.m").write_text(OCTAVE.format(points=matrices[0], signals=matrices[1], time=TIME))
    command = ["octave-cli", "--norc", "--quiet", "run.m"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, list] = {}
    for line in done.stdout.splitlines():
        name, *numbers = line.split()
        found.setdefault({"conditions": "events"}.get(name, name), []).append(list(map(float, numbers)))
    return {name: np.array(rows) for name, rows in found.items()}


def _matrix(rows):
    return "[" + "; ".join(" ".join(map(repr, row)) for row in rows.tolist()) + "]"


def by_onnx(system, points, folder, precision="float64"):
    """ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime.set_default_logger_severity(3)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(sciml.export.onnx(system, precision=precision), options)
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        pytest.skip(f"ONNX Runtime has no kernel for it in {precision}: {str(error)[-80:]}")
    given = {"inputs": signals(system, points).astype(precision)} if system.inputs else {}
    values = session.run(None, {"time": np.array(TIME, precision), "state": points.astype(precision), **given})
    names = {"rates": "rhs", "observed": "observe", "conditions": "events"}
    return {names.get(o.name, o.name): v for o, v in zip(session.get_outputs(), values)}


def by_libsbml(system, points, folder):
    """libsbml's writer and our reader: the derivatives after a round trip."""
    pytest.importorskip("libsbml", reason="python-libsbml is not installed")
    path = folder / "law.xml"
    sciml.export.sbml(replace(system, events=()), path)
    again = sciml.import_sbml(path)
    assert list(map(str, again.states)) == list(map(str, system.states))
    assert list(map(str, again.observed)) == list(map(str, system.observed))
    assert set(again.inputs) == set(system.inputs)
    return reference(again, points)


RUNNERS = {"python": by_python, "torch": by_torch, "jax": by_jax, "c": by_c, "octave": by_octave,
           "onnx": by_onnx, "libsbml": by_libsbml}  # fmt: skip


def difference(found, expected):
    """Largest difference of each function, relative to its largest value at a point."""
    worst = {}
    for name, values in expected.items():
        if name in found:
            size = np.maximum(np.abs(values).max(-1, keepdims=True), 1e-3)
            worst[name] = float((np.abs(found[name] - values) / size).max())
    return worst
