"""Files that are either wholly written or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sciml.errors import DataError


def write_atomically(path: Path, data: bytes) -> Path:
    """Write to a temporary name in the same folder, then rename."""
    if not path.parent.is_dir():
        raise DataError(f"the folder `{path.parent}` does not exist: create it, or choose another place.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
