"""Control of generation: scores of data under a condition, exact where they were learned with it, else approximate."""

from sciml.diffusion.guidance.classifier import ClassifierFree, Guided
from sciml.diffusion.guidance.linear import LinearInverse, inpainting

__all__ = ["ClassifierFree", "Guided", "LinearInverse", "inpainting"]
