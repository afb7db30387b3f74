"""The command line: fit, simulate, discover and export from a shell.

Exit codes: 0 done, 1 the model, the data or a solve is at fault (one line on standard error says how), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sciml import export
from sciml.discovery import SparseRegression, discover
from sciml.errors import DataError, ModelError, SolveError, quoted, suggestion
from sciml.fitting.fit import fit
from sciml.fitting.loading import load
from sciml.fitting.objectives import MultipleShooting, SingleShooting
from sciml.measurement.problem import Problem
from sciml.simulation import simulate
from sciml.storage import write_atomically
from sciml.symbolic.system import System


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; those of the process by default.

    Returns:
        The exit code.
    """
    options = parser().parse_args(arguments)
    try:
        result = options.run(options)
    except (ModelError, DataError, SolveError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if options.json else result["text"])
    return 0


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    whole = argparse.ArgumentParser(
        prog="sciml",
        description="Fit equations with unknown parts to measured series, and read the laws back.",
        epilog="MODEL.py is imported, that is, run: use your own. Saved fits (.sciml) are data and are not run.",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    one = _command(commands, "fit", _fit, "fit a System to a table and save the fit")
    one.add_argument("model", metavar="MODEL.py:SYSTEM", help="a Python file and the name of a System in it")
    one.add_argument("data", type=Path, metavar="DATA.csv", help="first column time, the others named like states")
    one.add_argument("--out", type=Path, metavar="FIT.sciml", help="where to save the fit")
    one.add_argument(
        "--shots", type=int, default=1, metavar="N", help="multiple shooting with N intervals (default: 1)"
    )
    one.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")

    two = _command(commands, "simulate", _simulate, "solve a System and write a table")
    two.add_argument("model", metavar="MODEL.py:SYSTEM|FIT.sciml", help="a System, or a saved fit")
    two.add_argument("--until", type=float, required=True, metavar="T", help="last time")
    two.add_argument("--start", type=float, default=0.0, metavar="T", help="first time (default: 0)")
    two.add_argument("--points", type=int, default=101, metavar="N", help="number of times (default: 101)")
    two.add_argument("--out", type=Path, metavar="TABLE.csv", help="where to write it (default: standard output)")

    three = _command(commands, "discover", _discover, "find a closed form of what a fit has learned, and fit it")
    three.add_argument("fit", type=Path, metavar="FIT.sciml", help="a saved fit with learned functions")
    three.add_argument("--degree", type=int, default=2, metavar="N", help="of the polynomials (default: 2)")
    three.add_argument("--out", type=Path, metavar="LAW.sciml", help="where to save the fit of the law")

    four = _command(commands, "export", _export, "write the fitted equations in another language")
    four.add_argument("fit", type=Path, metavar="FIT.sciml", help="a saved fit of a closed form")
    four.add_argument("--to", choices=list(export.targets()), required=True, help="the language")
    four.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write it (default: standard output; ONNX and C need a file)"
    )
    return whole


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    found = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    found.add_argument("--json", action="store_true", help="print the result as JSON")
    found.set_defaults(run=run)
    return found


def _fit(options: argparse.Namespace) -> dict[str, Any]:
    system = _system(options.model)
    try:
        data = pd.read_csv(options.data, index_col=0)
    except (OSError, ValueError) as error:
        raise DataError(f"`{options.data}` cannot be read as a table: {error}.") from error
    objective = SingleShooting() if options.shots == 1 else MultipleShooting(intervals=options.shots)
    found = fit(Problem(system, data), objective, seed=options.seed)
    return _summary(found, options.out)


def _summary(found: Any, out: Path | None) -> dict[str, Any]:
    """What is printed about a fit, which is saved first."""
    if out is not None:
        found.save(out)
    result: dict[str, Any] = {"estimates": found.estimates, "loss": found.loss, "rmse": found.rmse}
    result |= {"converged": found.converged, "message": found.message, "notes": list(found.notes)}
    result |= {"backend": found.backend, "saved": None if out is None else str(out)}
    rows = [f"{name} = {value:.6g}" for name, value in found.estimates.items()]
    state = "converged" if found.converged else f"not converged: {found.message}"
    rows += [f"root mean square residual {found.rmse:.6g}; {state}", *(f"note: {note}" for note in found.notes)]
    return result | {"text": "\n".join([str(found.system), *rows]), "equations": str(found.system)}


def _simulate(options: argparse.Namespace) -> dict[str, Any]:
    if options.points < 2:
        raise DataError(f"`--points {options.points}`: at least 2 are needed.")
    system = load(options.model).system if options.model.endswith(".sciml") else _system(options.model)
    frame = simulate(system, np.linspace(options.start, options.until, options.points)).to_frame()
    table = frame.to_csv()
    if options.out is not None:
        write_atomically(options.out, table.encode())
    text = table.rstrip("\n") if options.out is None else f"{len(frame)} rows in {options.out}"
    return {"text": text, "times": frame.index.tolist(), "values": {k: v.tolist() for k, v in frame.items()}}


def _discover(options: argparse.Namespace) -> dict[str, Any]:
    hybrid = load(options.fit)
    law = discover(hybrid, SparseRegression(degree=options.degree))
    found = fit(hybrid.problem.with_system(law))
    ties = [str(candidate) for candidate in law.report.near_ties]
    result = _summary(found, options.out)
    result["text"] += f"\n{len(ties)} near ties" if ties else ""
    return result | {"near ties": ties}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    target = export.targets()[options.to]
    if options.out is None and target.name in ("c", "onnx"):
        what = "a header beside its source" if target.name == "c" else "no text"
        raise ModelError(f"`--to {target.name}` writes {what}: name a file, `--out law{target.suffix}`.")
    written = target.export(load(options.fit).system, options.out)
    source = written if isinstance(written, str) else None
    return {"text": f"written to {options.out}" if options.out else source, "source": source, "language": target.title}


def _system(words: str) -> System:
    """The System that a file of Python defines; the file is run."""
    place, colon, name = words.rpartition(":")
    path = Path(place)
    if not colon or not name.isidentifier():
        raise ModelError(f"`{words}` names no System: write the file, a colon and the name, `model.py:system`.")
    if not path.is_file():
        raise ModelError(f"there is no file `{place}`.")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ModelError(f"`{place}` is not a file of Python: its name must end in `.py`.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    known = [key for key, value in vars(module).items() if isinstance(value, System)]
    if name not in known:
        raise ModelError(f"`{place}` defines no System `{name}`. It has {quoted(known)}.{suggestion(name, known)}")
    return getattr(module, name)


if __name__ == "__main__":
    sys.exit(main())
