"""Reading the JSON that `sciml.export.json` wrote."""

from __future__ import annotations

import json as plain
from itertools import pairwise
from pathlib import Path

import numpy as np

from sciml.errors import DataError
from sciml.symbolic.declarations import MLP
from sciml.symbolic.serialize import UNREADABLE, decode_system
from sciml.symbolic.system import System

LARGEST = 50_000_000  # characters; the weights of a network of a million


def import_json(path: str | Path | None = None, *, text: str | None = None) -> System:
    """The System in a JSON file of `sciml.export.json`. The file is data: nothing in it is run.

    Args:
        path: The file.
        text: Its content, in place of a file.

    Raises:
        DataError: The file is missing, broken, of another version, or holds anything but a System.

    Example:
        >>> import sympy as sp, sciml
        >>> x = sp.Symbol("x", real=True)
        >>> import_json(text=sciml.export.json(sciml.System({x: -x})))
        System(x' = -x)
    """
    if (path is None) == (text is None):
        raise DataError("give either a path or the text of the file: `import_json(path)`, `import_json(text=...)`.")
    where = "the text" if path is None else f"`{path}`"
    content = text if path is None else _content(Path(path))
    assert content is not None, "one of path and text is given"
    if len(content) > LARGEST:
        raise DataError(f"{where} has {len(content)} characters; at most {LARGEST} are read.")
    try:
        tree = plain.loads(content)
        arrays = {str(name): np.array(values, dtype=float) for name, values in tree["arrays"].items()}
        if any(array.ndim != 1 or not np.isfinite(array).all() for array in arrays.values()):
            raise DataError(f"{where} holds weights that are not lists of finite numbers.")
        system = decode_system(tree, arrays)
    except DataError:
        raise
    except (*UNREADABLE, RecursionError) as error:
        raise DataError(f"{where} cannot be read as a System ({error}).") from error
    for group, network in system.learned.items():
        if isinstance(network, MLP) and network.weights is not None:
            widths = [system.arity(group), *network.hidden, len(group)]
            needed = sum((before + 1) * after for before, after in pairwise(widths))
            if len(network.weights) != needed:
                raise DataError(f"{where} holds {len(network.weights)} weights for a network that has {needed}.")
    return system


def _content(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"`{path}` is not text in UTF-8 ({error}).") from error
