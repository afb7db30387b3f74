"""Laws leave the building: Systems as text in other languages."""

from sciml.export.c import c
from sciml.export.jax import jax
from sciml.export.json import json
from sciml.export.julia import julia
from sciml.export.latex import latex
from sciml.export.markdown import markdown
from sciml.export.matlab import matlab
from sciml.export.modelica import modelica
from sciml.export.onnx import onnx
from sciml.export.python import python
from sciml.export.registry import targets
from sciml.export.sbml import sbml
from sciml.export.torch import torch

__all__ = [
    "c",
    "jax",
    "json",
    "julia",
    "latex",
    "markdown",
    "matlab",
    "modelica",
    "onnx",
    "python",
    "sbml",
    "targets",
    "torch",
]
