"""Networks ready-made for scores: a residual perceptron, and a small U-Net."""

from sciml.diffusion.networks.condition import Condition
from sciml.diffusion.networks.mlp import ScoreMLP
from sciml.diffusion.networks.unet import UNet

__all__ = ["Condition", "ScoreMLP", "UNet"]
