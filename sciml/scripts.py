"""Habits that all scripts share: options, the machine line, interleaved timing, and the printed table as data."""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def options(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every script.

    Args:
        description: What the script shows; the text of `--help`.

    Returns:
        The parser, to which a script may add its own options.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the figures there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the printed table there as data")
    return parser


def machine(*packages: str) -> str:
    """One line on processor, cores and versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    versions = [f"python {platform.python_version()}", *(_version(package) for package in packages)]
    return f"{model}, {os.cpu_count()} cores; {', '.join(versions)}"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} absent"


def interleaved(
    contestants: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.02
) -> dict[str, list[float]]:
    """Seconds per call of each contestant in each round; taking turns spreads other load over all of them.

    A turn is as many calls as fill `seconds`, one at least: in the use that is measured, a fit, the same function is
    called thousands of times in a row, and finds its code and data in the caches.

    Args:
        contestants: Functions without arguments, by name.
        rounds: Timed rounds; two calls of each come first, to compile and to count.
        seconds: Least length of a turn.

    Returns:
        The times of each contestant, one per round.
    """
    calls = {}
    for name, run in contestants.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, math.ceil(seconds / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            times[name].append((time.perf_counter() - start) / calls[name])
    return times


def median_ratio(times: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of `reference / times`: how many times faster."""
    return statistics.median(b / a for a, b in zip(times, reference))


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as aligned text, with a dash where a row lacks a key of another one."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_cell(row.get(column, "-")) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Rows = Sequence[Mapping[str, object]]


def report(rows: Rows | Mapping[str, Rows], arguments: argparse.Namespace, machine_line: str) -> None:
    """Print a table, or several by title, and write them where `--json` says: each row then names its table."""
    tables = rows if isinstance(rows, Mapping) else {"": rows}
    print(machine_line)
    for title, lines in tables.items():
        print(f"\n{title}" if title else "", end="\n" if title else "")
        print(table(lines))
    if arguments.json:
        listed = [{"table": title, **row} if title else dict(row) for title, lines in tables.items() for row in lines]
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine_line, "rows": listed}, indent=2) + "\n")
