"""Where the time of one evaluation of loss and gradient goes, measured when it is asked for; a fit pays nothing for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import nn

from sciml.lowering.native_model import native_model
from sciml.lowering.networks import architectures
from sciml.lowering.program import Call, Program, lower, slot
from sciml.measurement.loss import Loss
from sciml.measurement.native_evaluator import NativeEvaluator
from sciml.measurement.problem import Problem
from sciml.measurement.torch_evaluator import TorchEvaluator
from sciml.native.meter import PARTS, seconds_of

ROUNDS = 5
"""Evaluations by torch of which the fastest counts."""


def timing(problem: Problem, vector: Float[np.ndarray, " theta"]) -> dict[str, float]:
    """Seconds of one evaluation by single shooting, in parts that add up to it; empty where it cannot be computed.

    Natively: each learned function and the rest of the right-hand side (with their reverse passes), the solver's own
    arithmetic, likelihood, penalties or costs, priors (with transforms of coordinates), and the call from Python. By
    torch the reverse pass is a part of its own, since autograd does not say what it is spent on.

    Args:
        problem: Whose loss.
        vector: Free coordinates.
    """
    if not np.isfinite(problem.value_and_gradient(vector)[0]):
        return {}
    evaluator = problem.loss.evaluator
    if isinstance(evaluator, NativeEvaluator):
        return _native(problem, evaluator, vector)
    return _torch(problem, problem.loss, vector)


def _native(problem: Problem, evaluator: NativeEvaluator, vector: np.ndarray) -> dict[str, float]:
    totals = [seconds_of(lambda count: [problem.value_and_gradient(vector) for _ in range(count)])]
    meter = evaluator.meter(vector)
    if meter is None:
        return {}
    # Before and behind it: what else the machine does comes and goes.
    totals.append(seconds_of(lambda count: [problem.value_and_gradient(vector) for _ in range(count)]))
    total = min(totals)
    field = meter.routines["field"]
    parts = _networks(problem, evaluator, field)
    parts["rest of the equations"] = max(0.0, sum(field.values()) - sum(parts.values()))
    for role, name in (("jacobian", "Jacobian of the equations"), ("conditions", "events"), ("rates", "events")):
        if role in meter.routines:
            parts[name] = parts.get(name, 0.0) + sum(meter.routines[role].values())
    if "resets" in meter.routines:
        parts["events"] += sum(meter.routines["resets"].values())
    parts["solver"] = meter.stepping
    if problem.cost is not None:
        parts["costs"] = meter.compared - meter.priced
    else:
        parts["likelihood"] = meter.compared - meter.priced
    if problem.penalties:
        parts["penalties"] = meter.priced
    parts["priors and coordinates"] = meter.coordinates
    # Many trajectories on several threads take less than on the one that was timed.
    inside = sum(parts.values())
    scale = min(1.0, total / inside)
    return {name: scale * value for name, value in parts.items()} | {"call from Python": max(0.0, total - inside)}


def _networks(problem: Problem, evaluator: NativeEvaluator, field: dict[str, float]) -> dict[str, float]:
    """Seconds of the networks in the right-hand side: their share of each of its parts, compiled by themselves."""
    system = problem.system
    if not system.learned:
        return {}
    program = lower(system, system.equations.values())
    alone = {k: _calls_alone(program, k) for k in range(len(system.learned))}
    roles = {f"network{k}_alone": found for k, found in alone.items() if found.results}
    if not roles:
        return {}
    sizes = architectures(problem.loss.field.networks)
    model = native_model({"field": next(iter(roles.values())), **roles}, sizes, len(system.states), roles)
    whole = evaluator.scalar_seconds(None, "field")
    found = {}
    for k, group in enumerate(system.learned):
        if f"network{k}_alone" in roles:
            own = evaluator.scalar_seconds(model, f"network{k}_alone")
            shares = {part: min(1.0, own[part] / whole[part]) if whole[part] else 0.0 for part in PARTS}
            found[_name(group)] = sum(shares[part] * field.get(part, 0.0) for part in PARTS)
    return found


def _calls_alone(program: Program, network: int) -> Program:
    """The calls of one network without what is computed around them."""
    calls = [step for step in program.steps if isinstance(step, Call) and step.network == network]
    places = [tuple(slot("y", i % program.states) for i, _ in enumerate(call.inputs)) for call in calls]
    steps = tuple(replace(call, inputs=inputs) for call, inputs in zip(calls, places))
    return replace(program, steps=steps, results=tuple(o.target for call in calls for o in call.outputs))


def _name(group) -> str:
    return "learned " + ", ".join(f"`{function.__name__}`" for function in group)


def _torch(problem: Problem, loss: Loss, vector: np.ndarray) -> dict[str, float]:
    """The fastest of some evaluations."""
    plain = Loss(problem.without_penalties()) if problem.penalties else None
    found = [_torch_once(problem, loss, vector, plain) for _ in range(ROUNDS)]
    return min(found, key=lambda parts: sum(parts.values()))


def _torch_once(problem: Problem, loss: Loss, vector: np.ndarray, plain: Loss | None) -> dict[str, float]:
    began = time.perf_counter()
    values, _ = loss.coordinates.values(vector)
    loss.coordinates.penalty(values)
    parts = {"priors and coordinates": time.perf_counter() - began}
    evaluator, numbers = loss.evaluator, loss.physical(vector)
    assert isinstance(evaluator, TorchEvaluator), "what is native does not come here"
    if problem.transitions is not None:  # a filter, or densities: no trajectory is solved
        began = time.perf_counter()
        evaluator.value_and_gradient(*numbers, 0.0)
        return {"likelihood of transitions": time.perf_counter() - began} | parts
    names = [_name(group) for group in problem.system.learned]
    with _clocks(dict(zip(names, loss.field.networks))) as inside:
        solving, likelihood, reverse = evaluator.sections(*numbers)
    found = inside | {"rest of equations, and solver": max(0.0, solving - sum(inside.values()))}
    if plain is not None and isinstance(plain.evaluator, TorchEvaluator):
        priced = likelihood
        _, likelihood, _ = plain.evaluator.sections(*plain.physical(vector))
        found |= {"penalties": max(0.0, priced - likelihood)}
        likelihood = min(likelihood, priced)
    return found | {"costs" if problem.cost is not None else "likelihood": likelihood, "reverse pass": reverse} | parts


@contextmanager
def _clocks(modules: dict[str, nn.Module]) -> Iterator[dict[str, float]]:
    """Seconds that modules spend going forward meanwhile."""
    inside, since, handles = dict.fromkeys(modules, 0.0), {}, []

    def before(name: str):
        since[name] = time.perf_counter()

    def after(name: str):
        inside[name] += time.perf_counter() - since[name]

    for name, module in modules.items():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: before(name)))
        handles.append(module.register_forward_hook(lambda *_, name=name: after(name)))
    try:
        yield inside
    finally:
        for handle in handles:
            handle.remove()
