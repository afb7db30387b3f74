"""A small U-Net for images: residual blocks at two or three resolutions."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sciml.diffusion.networks.condition import Condition
from sciml.errors import ModelError


class UNet(nn.Module):
    """Residual blocks down and up again, joined across; for images of a few dozen pixels a side.

    Args:
        channels: Of an image.
        width: Channels at full resolution; twice as many at half, four times at a quarter.
        levels: Resolutions. Sides must be divisible by `2 ** (levels - 1)`.
        blocks: Residual blocks at each resolution.
        classes: Number of classes, for a network that takes labels.
        features: Length of the condition, for a network that takes vectors.
        dropout: Share of numbers inside a block that are set to zero while training.

    Raises:
        ModelError: A width that is not a multiple of 8.

    Example:
        >>> UNet(width=16)(torch.zeros(3, 1, 8, 8), torch.zeros(3)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        levels: int = 2,
        blocks: int = 1,
        classes: int | None = None,
        features: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % 8:
            raise ModelError(f"`width={width}` of the U-Net must be a multiple of 8.")
        self.classes, self.features, self.levels = classes, features, levels
        widths = [width * 2**k for k in range(levels)]
        self.condition = Condition(4 * width, classes, features)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, before = [width], width
        for k, after in enumerate(widths):
            for _ in range(blocks):
                self.down.append(_Block(before, after, 4 * width, dropout))
                skips.append(after)
                before = after
            if k < levels - 1:
                self.down.append(nn.Conv2d(before, before, 3, stride=2, padding=1))
                skips.append(before)
        self.middle = _Block(before, before, 4 * width, dropout)
        for k, after in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(_Block(before + skips.pop(), after, 4 * width, dropout))
                before = after
            if k:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.leave = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(
        self,
        x: Float[Tensor, "batch channel row column"],
        level: Float[Tensor, " batch"],
        condition: Tensor | None = None,
    ) -> Float[Tensor, "batch channel row column"]:
        factor = 2 ** (self.levels - 1)
        if x.ndim != 4 or x.shape[2] % factor or x.shape[3] % factor:
            raise ModelError(
                f"the U-Net got {tuple(x.shape)}; expected (batch, channel, row, column), sides in {factor}s."
            )
        embedding = self.condition(level, condition)
        h = self.enter(x)
        skips = [h]
        for module in self.down:
            h = module(h, embedding) if isinstance(module, _Block) else module(h)
            skips.append(h)
        h = self.middle(h, embedding)
        for module in self.up:
            h = module(torch.cat([h, skips.pop()], dim=1), embedding) if isinstance(module, _Block) else module(h)
        return self.leave(h)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, embedding: int, dropout: float):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.modulate = nn.Linear(embedding, 2 * after)
        self.drop = nn.Dropout(dropout)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.first(functional.silu(self.norms[0](x)))
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, dim=1)
        h = self.norms[1](h) * (1 + scale) + shift
        return self.skip(x) + self.second(self.drop(functional.silu(h)))
