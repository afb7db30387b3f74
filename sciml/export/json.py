"""Systems as JSON, our own format: it holds everything, and reading it runs nothing."""

from __future__ import annotations

import json as plain
from pathlib import Path

from sciml.errors import ModelError, quoted
from sciml.export.protocol import finish
from sciml.symbolic.declarations import MLP
from sciml.symbolic.serialize import encode_system
from sciml.symbolic.system import System


def json(system: System, path: str | Path | None = None) -> str:
    """A System as JSON: expression trees of whitelisted nodes, and the weights of networks to the last digit.

    `sciml.import_json` reads it back exactly. The version of the format stands in the file.

    Args:
        system: Any, with networks that are `MLP`s.
        path: Where to write it, too.

    Raises:
        ModelError: A learned term that is a torch module of the user's own, or a function that the format lacks.

    Example:
        >>> import sympy as sp
        >>> from sciml import System, import_json
        >>> x, k = sp.symbols("x k", real=True)
        >>> decay = System({x: -k * x}, parameters={k: 0.5})
        >>> import_json(text=json(decay)) == decay
        True
    """
    for group, network in system.learned.items():
        if not isinstance(network, MLP):
            raise ModelError(
                f"{quoted(group)} is learned by a torch module of class `{type(network).__name__}`, which JSON cannot hold. "
                "Use an `MLP`, or `fit.save`."
            )
    tree, arrays = encode_system(system)
    tree["arrays"] = {name: [float(value) for value in array] for name, array in arrays.items()}
    return finish(plain.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)
