"""Laws leave the building: Systems as text in other languages."""

from sciml.export.c import c
from sciml.export.jax import jax
from sciml.export.julia import julia
from sciml.export.latex import latex
from sciml.export.matlab import matlab
from sciml.export.modelica import modelica
from sciml.export.python import python
from sciml.export.torch import torch

__all__ = ["c", "jax", "julia", "latex", "matlab", "modelica", "python", "torch"]
