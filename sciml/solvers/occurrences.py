"""What a solution tells of its events."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Occurrences:
    """The events of a solve as a table, by trajectory and then in the order in which they were met.

    Args:
        event: Index in the list of events.
        trajectory: Index in the batch; 0 without a batch.
        times: When; differentiable.
        states: The states there, before any reset; differentiable.
    """

    event: Int[np.ndarray, " occurrence"]
    trajectory: Int[np.ndarray, " occurrence"]
    times: Float[Tensor, " occurrence"]
    states: Float[Tensor, "occurrence ..."]

    def __len__(self) -> int:
        return len(self.event)

    def select(self, event: int | None = None, trajectory: int | None = None) -> "Occurrences":
        """Those of one event, of one trajectory, or both.

        Example:
            >>> from sciml import Event, solve
            >>> y0, ts = torch.zeros(1, dtype=torch.float64), torch.tensor([0.0, 3.0], dtype=torch.float64)
            >>> whole = Event(lambda t, y: torch.sin(torch.pi * y[..., 0]))
            >>> solve(lambda t, y: 1 + 0 * y, y0, ts, events=[whole]).events.select(event=0).times.round(decimals=6)
            tensor([1., 2.], dtype=torch.float64)
        """
        keep = np.ones(len(self.event), dtype=bool)
        if event is not None:
            keep &= self.event == event
        if trajectory is not None:
            keep &= self.trajectory == trajectory
        rows = torch.as_tensor(np.flatnonzero(keep), device=self.times.device)
        return Occurrences(self.event[keep], self.trajectory[keep], self.times[rows], self.states[rows])
