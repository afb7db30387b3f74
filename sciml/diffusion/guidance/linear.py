"""Linear inverse problems and inpainting by an approximate likelihood of noisy samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.diffusion.processes import AbstractProcess
from sciml.errors import DataError, ModelError

Score = Callable[[Tensor, Tensor], Tensor]


class LinearInverse:
    r"""An approximate score of data given :math:`y = A x_0 + \epsilon`, by pseudo-inverse guidance.

    The data given a noisy sample are taken to be Gaussian around the denoiser with variance
    :math:`r^2 = \sigma^2 \sigma_d^2 / (\sigma^2 + \sigma_d^2)`, so that

    .. math:: \nabla \log p_t(y \mid x_t) \approx \left(\frac{\partial A D}{\partial x}\right)^T
              (\tau^2 I + r^2 A A^T)^{-1} (y - A D(x_t)).

    It is exact for Gaussian data of spread σ_d. **For others it is not**: where the data given a noisy sample have several
    modes, their weights come out wrong, and no number of steps mends it. A score learned with its condition
    (`train(..., condition=y)`) is exact in the limit.

    Args:
        process: The forward process.
        score: Of all data, differentiable by torch.
        operator: A, a row for each measured number, a column for each component of a flattened sample.
        measured: y; one for all samples, or one for each.
        noise: τ, standard deviation of the measurement's noise.
        spread: σ_d, standard deviation of the data.

    Raises:
        ModelError: `process` is none.
        DataError: Shapes that do not fit, numbers that are not finite, or a negative standard deviation.

    Reference:
        Song, Vahdat, Mardani, Kautz (2023), ICLR, eqs. 7 to 9; Chung and others (2023), arXiv:2209.14687.
    """

    def __init__(
        self,
        process: AbstractProcess,
        score: Score,
        operator: Float[Tensor, "number component"],
        measured: Float[Tensor, "*batch number"],
        noise: float = 0.0,
        spread: float = 1.0,
    ):
        if not isinstance(process, AbstractProcess):
            raise ModelError(
                f"`process` is a `{type(process).__name__}`: expected is `LinearInverse(EDM(), score, ...)`."
            )
        if operator.ndim != 2 or measured.shape[-1:] != operator.shape[:1] or measured.ndim > 2:
            raise DataError(
                f"`operator` has shape {tuple(operator.shape)} and `measured` {tuple(measured.shape)}. Expected (number, "
                "component) and (number,) or (sample, number)."
            )
        if not (torch.isfinite(operator).all() and torch.isfinite(measured).all()):
            raise DataError("`operator` and `measured` must be finite numbers.")
        if not (0 <= noise < float("inf") and 0 < spread < float("inf")):
            raise DataError(f"`noise={noise}` must not be negative, `spread={spread}` must be positive.")
        self.process, self.score, self.noise, self.spread = process, score, float(noise), float(spread)
        self.operator, self.measured = operator, measured
        # A A^T = U diag(e) U^T: at every noise level the matrix is inverted by dividing.
        self._eigenvalues, self._vectors = torch.linalg.eigh(operator @ operator.T)

    def parameters(self):
        """Those of the score, if it has any."""
        return getattr(self.score, "parameters", lambda: iter(()))()

    def __call__(
        self, x: Float[Tensor, " batch *shape"], t: Float[Tensor, " batch *ones"]
    ) -> Float[Tensor, " batch *shape"]:
        if self.operator.shape[1] != x[0].numel():
            raise DataError(f"`operator` is for {self.operator.shape[1]} components; samples have {x[0].numel()}.")
        mean, level = self.process.mean(t), self.process.noise_level(t)
        with torch.enable_grad():
            watched = x if x.requires_grad else x.detach().requires_grad_()
            slope = self.score(watched, t)
            denoised = (watched / mean + level**2 * mean * slope).flatten(1)
            missing = self.measured - denoised @ self.operator.T
            variance = (level**2 * self.spread**2 / (level**2 + self.spread**2)).reshape(-1, 1)
            rotated = missing.detach() @ self._vectors / (self.noise**2 + variance * self._eigenvalues).clamp(min=1e-12)
            # The chain rule with the weighted misfit held constant.
            target = (denoised @ self.operator.T * (rotated @ self._vectors.T)).sum()
            (pull,) = torch.autograd.grad(target, watched)
        return slope.detach() + pull


def inpainting(
    process: AbstractProcess,
    score: Score,
    known: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    noise: float = 0.0,
    spread: float = 1.0,
) -> LinearInverse:
    """An approximate score of data of which some components are known: `LinearInverse` with rows of the unit matrix.

    Args:
        process, score: As for `LinearInverse`.
        known: One sample; its values count where the mask is true.
        mask: Which components are known.
        noise: Standard deviation of the known values.
        spread: Standard deviation of the data.

    Raises:
        DataError: Mask and sample of different shape, or nothing known.

    Example:
        >>> from sciml.diffusion import EDM
        >>> known, mask = torch.tensor([1.0, 0.0]), torch.tensor([True, False])
        >>> half = inpainting(EDM(), lambda x, t: -x / (1 + t**2), known, mask)
        >>> half(torch.zeros(1, 2), torch.ones(1, 1)).round(decimals=4)
        tensor([[1., 0.]])
    """
    if mask.shape != known.shape or mask.dtype != torch.bool:
        raise DataError(f"`mask` is {mask.dtype} {tuple(mask.shape)}. Expected bool, shape {tuple(known.shape)}.")
    if not mask.any():
        raise DataError("`mask` is false everywhere: nothing is known. Sample by the score itself.")
    places = mask.flatten().nonzero().flatten()
    operator = torch.eye(mask.numel(), dtype=known.dtype, device=known.device)[places]
    return LinearInverse(process, score, operator, known.flatten()[places], noise, spread)
