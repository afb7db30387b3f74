"""Which files of this package a piece of code is made of, and the digest by which its machine code is kept."""

import hashlib
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^\s*(?:from\s+(sciml[\w.]*)\s+import\s+(\([^)]*\)|.*)|import\s+(sciml[\w.]*))", re.MULTILINE)
VERSIONS = f"numba {version('numba')} llvmlite {version('llvmlite')}"
"""The compilers; numba itself tells processors apart."""


def imported(source: str, root: Path = ROOT) -> set[Path]:
    """Files of the package that some source names in its import statements.

    Packages on the way to a module do not count: their `__init__` gives the source nothing.

    Args:
        source: Python text, with absolute imports.
        root: The folder in which the package lies.
    """
    files = set()
    for module, names, plain in _IMPORT.findall(source):
        # A name may be a module of its own: `from sciml.native import scoring`.
        candidates = [module or plain, *(f"{module}.{name}" for name in re.findall(r"\w+", names))]
        for candidate in candidates:
            base = root.joinpath(*candidate.split("."))
            files |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()}
    return files


def files(source: str, root: Path = ROOT) -> set[Path]:
    """All files of the package that some source imports, directly or not."""
    seen, waiting = set(), list(imported(source, root))
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _read(path, root)[1]
    return seen


def digest(source: str, root: Path = ROOT) -> str:
    """A hash of some source, of all `files` that it imports, and of the compilers."""
    result = hashlib.sha256(VERSIONS.encode() + source.encode())
    for path in sorted(files(source, root)):
        result.update(str(path.relative_to(root)).encode() + _read(path, root)[0].encode())
    return result.hexdigest()


@cache
def _read(path: Path, root: Path) -> tuple[str, set[Path]]:
    """The text of a file and what it imports; the package does not change while it runs."""
    text = path.read_text(encoding="utf-8")
    return text, imported(text, root)
