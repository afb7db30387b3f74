"""A network as a denoiser and as a score, by EDM's preconditioning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sciml.diffusion.networks.condition import checked_condition
from sciml.diffusion.processes import AbstractProcess
from sciml.errors import DataError, ModelError

Score = Callable[[Tensor, Tensor], Tensor]


class Denoiser(nn.Module):
    r"""The score of a process, learned as the mean of the data given a noisy sample.

    In :math:`\hat x = x/m` with noise level :math:`\sigma`, and :math:`\sigma_d` the spread of the data,

    .. math:: D(\hat x, \sigma) = c_{skip} \hat x + c_{out} F(c_{in} \hat x, c_{noise}),\qquad
              \nabla_x \log p_t(x) = \frac{D - \hat x}{m\,\sigma^2},

    with the coefficients for which inputs and targets of F have unit variance at every level, so that the same network
    serves every process.

    Args:
        network: F, any module that takes `(x, level)`, or `(x, level, condition)`, with `level` of shape (batch,).
        process: The forward process.
        spread: Standard deviation of the data.
        absent: What stands for a condition that is left out: -1 for labels, NaN for features; None if the network
            takes no condition.

    Reference:
        Karras, Aittala, Aila, Laine (2022), arXiv:2206.00364, eqs. 3 and 7, table 1.
    """

    absent: Tensor | None

    def __init__(self, network: nn.Module, process: AbstractProcess, spread: float, absent: Tensor | None = None):
        super().__init__()
        if not 0 < spread < float("inf"):
            raise DataError(f"the spread of the data is {spread}: expected a positive number.")
        self.network, self.process, self.spread = network, process, float(spread)
        self.register_buffer("absent", absent)

    def denoise(
        self, x: Float[Tensor, " batch *shape"], level: Float[Tensor, " batch *ones"], condition: Tensor | None = None
    ) -> Float[Tensor, " batch *shape"]:
        """The mean of the data given `x` = data + level · noise."""
        total = (level**2 + self.spread**2).sqrt()
        c_skip = (self.spread / total) ** 2
        c_out = level * self.spread / total
        c_noise = level.reshape(len(x)).log() / 4
        if self.absent is None:
            return c_skip * x + c_out * self.network(x / total, c_noise)
        if condition is None:
            condition = self.absent.expand(len(x), *self.absent.shape)
        return c_skip * x + c_out * self.network(x / total, c_noise, condition)

    def forward(
        self, x: Float[Tensor, " batch *shape"], t: Float[Tensor, " batch *ones"], condition: Tensor | None = None
    ) -> Float[Tensor, " batch *shape"]:
        """The score at time t, of all data or under a condition."""
        t = t.expand(len(x), *(1,) * (x.ndim - 1))
        mean, level = self.process.mean(t).to(x.dtype), self.process.noise_level(t).to(x.dtype)
        scaled = x / mean
        return (self.denoise(scaled, level, condition) - scaled) / (mean * level**2)

    def given(self, condition: Any) -> ConditionalScore:
        """The score under a condition: of one for all samples, or of one for each.

        Raises:
            ModelError: The score was learned without conditions.
            DataError: Labels out of range, or features of the wrong shape.
        """
        if self.absent is None:
            raise ModelError(
                "the score was learned without a condition: `train(..., condition=...)` learns it with one."
            )
        if condition is None:
            raise ModelError("`condition` is None: give labels or features, or use the score itself, which has none.")
        value = checked_condition(self.network, condition, None)
        assert value is not None, "a condition that is not None stays one"
        return ConditionalScore(self, value)


class ConditionalScore:
    """The score of a `Denoiser` under a given condition.

    Args:
        denoiser: The score that was learned with conditions.
        condition: One row for all samples, or a row for each.
    """

    def __init__(self, denoiser: Denoiser, condition: Tensor):
        self.denoiser, self.condition, self.process = denoiser, condition, denoiser.process

    def parameters(self):
        """The network's parameters."""
        return self.denoiser.parameters()

    def _rows(self, x: Tensor) -> Tensor:
        rows = self.condition.to(x.dtype) if self.condition.is_floating_point() else self.condition
        if len(rows) not in (1, len(x)):
            raise DataError(
                f"there are {len(rows)} conditions for {len(x)} samples: give one for each, or one for all."
            )
        return rows.expand(len(x), *rows.shape[1:])

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """The mean of the data given a noisy sample and the condition."""
        return self.denoiser.denoise(x, level, self._rows(x))

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.denoiser(x, t, self._rows(x))
