"""Writing fits to files: JSON of whitelisted nodes and raw arrays in one safetensors file, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_bytes

from sciml.errors import ModelError
from sciml.fitting.monitor import Record
from sciml.lowering.networks import weights_of
from sciml.measurement.problem import Problem
from sciml.storage import write_atomically
from sciml.symbolic.cost import Cost
from sciml.symbolic.declarations import MLP
from sciml.symbolic.serialize import encode, encode_noise, encode_system

FORMAT, VERSION = "sciml-fit", 5
FIT_FIELDS = {"converged": bool, "message": str, "evaluations": int, "seconds": float, "seed": int}


def save(
    path: str | Path,
    problem: Problem,
    vector: np.ndarray,
    summary: Mapping[str, Any],
    notes: Sequence[str],
    history: Sequence[Record],
) -> Path:
    """Write a fit, its data and its System to one file.

    The file is written beside its place and then renamed, so that a broken write leaves the old one.

    Args:
        path: Where; the suffix `.sciml` is usual.
        problem: What was fitted.
        vector: Where the fit ended.
        summary: The numbers of `FIT_FIELDS`.
        notes, history: As in `Fit`.
    """
    tree, arrays = encode_system(problem.system)
    arrays["vector"] = np.asarray(vector, dtype=float)
    for k, network in enumerate(problem.system.learned.values()):
        if not isinstance(network, MLP):
            arrays[f"module.{k}"] = weights_of(network)
    for k, experiment in enumerate(problem.experiments):
        arrays[f"times.{k}"], arrays[f"values.{k}"] = experiment.times, experiment.values
        if problem.levels:
            arrays[f"levels.{k}"] = experiment.levels
        if experiment.initial:
            arrays[f"initial.{k}"] = np.array([experiment.initial[name] for name in sorted(experiment.initial)])
        if experiment.signals is not None:
            signals = experiment.signals
            arrays[f"pieces.{k}"], arrays[f"coefficients.{k}"] = signals.starts, signals.coefficients
            arrays[f"end.{k}"] = np.array([signals.end])
    content = {
        "format": FORMAT,
        "version": VERSION,
        "system": tree,
        "experiments": [experiment.name for experiment in problem.experiments],
        "columns": list(problem.columns),
        "noise": {name: encode_noise(model) for name, model in problem.likelihoods.items()},
        "levels": problem.levels,
        "penalties": [
            {"condition": encode(penalty.condition), "weight": penalty.weight, "points": penalty.points}
            for penalty in problem.inequalities
        ],
        "orthogonal": [
            {"functions": list(one.functions), "weight": one.weight, "points": one.points} for one in problem.orthogonal
        ],
        "cost": None if problem.cost is None else _encode_cost(problem.cost),
        "initial": sorted(problem.experiments[0].initial),
        "solver": _encode_option(problem.solver),
        "gradients": _encode_option(problem.gradients),
        "rtol": problem.rtol,
        "atol": problem.atol,
        "max_steps": problem.max_steps,
        "backend": problem.backend,
        "fit": {name: summary[name] for name in FIT_FIELDS},
        "notes": list(notes),
        "history": [list(asdict(record).values()) for record in history],
    }
    data = to_bytes({k: np.ascontiguousarray(a) for k, a in arrays.items()}, metadata={"sciml": json.dumps(content)})
    return write_atomically(Path(path), data)


def _encode_cost(cost: Cost) -> dict[str, Any]:
    return {"running": encode(cost.running), "terminal": encode(cost.terminal), "times": [cost.begin, cost.end]}


def _encode_option(option: Any) -> dict[str, Any]:
    """A solver or gradient method: the name of its class, and those fields that are not at their default."""
    values = {f.name: getattr(option, f.name) for f in fields(option) if f.init}
    changed = {f.name: values[f.name] for f in fields(option) if f.init and values[f.name] != f.default}
    if not all(isinstance(value, int | float) for value in changed.values()):
        raise ModelError(f"`{type(option).__name__}` holds more than numbers, which a file cannot hold safely.")
    return {"name": type(option).__name__, "fields": changed}
