"""Files that are either wholly written or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sciml.errors import DataError


def write_atomically(path: Path, data: bytes) -> Path:
    """Write to a temporary name in the same folder, then rename."""
    write_together({path: data})
    return path


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files under temporary names beside their places, and rename them only when all are written."""
    for path in files:
        if not path.parent.is_dir():
            raise DataError(f"the folder `{path.parent}` does not exist: create it, or choose another place.")
    written: dict[Path, str] = {}
    try:
        for path, data in files.items():
            handle, written[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in written.values():
            Path(temporary).unlink(missing_ok=True)
        raise
