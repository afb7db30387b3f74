"""Reading fits from files that may come from anyone: nothing in them is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from sciml import solvers
from sciml.errors import DataError, quoted
from sciml.fitting.monitor import Record
from sciml.fitting.result import Fit
from sciml.fitting.saving import FIT_FIELDS, FORMAT, VERSION
from sciml.lowering.networks import set_weights
from sciml.measurement.problem import Problem
from sciml.signals import Signals
from sciml.symbolic.cost import Cost
from sciml.symbolic.declarations import MLP
from sciml.symbolic.orthogonal import Orthogonal
from sciml.symbolic.penalty import Penalty
from sciml.symbolic.serialize import UNREADABLE, Decoder, decode_noise, decode_system
from sciml.symbolic.system import System

SOLVERS = tuple(
    member
    for member in vars(solvers).values()
    if isinstance(member, type)
    and issubclass(member, solvers.AbstractSolver)
    and not member.__name__.startswith("Abstract")
)


def load(path: str | Path, modules: Mapping[str, Any] | None = None) -> Fit:
    """Read a fit that `fit.save` wrote. Files are data: nothing in them is run.

    Args:
        path: The file.
        modules: Name of a learned function -> torch module of the class it was fitted with, for networks that are
            not `MLP`s. Its weights are overwritten in a copy.

    Raises:
        DataError: The file is missing, broken, of another version, or holds anything but a fit.

    Example:
        >>> import tempfile, sciml, sympy as sp
        >>> a, b = sp.symbols("a b", real=True)
        >>> hare, lynx = sp.symbols("hare lynx", real=True)
        >>> rates = {a: sciml.Parameter(0.5), b: sciml.Parameter(0.02)}
        >>> model = sciml.System({hare: a * hare - b * hare * lynx, lynx: b * hare * lynx - lynx}, parameters=rates)
        >>> fit = sciml.fit(sciml.Problem(model, sciml.datasets.hudson_bay()))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = load(fit.save(f"{folder}/pelts.sciml"))
        >>> again.loss == fit.loss
        True
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    try:
        with safe_open(path, framework="numpy") as file:
            content = json.loads((file.metadata() or {})["sciml"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if not isinstance(content, dict) or content["format"] != FORMAT:
            raise DataError(f"`{path}` does not hold a fit.")
        if content["version"] != VERSION:
            raise DataError(f"`{path}` is of version {content['version']}; this version of sciml reads {VERSION}.")
        return _decode(content, arrays, modules)
    except DataError:
        raise
    except (SafetensorError, *UNREADABLE) as error:
        raise DataError(f"`{path}` cannot be read as a fit; it may be broken or of another kind ({error}).") from error


def _decode(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], modules: Mapping[str, Any] | None) -> Fit:
    decoder = Decoder()
    modules = {name: deepcopy(module) for name, module in (modules or {}).items()}
    system = decode_system(content["system"], arrays, modules, decoder)
    vector = np.array(arrays["vector"], dtype=float)
    for k, (group, network) in enumerate(system.learned.items()):
        if not isinstance(network, MLP):
            set_weights(network, arrays[f"module.{k}"])
        elif _weights(network, system.arity(group), len(group)) > len(vector):
            raise DataError(f"the vector in the file has {len(vector)} numbers, too few for a network of {network}.")
    penalties = [
        Penalty(decoder.decode(tree["condition"]), float(tree["weight"]), int(tree["points"]))
        for tree in content["penalties"]
    ]
    orthogonal = [
        Orthogonal([str(name) for name in tree["functions"]], float(tree["weight"]), int(tree["points"]))
        for tree in content["orthogonal"]
    ]
    problem = Problem(
        system,
        **_decode_cost(content, arrays, decoder) if content["cost"] else _decode_data(content, arrays, system, decoder),
        penalties=[*penalties, *orthogonal],
        solver=_decode_option(content["solver"], SOLVERS),
        gradients=_decode_option(content["gradients"], (solvers.Backsolve, solvers.Checkpointed, solvers.Direct)),
        rtol=float(content["rtol"]),
        atol=float(content["atol"]),
        max_steps=int(content["max_steps"]),
        backend=str(content["backend"]),
    )
    if vector.shape != (len(problem.loss.coordinates),) or not np.isfinite(vector).all():
        raise DataError(f"the vector in the file has shape {vector.shape}; the problem needs finite numbers, "
                        f"{len(problem.loss.coordinates)} of them.")  # fmt: skip
    return Fit(
        problem=problem,
        vector=vector,
        history=tuple(Record(str(s), int(k), float(v), float(g)) for s, k, v, g in content["history"]),
        notes=tuple(map(str, content["notes"])),
        **{name: kind(content["fit"][name]) for name, kind in FIT_FIELDS.items()},
    )


def _decode_data(
    content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], system: System, decoder: Decoder
) -> dict[str, Any]:
    """What a Problem with measurements takes."""
    return {
        "data": {name: _decode_frame(content, arrays, k) for k, name in enumerate(content["experiments"])},
        "noise": {name: decode_noise(tree, decoder) for name, tree in content["noise"].items()},
        "inputs": _signals(arrays, content["experiments"], len(system.inputs)) if system.inputs else None,
    }


def _decode_cost(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], decoder: Decoder) -> dict[str, Any]:
    """What a Problem with a cost takes."""
    tree, names = content["cost"], [str(name) for name in content["initial"]]
    begin, end = map(float, tree["times"])
    cost = Cost(decoder.decode(tree["running"]), decoder.decode(tree["terminal"]), begin, end)
    if not (np.isfinite([begin, end]).all() and begin < end):
        raise DataError(f"the cost in the file runs from {begin} to {end}.")
    rows = [arrays[f"initial.{k}"] for k, _ in enumerate(content["experiments"])] if names else []
    return {"cost": cost, "initial_states": pd.DataFrame(np.array(rows), columns=names) if names else None}


def _decode_frame(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], k: int) -> pd.DataFrame:
    """The measurements of one experiment, with the columns that multiply noise levels."""
    columns = content["columns"]
    frame = pd.DataFrame(arrays[f"values.{k}"], index=arrays[f"times.{k}"], columns=columns)
    for column, level in content["levels"].items():
        factor = pd.Series(arrays[f"levels.{k}"][:, columns.index(column)], index=frame.index)
        factor = factor.where(frame[column].notna())
        frame[level] = frame[level].fillna(factor) if level in frame else factor
    return frame


def _signals(arrays: Mapping[str, np.ndarray], names: list[str], count: int) -> list[Signals]:
    """The inputs of all experiments, as polynomials."""
    found = []
    for k, name in enumerate(names):
        starts, end, c = (arrays[f"{part}.{k}"] for part in ("pieces", "end", "coefficients"))
        if c.shape != (len(starts), count, 4) or end.shape != (1,) or not (np.diff(starts) > 0).all():
            raise DataError(f"the inputs of `{str(name)[:40]}` in the file do not fit the System.")
        if not all(np.isfinite(part).all() for part in (starts, end, c)):
            raise DataError(f"the inputs of `{str(name)[:40]}` in the file are not finite.")
        found.append(Signals(starts, float(end[0]), c))
    return found


def _weights(mlp: MLP, inputs: int, outputs: int) -> int:
    """How many weights and biases a network has, before memory is taken for them."""
    return sum((before + 1) * after for before, after in pairwise([inputs, *mlp.hidden, outputs]))


def _decode_option(tree: Mapping[str, Any], classes: tuple[type, ...]) -> Any:
    """One of the classes, with numbers for fields."""
    known = {cls.__name__: cls for cls in classes}
    name, values = tree["name"], tree["fields"]
    if name not in known or not all(value is None or isinstance(value, int | float) for value in values.values()):
        raise DataError(f"the file names a solver `{str(name)[:40]}` that is not known. There are {quoted(known)}.")
    return known[name](**values)
