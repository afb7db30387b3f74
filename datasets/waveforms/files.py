"""Waveforms from files: text, gzipped text, npz, and the HDF5 of the SXS catalog."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from sciml.errors import DataError, quoted

from .checks import frame_of

EXTRA = 'pip install "sciml-hybrid[gw]"'
LIKE_SXS = "Extrapolated_N2.dir"


def read(
    path: str | Path, mass_ratio: float | None = None, *, conjugate: bool = False, group: str | None = None
) -> pd.DataFrame:
    """Read one waveform from a file; nothing in the file is run.

    Formats, by suffix: `.txt`, `.dat`, `.csv` and the same with `.gz` hold the columns t, Re, Im of the (2, 2) mode,
    comments behind `#`; `.npz` holds arrays `t` and `h22` (complex); `.h5` and `.hdf5` are SXS's, with a dataset
    `Y_l2_m2.dat` of the same three columns. Times need not be uniform.

    Args:
        path: The file.
        mass_ratio: q = m₁/m₂, to check the normalization by the amplitude; q < 1 is taken as 1/q.
        conjugate: Whether the file holds exp(+2iφ), to be turned around.
        group: Of an HDF5 file, by default the extrapolation of second order.

    Returns:
        Index `t` in M; columns `h22_real`, `h22_imag`; `attrs["name"]`, and `attrs["mass_ratio"]` where it was given.

    Raises:
        DataError: The file is not such a one, or its waveform is unsorted, too coarse, turns the other way, or has
            another size than r h₂₂/M for that mass ratio.

    Example:
        >>> import numpy as np, pathlib, tempfile
        >>> t = np.linspace(0.0, 100.0, 101)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "wave.txt"
        >>> np.savetxt(path, np.stack([t, np.cos(0.1 * t), -np.sin(0.1 * t)], axis=1))
        >>> read(path).shape
        (101, 2)
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1].lower() if suffixes else ""
    if kind == ".npz":
        times, h22 = _from_npz(path)
    elif kind in (".h5", ".hdf5"):
        times, h22 = _from_hdf5(path, group)
    else:
        times, h22 = _from_text(path)
    return frame_of(times, np.conj(h22) if conjugate else h22, path.name, mass_ratio)


def read_family(path: str | Path) -> dict[float, pd.DataFrame]:
    """Read waveforms of several mass ratios from an npz file with `t` (time,), `q` (ratio,) and `h22` (ratio, time).

    Args:
        path: The file.

    Returns:
        Mass ratio q ≥ 1 -> waveform as from `read`, in the order of the file.

    Raises:
        DataError: As `read`, or two waveforms have the same mass ratio.
    """
    content = _arrays(Path(path), ("t", "q", "h22"))
    times, ratios, waves = content["t"], np.atleast_1d(content["q"]), np.atleast_2d(content["h22"])
    if waves.shape != (len(ratios), len(times)):
        raise DataError(
            f"`h22` in `{Path(path).name}` has the shape {waves.shape}; needed is a row for each of {len(ratios)} "
            f"mass ratios and a column for each of {len(times)} times."
        )
    frames = [frame_of(times, h22, f"{Path(path).name}, q = {q:g}", float(q)) for q, h22 in zip(ratios, waves)]
    family = {frame.attrs["mass_ratio"]: frame for frame in frames}
    if len(family) < len(frames):
        raise DataError(f"`{Path(path).name}` holds a mass ratio twice (q and 1/q are the same binary).")
    return family


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in names if name not in content.files]
            if missing:
                raise DataError(
                    f"`{path.name}` holds no {quoted(missing)}: needed are the arrays {quoted(names)}, and it has "
                    f"{quoted(content.files)}."
                )
            return {name: content[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"`{path.name}` is no npz file of plain arrays: {error}") from error


def _from_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = _arrays(path, ("t", "h22"))
    if content["h22"].ndim != 1:
        raise DataError(
            f"`h22` in `{path.name}` has the shape {content['h22'].shape}: for several waveforms use `read_family`."
        )
    return content["t"], content["h22"]


def _from_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = np.loadtxt(path, ndmin=2, delimiter="," if ".csv" in path.suffixes else None)
    except (ValueError, OSError, UnicodeDecodeError, EOFError) as error:
        raise DataError(
            f"`{path.name}` cannot be read as text: {error}. Expected are three columns, t, Re h22, Im h22, "
            "with comments behind #."
        ) from error
    return _columns(table, path.name)


def _from_hdf5(path: Path, group: str | None) -> tuple[np.ndarray, np.ndarray]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"reading `{path.name}` needs h5py: {EXTRA}.") from error
    try:
        with h5py.File(path, "r") as file:
            found: list[str] = []
            file.visit(lambda name: found.append(name) if name.endswith("Y_l2_m2.dat") else None)
            if not found:
                raise DataError(f"`{path.name}` holds no dataset `Y_l2_m2.dat`; it is no waveform file of SXS.")
            wanted = [name for name in found if (group or LIKE_SXS) in name]
            if not wanted and (group is not None or len(found) > 1):
                groups = [name.removesuffix("/Y_l2_m2.dat") for name in found]
                raise DataError(
                    f"`{path.name}` has no group `{group or LIKE_SXS}`. Pass `group=` one of {quoted(groups)}."
                )
            table = np.asarray(file[(wanted or found)[0]])
    except OSError as error:
        raise DataError(f"`{path.name}` is no HDF5 file: {error}.") from error
    return _columns(table, path.name)


def _columns(table: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    if table.ndim != 2 or table.shape[1] != 3:
        raise DataError(f"`{name}` has the shape {table.shape}: expected are three columns, t, Re h22, Im h22.")
    return table[:, 0], table[:, 1] + 1j * table[:, 2]
