"""The three errors of the library, and how their messages name what the user may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class ModelError(ValueError):
    """The equations, or what was declared about them, cannot be used."""


class DataError(ValueError):
    """The measurements, or a file, cannot be used."""


class SolveError(RuntimeError):
    """A numerical solution could not be computed."""


def quoted(names: Iterable[object]) -> str:
    """Names in backticks, joined by commas, in the order given."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def suggestion(name: object, known: Iterable[object]) -> str:
    """` Did you mean `alpha`?`, or nothing when no known name is close."""
    close = get_close_matches(str(name), [str(other) for other in known], n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""
