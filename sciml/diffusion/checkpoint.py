"""The state of a training run in one file of arrays, wholly written or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sciml.errors import DataError
from sciml.storage import write_atomically

FORMAT = "sciml-diffusion-training"


def write(path: Path, settings: Mapping[str, Any], progress: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint.

    Args:
        path: The file.
        settings: What the run was asked for; a run resumes only under the same.
        progress: Step, losses and counts so far.
        tensors: Weights, averages and the optimizer's moments.
    """
    metadata = {"format": FORMAT, "settings": json.dumps(settings), "progress": json.dumps(progress)}
    write_atomically(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))


def read(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's progress and tensors.

    Raises:
        DataError: The file is no checkpoint, or one of a run with other settings.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(f"`{path}` cannot be read as a checkpoint: {error}. Remove it to start anew.") from error
    if metadata.get("format") != FORMAT:
        raise DataError(f"`{path}` is not a checkpoint of `sciml.diffusion.train`. Remove it, or name another file.")
    found = json.loads(metadata["settings"])
    wanted = json.loads(json.dumps(settings))
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise DataError(
                f"the checkpoint `{path}` is of a run with `{name}={found.get(name)}`; this one has "
                f"`{name}={wanted[name]}`. Resume with the same settings, or remove the file to start anew."
            )
    return json.loads(metadata["progress"]), tensors


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module under names with a prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a module from a checkpoint.

    Raises:
        DataError: The file holds another network.
    """
    own = {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise DataError(f"the checkpoint `{path}` holds another network: {error}") from error


def moment_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts, by the number of the parameter."""
    state = optimizer.state_dict()["state"]
    return {f"adam.{i}.{name}": torch.as_tensor(value) for i, own in state.items() for name, value in own.items()}


def load_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `moment_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
