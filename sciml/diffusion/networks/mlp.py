"""A residual perceptron whose layers are modulated by noise level and condition."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from sciml.diffusion.networks.condition import Condition


class ScoreMLP(nn.Module):
    """A network for vectors: residual layers, each scaled and shifted by the embedding of noise level and condition.

    Args:
        dimension: Length of a sample; samples of any shape are flattened to it.
        hidden: Width.
        layers: Residual layers.
        classes: Number of classes, for a network that takes labels.
        features: Length of the condition, for a network that takes vectors.
        dropout: Share of inner units that are set to zero while training, against copying few data.

    Example:
        >>> import torch
        >>> network = ScoreMLP(2)
        >>> network(torch.zeros(5, 2), torch.zeros(5)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        dimension: int,
        hidden: int = 128,
        layers: int = 3,
        classes: int | None = None,
        features: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.classes, self.features = classes, features
        self.condition = Condition(hidden, classes, features)
        self.enter = nn.Linear(dimension, hidden)
        self.layers = nn.ModuleList(_Layer(hidden, dropout) for _ in range(layers))
        self.leave = nn.Linear(hidden, dimension)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Float[Tensor, " batch *shape"], level: Float[Tensor, " batch"], condition: Tensor | None = None
    ) -> Float[Tensor, " batch *shape"]:
        embedding = self.condition(level, condition)
        h = self.enter(x.flatten(1))
        for layer in self.layers:
            h = layer(h, embedding)
        return self.leave(silu(h)).view_as(x)


class _Layer(nn.Module):
    def __init__(self, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)
        self.modulate = nn.Linear(hidden, 2 * hidden)
        self.drop = nn.Dropout(dropout)
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        nn.init.zeros_(self.outer.weight)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=1)
        modulated = self.norm(h) * (1 + scale) + shift
        return h + self.outer(self.drop(silu(self.inner(silu(modulated)))))
