"""One law in every language that `sciml.export` writes, run wherever a tool for the language is installed.

The law is the pelts' Lotka-Volterra with a saturating predator, an observable and starts; each language computes its rates of
change at 20 points, and the table holds the largest difference from our own field, relative to the largest rate, or why the
language was not run. With `--out DIR`, all the files are written there.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sympy as sp
import torch

import sciml
from sciml import System
from sciml.scripts import machine, options, report

Points = np.ndarray
hare, lynx, birth, death, catch, satiety = sp.symbols("hare lynx birth death catch satiety", real=True)


def law() -> System:
    """What is exported."""
    eaten = catch * hare * lynx / (1 + satiety * hare)
    return System(
        {hare: birth * hare - eaten, lynx: eaten / 2 - death * lynx},
        parameters={birth: 0.55, death: 0.8, catch: 0.9, satiety: 0.1},
        initial={hare: 1.2, lynx: 0.5},
        observed={"animals": hare + lynx},
    )


def _scope(system: System, language: str) -> dict:
    scope: dict = {}
    exec(compile(sciml.export.targets()[language].export(system), language, "exec"), scope)
    return scope


def by_python(system: System, points: Points, folder: Path) -> Points:
    """NumPy."""
    rhs = _scope(system, "python")["rhs"]
    return np.array([rhs(0.0, y) for y in points])


def by_torch(system: System, points: Points, folder: Path) -> Points:
    """A stand-alone module."""
    with torch.no_grad():
        return _scope(system, "torch")["Field"]()(0.0, torch.tensor(points)).numpy()


def by_jax(system: System, points: Points, folder: Path) -> Points:
    """jax, in double precision."""
    import jax

    jax.config.update("jax_enable_x64", True)
    rhs = _scope(system, "jax")["rhs"]
    return np.array([rhs(0.0, y) for y in points])


def by_c(system: System, points: Points, folder: Path) -> Points:
    """C, compiled."""
    if shutil.which("cc") is None:
        raise ImportError("a C compiler")
    sciml.export.c(system, folder / "law.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", folder / "law.so", folder / "law.c", "-lm"], check=True)
    library, vector = ctypes.CDLL(str(folder / "law.so")), ctypes.POINTER(ctypes.c_double)
    parameters = np.array([p.value for p in system.parameters.values()])
    rates = np.zeros_like(points)
    for y, row in zip(points, rates):
        arguments = [np.ascontiguousarray(a).ctypes.data_as(vector) for a in (y, parameters)]
        library.law_rhs(ctypes.c_double(0.0), *arguments, row.ctypes.data_as(vector))
    return rates


def by_matlab(system: System, points: Points, folder: Path) -> Points:
    """MATLAB's language, by Octave."""
    if shutil.which("octave-cli") is None:
        raise ImportError("Octave")
    sciml.export.matlab(system, folder / "law.m")
    matrix = "[" + "; ".join(" ".join(map(repr, row)) for row in points.tolist()) + "]"
    lines = ["model = law();", f"points = {matrix};", "for k = 1:rows(points)"]
    lines += ["  printf('%.17g ', model.rhs(0, points(k, :)', model.defaults)); printf('\\n');", "end"]
    (folder / "run.m").write_text("\n".join(lines))
    command = ["octave-cli", "--norc", "--quiet", "run.m"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return np.array([list(map(float, line.split())) for line in done.stdout.splitlines()])


def by_onnx(system: System, points: Points, folder: Path) -> Points:
    """ONNX Runtime."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)

    session = onnxruntime.InferenceSession(sciml.export.onnx(system))
    return session.run(["rates"], {"time": np.array(0.0), "state": points})[0]


def by_sbml(system: System, points: Points, folder: Path) -> Points:
    """libsbml's writer and our reader."""
    sciml.export.sbml(system, folder / "law.xml")
    return by_python(sciml.import_sbml(folder / "law.xml"), points, folder)


def by_json(system: System, points: Points, folder: Path) -> Points:
    """Our own format and its reader."""
    return by_python(sciml.import_json(text=sciml.export.json(system)), points, folder)


RUNNERS: dict[str, Callable[[System, Points, Path], Points]] = {
    "python": by_python,
    "torch": by_torch,
    "jax": by_jax,
    "c": by_c,
    "matlab": by_matlab,
    "onnx": by_onnx,
    "sbml": by_sbml,
    "json": by_json,
}
NOT_RUN = {
    "julia": "needs Julia with ModelingToolkit",
    "modelica": "needs a compiler of Modelica",
    "latex": "to read",
    "markdown": "to read",
}


def main() -> None:
    arguments = options(__doc__).parse_args()
    system = law()
    points = np.random.default_rng(arguments.seed).uniform(0.2, 3.0, (4 if arguments.quick else 20, 2))
    with torch.no_grad():
        own = sciml.compile(system)(0.0, torch.tensor(points)).numpy()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, target in sciml.export.targets().items():
            row: dict[str, object] = {"language": target.title}
            try:
                written = target.export(system, folder / f"law_{name}{target.suffix}")
                row["bytes"] = len(written)
                row["difference"] = NOT_RUN.get(name, "")
                if name in RUNNERS:
                    found = RUNNERS[name](system, points, folder)
                    row["difference"] = float(np.abs(found - own).max() / np.abs(own).max())
            except (ImportError, sciml.ModelError) as error:
                row = {"language": target.title, "bytes": row.get("bytes", 0), "difference": f"not run: {error}"[:70]}
            rows.append(row)
    report(rows, arguments, machine("torch", "numpy", "sympy"))


if __name__ == "__main__":
    main()
