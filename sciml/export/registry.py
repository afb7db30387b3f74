"""All languages that Systems can be exported to, and what each of them can hold."""

from __future__ import annotations

from sciml.export.c import c
from sciml.export.jax import jax
from sciml.export.json import json
from sciml.export.julia import julia
from sciml.export.latex import latex
from sciml.export.markdown import markdown
from sciml.export.matlab import matlab
from sciml.export.modelica import modelica
from sciml.export.onnx import onnx
from sciml.export.protocol import Target
from sciml.export.python import python
from sciml.export.sbml import sbml
from sciml.export.torch import torch

CODE = frozenset({"networks", "derivatives of networks", "observables", "events", "noise", "inputs"})

TARGETS = (
    Target("python", "Python with NumPy", ".py", python, CODE | {"jacobian"}),
    Target("torch", "torch module", ".py", torch, CODE),
    Target("jax", "jax functions", ".py", jax, CODE),
    Target("c", "C99 with a header", ".c", c, CODE | {"jacobian"}),
    Target("matlab", "MATLAB and Octave", ".m", matlab, CODE | {"jacobian"}),
    Target("julia", "Julia, ModelingToolkit", ".jl", julia, CODE - {"noise"}),
    Target("modelica", "Modelica", ".mo", modelica, CODE - {"noise"}),
    Target("onnx", "ONNX, opset 17", ".onnx", onnx, CODE, needs="onnx"),
    Target("sbml", "SBML Level 3", ".xml", sbml, frozenset({"observables", "events", "inputs"}), needs="sbml"),
    Target("latex", "LaTeX", ".tex", latex, CODE),
    Target("markdown", "Markdown", ".md", markdown, CODE),
    Target("json", "JSON of our own", ".json", json, CODE | {"priors"}),
)


def targets() -> dict[str, Target]:
    """Everything that `sciml.export` writes, by the name of its function.

    Example:
        >>> targets()["c"].suffix, "networks" in targets()["sbml"].holds
        ('.c', False)
    """
    return {target.name: target for target in TARGETS}
