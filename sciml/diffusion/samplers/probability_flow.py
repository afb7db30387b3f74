"""The probability flow by the library's own adaptive solvers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciml.diffusion.samplers.protocol import AbstractSampler, Reverse
from sciml.errors import ModelError
from sciml.solvers import AbstractSolver, Tsit5, solve


@dataclass(frozen=True)
class ProbabilityFlow(AbstractSampler):
    """The ordinary differential equation with the process's marginals, each sample with steps of its own.

    Args:
        solver: Any method of `sciml.solve`.
        rtol, atol: Tolerances of one step.
        max_steps: Of one sample.

    Raises:
        ModelError: `solver` is no method.

    Reference:
        Song and others (2021), arXiv:2011.13456, section 4.3.
    """

    solver: AbstractSolver = Tsit5()  # noqa: RUF009 (frozen)
    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 100_000

    def __post_init__(self):
        if not isinstance(self.solver, AbstractSolver):
            raise ModelError(f"`solver={self.solver!r}` is no method: use `Tsit5()`, `Dopri8()` or another of `sciml`.")

    def run(self, reverse: Reverse, x: Tensor) -> Tensor:
        process = reverse.process

        def field(t: Tensor, y: Tensor) -> Tensor:
            of_state, of_score = process.flow_coefficients(t)
            reverse.evaluations += 1
            return of_state * y + of_score * reverse.checked(reverse.score(y, t.expand(len(y), *t.shape[1:])), y)

        ts = torch.tensor([process.end, process.start], dtype=x.dtype, device=x.device)
        options = {"solver": self.solver, "rtol": self.rtol, "atol": self.atol, "max_steps": self.max_steps}
        return solve(field, x, ts, **options).ys[:, -1]
