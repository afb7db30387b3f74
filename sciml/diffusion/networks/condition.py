"""What a network is told beside the state: the noise level, and a condition that may be left out."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciml.errors import DataError, ModelError


class Condition(nn.Module):
    """An embedding of the noise level and of a condition: class labels, or features.

    A condition that is left out is the label -1, or a row of NaN, and has an embedding of its own, so that one network
    learns the score with and without it.

    Args:
        width: Length of the embedding.
        classes: Number of classes, for labels 0, 1, …
        features: Length of a vector of features.

    Raises:
        ModelError: Classes and features at once, or counts below one.
    """

    def __init__(self, width: int, classes: int | None = None, features: int | None = None):
        super().__init__()
        if classes is not None and features is not None:
            raise ModelError("a condition is either a label (`classes=`) or a vector (`features=`), not both.")
        for name, count in (("classes", classes), ("features", features)):
            if count is not None and count < 1:
                raise ModelError(f"`{name}={count}` must be a positive number.")
        self.classes, self.features = classes, features
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.register_buffer("frequencies", torch.exp(torch.linspace(math.log(0.25), math.log(64.0), width // 2)))
        if classes is not None:
            self.embed: nn.Module = nn.Embedding(classes + 1, width)
        elif features is not None:
            self.embed = nn.Sequential(nn.Linear(features + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU())

    def forward(self, level: Float[Tensor, " batch"], condition: Tensor | None) -> Float[Tensor, "batch width"]:
        """The embedding of noise levels (as the preconditioning scales them) and conditions."""
        angles = level[:, None] * self.frequencies
        found = self.level(torch.cat([angles.sin(), angles.cos()], dim=1))
        if self.classes is not None and condition is not None:
            found = found + self.embed(torch.where(condition < 0, self.classes, condition))
        elif self.features is not None and condition is not None:
            absent = condition.isnan().any(dim=1, keepdim=True)
            known = torch.where(absent, torch.zeros_like(condition), condition)
            found = found + self.embed(torch.cat([known, absent.to(known.dtype)], dim=1))
        return self.mix(found)


def checked_condition(network: Any, condition: Any, count: int | None, name: str = "condition") -> Tensor | None:
    """A condition as a network takes it: labels in their range, or rows of features.

    Args:
        network: May say `classes` or `features`; one of the user's own that says neither gets the tensor as it is.
        condition: Labels or features; one for all samples, or one for each.
        count: Number of samples, or None where any will do.
        name: How messages call it.

    Raises:
        DataError: Labels out of range, of another type, or a wrong shape.
        ModelError: A condition is needed, or none is taken.
    """
    classes, features = getattr(network, "classes", None), getattr(network, "features", None)
    if condition is None:
        return None
    value = torch.as_tensor(condition)
    if classes is None and features is None:
        if isinstance(network, nn.Module) and hasattr(network, "classes"):
            raise ModelError(f"`{name}` is given, but the network takes none. Make it with `classes=` or `features=`.")
        return value
    if classes is not None:
        if value.is_floating_point() or value.ndim > 1:
            raise DataError(
                f"`{name}` has dtype {value.dtype} and shape {tuple(value.shape)}. Expected whole numbers, one a sample."
            )
        wrong = value[(value < 0) | (value >= classes)]
        if wrong.numel():
            raise DataError(f"`{name}` holds the label {int(wrong.ravel()[0])}. Expected 0 to {classes - 1}.")
        value = value.long()
        value = value.expand(count or 1) if value.ndim == 0 else value
    else:
        value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
        value = value.expand(count or 1, -1) if value.ndim == 1 else value
        if value.ndim != 2 or value.shape[1] != features:
            raise DataError(f"`{name}` has shape {tuple(value.shape)}. Expected ({features},) or (sample, {features}).")
        if not torch.isfinite(value).all():
            raise DataError(f"`{name}` holds numbers that are not finite.")
    if count is not None and len(value) != count:
        raise DataError(f"`{name}` has {len(value)} rows for {count} samples. Give one for each, or one for all.")
    return value
