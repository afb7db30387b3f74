"""Inputs of one or many trajectories in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciml.signals.piecewise import Signals


class SignalRows:
    """The inputs along a batch of trajectories; of a single one, or one set that all share, there is one row.

    Args:
        signals: One per trajectory, or one for all.
    """

    def __init__(self, signals: Sequence[Signals]):
        longest = max(len(s.starts) for s in signals)
        count = signals[0].coefficients.shape[1]
        starts = np.full((len(signals), longest), np.inf)
        coefficients = np.zeros((len(signals), longest, count, 4))
        for row, s in enumerate(signals):
            starts[row, : len(s.starts)], coefficients[row, : len(s.starts)] = s.starts, s.coefficients
        self.jumps = np.where(np.isinf(starts[:, 1:]), np.nan, starts[:, 1:])
        self.starts, self.coefficients = torch.as_tensor(starts), torch.as_tensor(coefficients)

    def __call__(self, t: Tensor) -> Float[Tensor, "*batch input"]:
        """Values at the time, or at one time per trajectory, `(batch, 1)`."""
        clock = t.to(torch.float64)
        # A sum instead of `searchsorted`, which `torch.func.vmap` does not know.
        if clock.ndim == 0 and len(self.starts) == 1:
            piece = (self.starts[0, 1:] <= clock).sum(-1)
            start, c = self.starts[0][piece], self.coefficients[0][piece]
        else:
            clock = clock.reshape(-1, 1)
            piece = (self.starts[:, 1:] <= clock).sum(-1)
            row = torch.arange(len(self.starts)).expand(len(piece)) if len(self.starts) in (1, len(piece)) else None
            assert row is not None, "there is one row of inputs, or one per trajectory"
            start, c = self.starts[row, piece], self.coefficients[row, piece]
            clock = clock[:, 0]
        distance = (clock - start)[..., None]
        values = c[..., 0] + distance * (c[..., 1] + distance * (c[..., 2] + distance * c[..., 3]))
        return values.to(t.dtype)
